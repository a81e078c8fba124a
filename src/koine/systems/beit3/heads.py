"""What stands on the transformer: a head for each use, with the published names of its tensors (section 3)."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from koine.systems.beit3.config import Beit3Config, Head


class ClassificationHead(nn.Module):
    """The class of an image, from the mean of its patches."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        self.fc_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.num_classes)

    def forward(self, hidden: Tensor) -> Tensor:
        """Image tokens [images, 1 + patches, width] to logits [images, classes]; the class token doesn't count."""
        return self.head(self.fc_norm(hidden[:, 1:].mean(dim=1)))


class Pooler(nn.Module):
    """The first token, normalised, mapped and squashed."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, tokens, width] to [batch, width] in (-1, 1)."""
        return torch.tanh(self.dense(self.norm(hidden[:, 0])))


class VqaHead(nn.Module):
    """The answer to a question about an image, one of a list, from the image's class token."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        width = config.hidden_size
        self.pooler = Pooler(config)
        self.head = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.LayerNorm(2 * width, eps=config.layer_norm_eps),
            nn.GELU(),
            nn.Linear(2 * width, config.num_answers),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Tokens of pairs [pairs, tokens, width] to logits [pairs, answers]."""
        return self.head(self.pooler(hidden))


class Nlvr2Head(nn.Module):
    """Whether a statement about two images is true, from the first tokens of both images and of the text with each."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.head = nn.Sequential(
            OrderedDict(
                norm1=nn.LayerNorm(4 * width, eps=eps),
                dense1=nn.Linear(4 * width, 2 * width),
                norm2=nn.LayerNorm(2 * width, eps=eps),
                activation=nn.GELU(),
                dense2=nn.Linear(2 * width, 2),
            )
        )

    def forward(self, hidden: Tensor, image_tokens: int) -> Tensor:
        """
        Args:
            hidden: [2 * pairs, tokens, width]: the statement with all first images, then with all second ones.
            image_tokens: so many leading tokens are an image's.
        Returns:
            Logits [pairs, 2]: false, true.
        """
        ends = torch.cat((hidden[:, 0], hidden[:, image_tokens]), dim=-1)
        return self.head(torch.cat(ends.chunk(2), dim=-1))


class CaptioningHead(nn.Module):
    """Words at text positions, for captions and whatever else is written from a source."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        self.mlm_head = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """[.., width] to logits [.., words]."""
        return self.mlm_head(hidden)


class RetrievalHead(nn.Module):
    """Images and texts as unit vectors of one space, from the first token of each alone."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        width = config.hidden_size
        self.vision_head = nn.Linear(width, width, bias=False)
        self.language_head = nn.Linear(width, width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_images(self, hidden: Tensor) -> Tensor:
        """[images, tokens, width] to unit vectors [images, width]."""
        return F.normalize(self.vision_head(hidden[:, 0]), dim=-1)

    def embed_texts(self, hidden: Tensor) -> Tensor:
        """[texts, tokens, width] to unit vectors [texts, width]."""
        return F.normalize(self.language_head(hidden[:, 0]), dim=-1)


class PretrainingHead(nn.Module):
    """Words at masked text positions and codes of the visual tokenizer at masked patches."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        self.mlm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.mim_head = nn.Linear(config.hidden_size, config.num_image_codes)


HEAD_CLASSES: dict[Head, type[nn.Module]] = {
    "classification": ClassificationHead,
    "vqa": VqaHead,
    "nlvr2": Nlvr2Head,
    "captioning": CaptioningHead,
    "retrieval": RetrievalHead,
    "pretraining": PretrainingHead,
}

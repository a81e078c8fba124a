"""BEiT-3: the transformer with its heads, and what each is used for (arXiv 2208.10442, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput

from koine.errors import InputError
from koine.systems.beit3.backbone import Backbone, VisionEmbedding, join_texts, resize_positions, trim_padding
from koine.systems.beit3.config import Beit3Config, Head
from koine.systems.beit3.heads import (
    HEAD_CLASSES,
    CaptioningHead,
    ClassificationHead,
    Nlvr2Head,
    PretrainingHead,
    RetrievalHead,
    VqaHead,
)
from koine.systems.beit3.multiway import ScaledLinear


@dataclass(frozen=True)
class MaskedPrediction:
    """What is predicted at masked places, in the order of the rows and then of the places in them.

    Attributes:
        image_logits: [masked patches, codes], if there were images.
        text_logits: [masked tokens, words], if there were texts.
    """

    image_logits: Tensor | None = None
    text_logits: Tensor | None = None


class Beit3Model(PreTrainedModel):
    """The transformer with the heads that its configuration names; a published checkpoint has one.

    Texts are padded on the right. `answer`, `judge` and `embed_texts` cut off padding that no text of a batch needs;
    the others return or take something for each token, and leave texts as they are.
    """

    config_class = Beit3Config
    config: Beit3Config
    base_model_prefix = "beit3"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MultiwayLayer"]  # noqa: RUF012
    _supports_sdpa = True

    def __init__(self, config: Beit3Config) -> None:
        super().__init__(config)
        self.beit3 = Backbone(config)
        self.heads = nn.ModuleDict({head: HEAD_CLASSES[head](config) for head in config.heads})
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.beit3.vision_embed if self.beit3.text_embed is None else self.beit3.text_embed

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.beit3.text_embed = cast(nn.Embedding, value)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> BaseModelOutput:
        """The transformer's features of images, of texts, or of pairs; the arguments are those of `Backbone.embed`.

        Returns:
            `last_hidden_state` [batch, 1 + patches + tokens, width], and if asked for `hidden_states`: the embedded
            tokens and each layer's output.
        """
        return self.beit3(
            pixel_values,
            input_ids,
            attention_mask=attention_mask,
            patch_mask=patch_mask,
            keep_states=output_hidden_states,
        )

    def classify(self, pixel_values: Tensor) -> Tensor:
        """Logits [images, classes] of images [images, 3, size, size] in ImageNet's normalisation."""
        head: ClassificationHead = self.require("classification")
        return head(self.beit3(pixel_values).last_hidden_state)

    def answer(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits [pairs, answers] of questions [pairs, tokens] about images [pairs, 3, size, size]."""
        head: VqaHead = self.require("vqa")
        input_ids, attention_mask = trim_padding(input_ids, attention_mask)
        return head(self.beit3(pixel_values, input_ids, attention_mask=attention_mask).last_hidden_state)

    def judge(self, first: Tensor, second: Tensor, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits [statements, 2] (false, true) of statements [statements, tokens] about two images each.

        Args:
            first, second: [statements, 3, size, size].
        """
        head: Nlvr2Head = self.require("nlvr2")
        input_ids, attention_mask = trim_padding(input_ids, attention_mask)
        output = self.beit3(
            torch.cat((first, second)),
            torch.cat((input_ids, input_ids)),
            attention_mask=None if attention_mask is None else torch.cat((attention_mask, attention_mask)),
        )
        return head(output.last_hidden_state, self.config.image_tokens)

    def embed_images(self, pixel_values: Tensor) -> Tensor:
        """Unit vectors [images, width] of images [images, 3, size, size], to compare with those of texts."""
        head: RetrievalHead = self.require("retrieval")
        return head.embed_images(self.beit3(pixel_values).last_hidden_state)

    def embed_texts(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Unit vectors [texts, width] of texts [texts, tokens], to compare with those of images."""
        head: RetrievalHead = self.require("retrieval")
        input_ids, attention_mask = trim_padding(input_ids, attention_mask)
        return head.embed_texts(self.beit3(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state)

    @property
    def logit_scale(self) -> Tensor:
        """What cosine similarities are multiplied with in retrieval, []."""
        head: RetrievalHead = self.require("retrieval")
        return head.logit_scale.exp()

    def predict_words(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        source_ids: Tensor | None = None,
        source_attention_mask: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Words of a text that is written from an image, a source text, or both; what stands there may be masked.

        All tokens of the source see each other; those of the text see the source and what is before them (section 3.4
        of the paper). A word is predicted at its own place, where the input has the mask token.

        Args:
            input_ids: [batch, tokens], the text.
            pixel_values: [batch, 3, size, size], the source image.
            attention_mask: [batch, tokens], 0 for padding.
            source_ids, source_attention_mask: [batch, source tokens], a source text, for instance a question.
            places: [batch, tokens] bool, where to predict.
        Returns:
            Logits [places, words] in the order of rows, or [batch, tokens, words] without `places`.
        Raises:
            InputError: there is no source.
        """
        head: CaptioningHead = self.require("captioning")
        source = 0 if pixel_values is None else self.config.image_tokens
        positions, given, attended = None, input_ids, attention_mask
        if source_ids is not None:
            positions, given, attended = join_texts(
                source_ids, input_ids, first_mask=source_attention_mask, second_mask=attention_mask
            )
            source += source_ids.shape[1]
        if not source:
            raise InputError("there is nothing to write from: give an image or a source text")
        hidden = self.beit3(
            pixel_values, given, attention_mask=attended, positions=positions, source_tokens=source
        ).last_hidden_state[:, source:]
        return head(hidden if places is None else hidden[places.bool()])

    def predict_masked(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
        token_mask: Tensor | None = None,
    ) -> MaskedPrediction:
        """Codes of hidden patches and words at masked places, all tokens seeing all (masked data modelling).

        Args:
            pixel_values: [batch, 3, size, size], if there are images.
            input_ids: [batch, tokens] with mask tokens, if there are texts.
            attention_mask: [batch, tokens], 0 for padding.
            patch_mask: [batch, patches] bool, hidden patches.
            token_mask: [batch, tokens] bool, where words are to be predicted.
        """
        head: PretrainingHead = self.require("pretraining")
        hidden = self.beit3(
            pixel_values,
            input_ids,
            attention_mask=attention_mask,
            patch_mask=None if patch_mask is None else patch_mask.bool(),
        ).last_hidden_state
        images = 0 if pixel_values is None else self.config.image_tokens
        return MaskedPrediction(
            None if patch_mask is None else head.mim_head(hidden[:, 1:images][patch_mask.bool()]),
            None if token_mask is None else head.mlm_head(hidden[:, images:][token_mask.bool()]),
        )

    def resize_images(self, image_size: int) -> None:
        """Makes this a model for images of another size: its image positions are interpolated.

        Raises:
            InputError: the size is no positive multiple of the patch size.
        """
        config = type(self.config).from_dict({**self.config.to_dict(), "image_size": image_size})
        table = self.beit3.encoder.positions("A")
        resized = resize_positions(table.weight.data, config.grid)
        self.beit3.encoder.embed_positions["A"] = nn.Embedding.from_pretrained(resized, freeze=False)
        self.beit3.vision_embed.image_size = self.config.image_size = image_size

    def start_from(self, other: Beit3Model) -> list[str]:
        """Takes the weights of a model trained before, for fine-tuning: the transformer, and heads that both have.

        As published, image positions are interpolated to this model's size, the final norm is left behind if this
        model has none, and captioning takes its words from the pre-training head.

        Returns:
            The names of this model's tensors that the other has none for, which keep their initial values.
        Raises:
            InputError: the transformers differ in more than that.
        """
        given = other.state_dict()
        words = "heads.pretraining.mlm_head."
        for name in ("weight", "bias"):
            if words + name in given:
                given.setdefault(f"heads.captioning.mlm_head.{name}", given[words + name])
        own = self.state_dict()
        table = "beit3.encoder.embed_positions.A.weight"
        given[table] = resize_positions(given[table], self.config.grid)
        fitting = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
        missing = sorted(own.keys() - fitting.keys())
        if lost := [name for name in missing if name.startswith("beit3.") and "layer_norm" not in name.split(".")[2]]:
            raise InputError(f"the pre-trained model has no tensor that fits {lost[0]}: give one of the same size")
        self.load_state_dict(fitting, strict=False)
        return missing

    def require(self, name: Head) -> Any:
        """The head of that name.

        Raises:
            InputError: these weights have no such head.
        """
        if name not in self.heads:
            have = ", ".join(self.config.heads) or "no head at all"
            raise InputError(f"this BEiT-3 has no {name} head, it has {have}: load weights with {name}")
        return self.heads[name]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Conv2d):
            self._init_linear(module)
        elif isinstance(module, nn.Embedding):
            # Published tables start far larger (deviation 1 for positions), which drowns everything else at first.
            init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, VisionEmbedding):
            init.zeros_(module.cls_token)
            init.zeros_(module.mask_token)
        if isinstance(module, ClassificationHead):
            self._init_small(module.head)
        elif isinstance(module, Nlvr2Head):
            self._init_small(module.head.get_submodule("dense1"))
            self._init_small(module.head.get_submodule("dense2"))

    def _init_linear(self, module: nn.Linear | nn.Conv2d) -> None:
        if self.config.initialization == "published" and isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=0.02, a=-0.02, b=0.02)
            if module.bias is not None:
                init.zeros_(module.bias)
            return
        gain = module.gain if isinstance(module, ScaledLinear) and self.config.initialization == "sub-ln" else 1.0
        bound = gain * module.weight[0].numel() ** -0.5
        init.uniform_(module.weight, -bound, bound)
        if module.bias is not None:
            init.uniform_(module.bias, -bound, bound)

    def _init_small(self, module: nn.Module) -> None:
        """A head that says next to nothing at first, a thousandth of the usual."""
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=2e-5, a=-2e-5, b=2e-5)
            init.zeros_(module.bias)

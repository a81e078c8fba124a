"""Where the nano Ferret's projector starts: patches as the words that describe what they show.

A language model that is to find "the red cube" among patches must learn which feature goes with which word. LLaVA's
stage 1 learns it from half a million captions; here the projector starts as the linear map that comes nearest to it,
which is known in closed form, and training goes on from there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from koine.data.world_phrases import attribute_codes
from koine.foundations.patch_supervision import LEAST_PIXELS, thing_pixels
from koine.systems.ferret.batches import normalize
from koine.systems.ferret.model import FerretForConditionalGeneration
from koine.world.cache import RenderedScenes
from koine.world.facts import ATTRIBUTES, VALUES

_WORDS_SHARE = 0.6
_REST_NORM = 0.6
"""Norm of what the words leave out (places, edges), mapped at random; a word's embedding has about 0.8."""
_PLACE_NORM = 0.6
_RIDGE = 1e-2


@torch.no_grad()
def start_projector(
    model: FerretForConditionalGeneration, scenes: RenderedScenes, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Sets the projector, and the scale of the places of patches, of a model whose other parts are loaded.

    Each patch of the scenes is to become the sum of the embeddings of the four words for the thing in it, or of the
    word for the table's surface. The least-squares map to that takes the directions that words use; a random one of
    all features is added to it, so that nothing is lost. All get the size of the language model's own embeddings.
    """
    features = torch.cat([model.encode_images(normalize(part)) for part in torch.tensor(scenes.images).split(250)])
    wanted = _word_sums(scenes, model.get_input_embeddings(), tokenizer, grid=model.config.grid)
    flat, targets = features.flatten(0, 1).double(), wanted.flatten(0, 1).double()
    mean, centre = flat.mean(dim=0), targets.mean(dim=0)
    flat, targets = flat - mean, targets - centre
    spread = flat.T @ flat / len(flat)
    ridge = _RIDGE * spread.diagonal().mean() * torch.eye(len(spread), dtype=torch.double)
    to_words = torch.linalg.solve(spread + ridge, flat.T @ targets / len(flat)).T  # [hidden, width]
    rest = model.projector.weight.double()
    rest = rest * (_REST_NORM / (flat @ rest.T).norm(dim=1).mean())
    weight = _WORDS_SHARE * to_words + rest
    model.projector.weight.copy_(weight)
    model.projector.bias.copy_(_WORDS_SHARE * centre - weight @ mean)
    if model.image_positions is not None:
        model.image_positions.mul_(_PLACE_NORM / model.image_positions.norm(dim=1).mean())


def _word_sums(scenes: RenderedScenes, embed: nn.Module, tokenizer: PreTrainedTokenizerBase, *, grid: int) -> Tensor:
    """[scenes, patches, hidden]: for each patch the sum of the embeddings of the words for what it shows."""

    def embedded(word: str) -> Tensor:
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        return embed(torch.tensor(ids)).mean(dim=0)

    codes = torch.from_numpy(attribute_codes(scenes))  # [scenes, things, 4]
    tables = [torch.stack([embedded(word) for word in VALUES[name]]) for name in ATTRIBUTES]
    of_thing = torch.stack([table[codes[..., place].clamp(min=0)] for place, table in enumerate(tables)]).sum(dim=0)
    of_table = torch.stack([embedded(scenes.scene(index).surface) for index in range(len(scenes))])
    pixels = thing_pixels(torch.tensor(scenes.instance), codes[..., 0] >= 0, grid)
    most, owner = pixels.max(dim=-1)  # [scenes, patches]
    shown = of_thing.gather(1, owner[..., None].expand(-1, -1, of_thing.shape[-1]))
    return torch.where((most >= LEAST_PIXELS)[..., None], shown, of_table[:, None])

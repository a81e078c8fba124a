"""Training of the nano CLIP on pictures of the world and their captions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from koine.data.world_captions import captions
from koine.data.world_phrases import UNSAID, attribute_codes, phrase_index, phrases
from koine.data.world_recolouring import recolour, safe_turns
from koine.foundations.clip import Clip, encode_texts, nano_config, pixel_values
from koine.foundations.language_model_recipe import nano_tokenizer
from koine.foundations.tokenizer import FILE
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch
from koine.world.cache import RenderedScenes, rendered_scenes
from koine.world.facts import ATTRIBUTES
from koine.world.things import COLOURS, MATERIALS, SHAPES, SIZES

CAPTIONS_PER_SCENE = 4
GRID = 8
"""Patches along each side of a picture."""
SAID_SHARE, ALL_SAID_SHARE = 0.4, 0.4
"""How often a phrase says an attribute, and how often it says all."""
MUTED_SHARE, TURNED_SHARE = 0.4, 0.5
"""How many pictures lose their colours, and how many have them turned in the second stage."""
COLOUR, SHAPE = ATTRIBUTES.index("colour"), ATTRIBUTES.index("shape")


class ImageTextPairs(TrainingData):
    """Scenes with several captions each, of which a batch draws one, and with phrases for their things."""

    def __init__(self, parts: list[RenderedScenes], tokenizer: Any, *, seed: int, turned_share: float = 0.0) -> None:
        self.turned_share = turned_share
        texts = [
            text
            for part in parts
            for scene in captions(part, per_scene=CAPTIONS_PER_SCENE, seed=seed)
            for text in scene
        ]
        self.images = torch.from_numpy(np.concatenate([part.images for part in parts]))
        self.instance = torch.from_numpy(np.concatenate([part.instance for part in parts]))
        self.codes = torch.from_numpy(np.concatenate([attribute_codes(part) for part in parts]))
        self.input_ids = encode_texts(tokenizer, texts).view(len(self.images), CAPTIONS_PER_SCENE, -1).to(torch.int16)
        self.phrase_ids = encode_texts(tokenizer, phrases())

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Pictures, captions, and for each thing its patches and a phrase that is true of it.

        About pictures that lost or changed their colours nothing is said of colours (`koine.data.world_recolouring`).

        Returns:
            pixel_values [b, 3, H, W]; captioned [c], the pictures with a caption, and input_ids [c, tokens]; for the
            r visible things: region_images [r], region_weights [r, patches] (shares of the thing's pixels),
            region_codes and phrase_codes [r, 4] (attributes of the thing, and those said); phrases [p, tokens], the
            different phrases, and phrase_of [r].
        """
        drawn = torch.randint(CAPTIONS_PER_SCENE, (len(indices),), generator=generator)
        codes = self.codes[indices]
        pictures, coloured = self._recoloured(indices, generator)
        images, things = torch.nonzero(codes[..., 0] >= 0, as_tuple=True)
        region_codes = codes[images, things]
        masks = (self.instance[indices][images] == things[:, None, None]).float()
        patch = self.images.shape[1] // GRID
        weights = masks.unflatten(2, (GRID, patch)).unflatten(1, (GRID, patch)).sum(dim=(2, 4)).flatten(1)
        said = torch.rand(region_codes.shape, generator=generator) < SAID_SHARE
        said |= torch.rand(len(said), 1, generator=generator) < ALL_SAID_SHARE
        said[torch.arange(len(said)), torch.randint(4, (len(said),), generator=generator)] = True
        said[~coloured[images], COLOUR] = False
        said[~said.any(dim=1), SHAPE] = True
        phrase_codes = torch.where(said, region_codes, torch.tensor(UNSAID))
        places, phrase_of = torch.unique(torch.from_numpy(phrase_index(phrase_codes.numpy())), return_inverse=True)
        return {
            "pixel_values": pixel_values(pictures),
            "captioned": torch.nonzero(coloured)[:, 0],
            "input_ids": _trimmed(self.input_ids[indices, drawn][coloured].long()),
            "region_images": images,
            "region_weights": weights / weights.sum(dim=1, keepdim=True),
            "region_codes": region_codes,
            "phrase_codes": phrase_codes,
            "phrases": _trimmed(self.phrase_ids[places]),
            "phrase_of": phrase_of,
        }

    def _recoloured(self, indices: Tensor, generator: torch.Generator) -> tuple[np.ndarray, Tensor]:
        """Pictures uint8 [b, H, W, 3], some of which lost or changed their colours, and which kept them [b] bool."""
        count = len(indices)
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        draw, turns = rng.random(count), np.zeros(count)
        turned = draw < self.turned_share
        turns[turned], safe = safe_turns(self.codes[indices].numpy()[turned], rng)
        faded = (draw >= self.turned_share) & (draw < self.turned_share + MUTED_SHARE * (1 - self.turned_share))
        faded[turned] = ~safe
        saturation = np.where(faded, np.maximum(rng.random(count) - 0.5, 0.0), 1.0)
        changed = turned | faded
        images = self.images[indices].numpy()
        images[changed] = recolour(images[changed], turns[changed], saturation[changed])
        return images, torch.from_numpy(~changed)


def _trimmed(input_ids: Tensor) -> Tensor:
    """The ids without columns that are padding in every row."""
    return input_ids[:, : int((input_ids != 0).sum(dim=1).max())]


@dataclass
class ClipRecipe(Recipe):
    """Contrastive training (Radford et al. 2021, section 2.3) of the nano CLIP, on pictures and on their regions.

    A CLIP that has seen 400 million pictures tells what each patch shows; one that has seen 60,000 only does if it is
    asked. So patches under a thing are matched with a phrase for it, too (as RegionCLIP does, Zhong et al. 2022), with
    the features that Ferret and others read: those before the last layer.
    """

    scenes: int = 40_000
    single_scenes: int = 20_000
    seed: int = 0

    name = "clip"
    stages = (
        Stage("pretrain", steps=3600, batch_size=96, learning_rate=1.2e-3, weight_decay=0.05, betas=(0.9, 0.98)),
        Stage("recolour", steps=1100, batch_size=96, learning_rate=6e-4, weight_decay=0.05, betas=(0.9, 0.98)),
    )

    @cached_property
    def tokenizer(self) -> Any:
        return nano_tokenizer()

    def build_model(self) -> Any:
        from transformers import CLIPModel

        # heads this small are twice as fast without the fused attention, whose backward pass is slow on CPUs
        return CLIPModel._from_config(nano_config(), attn_implementation="eager")

    def data(self, stage: Stage) -> TrainingData:
        parts = [
            rendered_scenes("train", self.scenes),
            rendered_scenes("train", self.single_scenes, kind="single"),
        ]
        turned_share = TURNED_SHARE if stage.name == "recolour" else 0.0
        return ImageTextPairs(parts, self.tokenizer, seed=self.seed, turned_share=turned_share)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        seen = model.vision_model(pixel_values=batch["pixel_values"], output_hidden_states=True)
        scale = model.logit_scale.exp().clamp(max=100.0)
        image = _unit(model.visual_projection(seen.pooler_output[batch["captioned"]]))
        pictures, accuracy = _picture_loss(image, _text_vectors(model, batch["input_ids"]), batch["input_ids"], scale)
        patches = seen.hidden_states[-2][:, 1:][batch["region_images"]]
        pooled = torch.einsum("rp,rpd->rd", batch["region_weights"], patches.float())
        region = _unit(model.visual_projection(model.vision_model.post_layernorm(pooled)))
        logits = region @ _text_vectors(model, batch["phrases"]).T * scale
        regions, found = _region_loss(logits, batch)
        return {"loss": pictures + regions, "accuracy": accuracy, "region_loss": regions, "region_accuracy": found}

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        return zero_shot(Clip(model, self.tokenizer), rendered_scenes("validation", 1000, kind="single"))

    def figures(self, folder: Path) -> dict[str, object]:
        """Zero-shot attributes of single things and retrieval among scenes, test split and held-out pairs."""
        clip = Clip.load(folder)
        single = zero_shot(clip, rendered_scenes("test", 1000, kind="single"))
        held_out = zero_shot(clip, rendered_scenes("heldout", 1000, kind="single"))
        return {
            **{f"zero-shot {name}": value for name, value in single.items()},
            **{f"zero-shot {name}, held-out pairs": value for name, value in held_out.items()},
            **retrieval(clip, rendered_scenes("test", 1100), limit=1000),
            "scenes": "1,000 single-thing test scenes, 1,000 of held-out pairs, 1,000 distinct test captions",
        }

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        (folder / FILE).write_bytes(Path(self.tokenizer.vocab_file).read_bytes())


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors.float(), dim=-1)


def _text_vectors(model: Any, input_ids: Tensor) -> Tensor:
    mask = (input_ids != 0).long()
    return _unit(model.get_text_features(input_ids=input_ids, attention_mask=mask).pooler_output)


def _picture_loss(image: Tensor, text: Tensor, input_ids: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """CLIP's loss and the share of pictures that find their caption; equal captions are no negatives of each other."""
    same = (input_ids[:, None] == input_ids[None]).all(dim=-1).fill_diagonal_(False)
    logits = (image @ text.T * scale).masked_fill(same, -torch.inf)
    target = torch.arange(len(logits))
    loss = torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)
    return loss / 2, (logits.argmax(dim=1) == target).float().mean()


def _region_loss(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross entropy of each region's own phrase among the batch's; other phrases that are true of it don't compete.

    logits: [regions, phrases].
    """
    said = torch.zeros(logits.shape[1], 4, dtype=torch.long)
    said[batch["phrase_of"]] = batch["phrase_codes"]
    fits = (said[None] == batch["region_codes"][:, None]) | (said == torch.tensor(UNSAID))[None]
    rows = torch.arange(len(logits))
    rivals = fits.all(dim=-1)
    rivals[rows, batch["phrase_of"]] = False
    logits = logits.masked_fill(rivals, -torch.inf)
    found = (logits.argmax(dim=1) == batch["phrase_of"]).float().mean()
    return torch.nn.functional.cross_entropy(logits, batch["phrase_of"]), found


PROMPTS = {
    "colour": [[f"something {word}", f"a {word} thing", f"a picture of a {word} thing"] for word in COLOURS],
    "shape": [[f"a {word}", f"a picture of a {word}", f"there is a {word}"] for word in SHAPES],
    "material": [[f"a {word} thing", f"a picture of a {word} thing"] for word in ("rubber", "metal", "wooden")],
    "size": [[f"a {word} thing", f"a picture of a {word} thing"] for word in SIZES],
}
"""Prompt ensembles of the zero-shot protocol, in the order of the vocabularies."""
_WORDS = {"colour": tuple(COLOURS), "shape": SHAPES, "material": MATERIALS, "size": tuple(SIZES)}


def zero_shot(clip: Clip, scenes: RenderedScenes) -> dict[str, float]:
    """Zero-shot accuracy for each attribute of the single thing in each scene."""
    vectors = clip.embed_pixels(scenes.images)
    found = {}
    for attribute, words in _WORDS.items():
        truth = torch.tensor([words.index(getattr(scenes.scene(i).things[0], attribute)) for i in range(len(scenes))])
        found[attribute] = float((clip.classify(vectors, PROMPTS[attribute]) == truth).float().mean())
    return found


def retrieval(clip: Clip, scenes: RenderedScenes, *, limit: int, seed: int = 0) -> dict[str, float]:
    """Recall at 1 both ways among `limit` scenes with one caption each, all captions distinct."""
    first = {text: index for index, (text,) in reversed(list(enumerate(captions(scenes, per_scene=1, seed=seed))))}
    pairs = sorted(first.items(), key=lambda pair: pair[1])[:limit]
    texts, chosen = [text for text, _ in pairs], [index for _, index in pairs]
    similarity = clip.embed_pixels(scenes.images[chosen]) @ clip.embed_texts(texts).T
    target = torch.arange(len(chosen))
    return {
        "image to text R@1": float((similarity.argmax(dim=1) == target).float().mean()),
        "text to image R@1": float((similarity.argmax(dim=0) == target).float().mean()),
        "pairs": float(len(chosen)),
    }

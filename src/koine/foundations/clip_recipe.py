"""Training of the nano CLIP on pictures of the world and their captions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from koine.data.world_captions import captions
from koine.data.world_phrases import UNSAID, attribute_codes, phrase_index, phrases
from koine.data.world_recolouring import draw_saturation, exchange_colours
from koine.evaluation.boxes import box_iou
from koine.foundations.clip import Clip, encode_texts, nano_config, pixel_values
from koine.foundations.language_model_recipe import nano_tokenizer
from koine.foundations.patch_supervision import PatchReadouts, patch_losses, thing_pixels
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
RECOLOURED_SHARE = {"see": 0.6, "refine": 0.6, "match": 0.3}
"""How many pictures of each stage are shown in the colours of others."""
VALIDATION_SCENES = 1000
READOUTS_FILE = "patch_readouts.safetensors"
COLOUR, SHAPE = ATTRIBUTES.index("colour"), ATTRIBUTES.index("shape")


class Pictures(TrainingData):
    """Scenes with the things in them, some shown in the colours of other scenes (`koine.data.world_recolouring`)."""

    def __init__(self, parts: list[RenderedScenes], *, recoloured_share: float) -> None:
        self.recoloured_share = recoloured_share
        self.images = torch.from_numpy(np.concatenate([part.images for part in parts]))
        self.instance = torch.from_numpy(np.concatenate([part.instance for part in parts]))
        self.boxes = torch.from_numpy(np.concatenate([part.boxes for part in parts])) / self.images.shape[1]
        self.codes = torch.from_numpy(np.concatenate([attribute_codes(part) for part in parts]))

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """What `patch_losses` asks about: pixel_values [b, 3, H, W], coloured [b], pixels, codes and boxes."""
        images, coloured = self._recoloured(indices, generator)
        codes = self.codes[indices]
        return {
            "pixel_values": pixel_values(images),
            "coloured": coloured,
            "pixels": thing_pixels(self.instance[indices], codes[..., 0] >= 0, GRID),
            "codes": codes,
            "boxes": self.boxes[indices],
        }

    def _recoloured(self, indices: Tensor, generator: torch.Generator) -> tuple[np.ndarray, Tensor]:
        """Pictures uint8 [b, H, W, 3], and which of them have their own colours [b] bool."""
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        changed = rng.random(len(indices)) < self.recoloured_share
        others = self.images[rng.integers(len(self), size=changed.sum())].numpy()
        images = self.images[indices].numpy()
        images[changed] = exchange_colours(images[changed], others, draw_saturation(len(others), rng))
        return images, torch.from_numpy(~changed)


class ImageTextPairs(Pictures):
    """Scenes with several captions each, of which a batch draws one, and with phrases for their things."""

    def __init__(self, parts: list[RenderedScenes], tokenizer: Any, *, seed: int, recoloured_share: float) -> None:
        super().__init__(parts, recoloured_share=recoloured_share)
        texts = [
            text
            for part in parts
            for scene in captions(part, per_scene=CAPTIONS_PER_SCENE, seed=seed)
            for text in scene
        ]
        self.input_ids = encode_texts(tokenizer, texts).view(len(self.images), CAPTIONS_PER_SCENE, -1).to(torch.int16)
        self.phrase_ids = encode_texts(tokenizer, phrases())

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Pictures, captions, and for each thing its patches and a phrase that is true of it.

        About pictures that lost their colours nothing is said of colours.

        Returns:
            pixel_values [b, 3, H, W]; captioned [c], the pictures with a caption, and input_ids [c, tokens]; for the
            r visible things: region_images [r], region_weights [r, patches] (shares of the thing's pixels),
            region_codes and phrase_codes [r, 4] (attributes of the thing, and those said); phrases [p, tokens], the
            different phrases, and phrase_of [r].
        """
        seen = super().batch(indices, generator)
        coloured, codes = seen["coloured"], seen["codes"]
        drawn = torch.randint(CAPTIONS_PER_SCENE, (len(indices),), generator=generator)
        images, things = torch.nonzero(seen["pixels"].sum(dim=1) > 0, as_tuple=True)
        region_codes, weights = codes[images, things], seen["pixels"][images, :, things]
        said = torch.rand(region_codes.shape, generator=generator) < SAID_SHARE
        said |= torch.rand(len(said), 1, generator=generator) < ALL_SAID_SHARE
        said[torch.arange(len(said)), torch.randint(4, (len(said),), generator=generator)] = True
        said[~coloured[images], COLOUR] = False
        said[~said.any(dim=1), SHAPE] = True
        phrase_codes = torch.where(said, region_codes, torch.tensor(UNSAID))
        places, phrase_of = torch.unique(torch.from_numpy(phrase_index(phrase_codes.numpy())), return_inverse=True)
        return {
            "pixel_values": seen["pixel_values"],
            "captioned": torch.nonzero(coloured)[:, 0],
            "input_ids": _trimmed(self.input_ids[indices, drawn][coloured].long()),
            "region_images": images,
            "region_weights": weights / weights.sum(dim=1, keepdim=True),
            "region_codes": region_codes,
            "phrase_codes": phrase_codes,
            "phrases": _trimmed(self.phrase_ids[places]),
            "phrase_of": phrase_of,
        }


def _trimmed(input_ids: Tensor) -> Tensor:
    """The ids without columns that are padding in every row."""
    return input_ids[:, : int((input_ids != 0).sum(dim=1).max())]


@dataclass
class ClipRecipe(Recipe):
    """The nano CLIP: a vision tower that learns to see, then a text tower that learns to match it.

    First, in two rounds, every patch is asked what it shows (`patch_supervision`), for 60,000 pictures are too few to
    learn that from captions alone. Then all but the last layer of the vision tower is locked, and texts are matched
    with pictures (Radford et al. 2021, section 2.3; locked-image tuning: Zhai et al. 2022, arXiv 2111.07991) and
    phrases with regions (RegionCLIP, Zhong et al. 2022). So the features that Ferret and others read, those before the
    last layer, are those of the first two stages.
    """

    scenes: int = 40_000
    nested_scenes: int = 8_000
    single_scenes: int = 12_000
    seed: int = 0

    name = "clip"
    stages = (
        Stage("see", steps=3600, batch_size=96, learning_rate=2e-3, weight_decay=0.05, betas=(0.9, 0.98)),
        Stage("refine", steps=3600, batch_size=96, learning_rate=1.2e-3, weight_decay=0.05, betas=(0.9, 0.98), seed=1),
        Stage(
            "match",
            steps=1500,
            batch_size=128,
            learning_rate=2e-3,
            weight_decay=0.05,
            betas=(0.9, 0.98),
            trainable=(
                "text_model",
                "text_projection",
                "visual_projection",
                "vision_model.post_layernorm",
                f"vision_model.encoder.layers.{nano_config().vision_config.num_hidden_layers - 1}",  # type: ignore
                "logit_scale",
            ),
        ),
    )

    @cached_property
    def tokenizer(self) -> Any:
        return nano_tokenizer()

    def build_model(self) -> Any:
        from transformers import CLIPModel

        # heads this small are twice as fast without the fused attention, whose backward pass is slow on CPUs
        model = CLIPModel._from_config(nano_config(), attn_implementation="eager")
        model.patch_readouts = PatchReadouts(model.config.vision_config.hidden_size)
        return model

    def data(self, stage: Stage) -> TrainingData:
        parts = [
            rendered_scenes("train", self.scenes),
            rendered_scenes("train", self.nested_scenes, kind="nested"),
            rendered_scenes("train", self.single_scenes, kind="single"),
        ]
        share = RECOLOURED_SHARE[stage.name]
        if stage.name != "match":
            return Pictures(parts, recoloured_share=share)
        return ImageTextPairs(parts, self.tokenizer, seed=self.seed, recoloured_share=share)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        seen = model.vision_model(pixel_values=batch["pixel_values"], output_hidden_states=True)
        patches = seen.hidden_states[-2][:, 1:]
        if "pixels" in batch:
            facts = [batch[name] for name in ("pixels", "codes", "boxes", "coloured")]
            losses = patch_losses(model.patch_readouts, patches, *facts)
            return {"loss": torch.stack(list(losses.values())).sum(), **losses}
        scale = model.logit_scale.exp().clamp(max=100.0)
        image = _unit(model.visual_projection(seen.pooler_output[batch["captioned"]]))
        pictures, accuracy = _picture_loss(image, _text_vectors(model, batch["input_ids"]), batch["input_ids"], scale)
        pooled = torch.einsum("rp,rpd->rd", batch["region_weights"], patches[batch["region_images"]].float())
        region = _unit(model.visual_projection(model.vision_model.post_layernorm(pooled)))
        logits = region @ _text_vectors(model, batch["phrases"]).T * scale
        regions, found = _region_loss(logits, batch)
        return {"loss": pictures + regions, "accuracy": accuracy, "region_loss": regions, "region_accuracy": found}

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        """Readouts on validation scenes; in the last stage zero-shot figures."""
        if stage.name != "match":
            return readout_figures(model, rendered_scenes("validation", VALIDATION_SCENES))
        return zero_shot(Clip(model, self.tokenizer), rendered_scenes("validation", VALIDATION_SCENES, kind="single"))

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
        """The CLIP, and beside it the readouts, which only the next stage of training needs."""
        weights = model.state_dict()
        readouts = {name: weights.pop(name) for name in list(weights) if name.startswith("patch_readouts.")}
        model.save_pretrained(folder, state_dict=weights)
        save_file(readouts, folder / READOUTS_FILE)
        (folder / FILE).write_bytes(Path(self.tokenizer.vocab_file).read_bytes())

    def load(self, model: Any, folder: Path) -> None:
        from transformers import CLIPModel

        saved = CLIPModel.from_pretrained(folder).state_dict() | load_file(folder / READOUTS_FILE)
        model.load_state_dict(saved)


@torch.no_grad()
def readout_figures(model: Any, scenes: RenderedScenes) -> dict[str, float]:
    """How often the readouts of a thing's patches are right about the things in some scenes, for each attribute, and
    the mean IoU of the box that the thing's fullest patch gives."""
    pictures = Pictures([scenes], recoloured_share=0.0)
    batch = pictures.batch(torch.arange(len(scenes)), torch.Generator())
    features = torch.cat(
        [
            model.vision_model(pixel_values=part, output_hidden_states=True).hidden_states[-2][:, 1:].float()
            for part in batch["pixel_values"].split(250)
        ]
    )
    images, things = torch.nonzero(batch["pixels"].sum(dim=1) > 0, as_tuple=True)
    shares, codes = batch["pixels"][images, :, things], batch["codes"][images, things]
    pooled = torch.einsum("rp,rpd->rd", shares / shares.sum(dim=1, keepdim=True), features[images])
    readouts = model.patch_readouts
    found = {
        name: float((readout(pooled).argmax(dim=-1) == codes[:, place]).float().mean())
        for place, (name, readout) in enumerate(readouts.attributes.items())
    }
    boxes = readouts.box(features[images, shares.argmax(dim=1)])
    return found | {"box IoU": float(box_iou(boxes, batch["boxes"][images, things]).mean())}


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

"""How a VQ-VAE is trained: the nano one on the world, and others on pictures of yours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from koine.data.world_captions import captions
from koine.settings import check_options
from koine.systems.vqvae.captions_recipe import CaptionsRecipe
from koine.systems.vqvae.code_classifier import agreement
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.likelihood import NATS_PER_BIT
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.pixelcnn import UNSAID, GatedPixelCNN
from koine.systems.vqvae.processor import from_model_range, psnr, to_model_range
from koine.systems.vqvae.published_recipe import FacesRecipe, PicturesRecipe
from koine.systems.vqvae.speech_recipe import SpeechRecipe
from koine.systems.vqvae.text_encoder import TextEncoder
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch
from koine.world.cache import RenderedScenes, rendered_scenes
from koine.world.things import COLOURS, SHAPES, SIZES

ATTRIBUTES = ("size", "colour", "shape")
LABELS = (tuple(SIZES), tuple(COLOURS), SHAPES)
"""What the nano prior can be asked for: the size, colour and shape of the only thing."""
UNSAID_SHARES = (0.5, 0.1, 0.1)
"""How often each of these stays unsaid in training."""
NOTHING_SAID = 0.15
"""How often, beyond that, all of them do: guidance goes away from what the prior draws then, so it has to know that."""


class Pixels(TrainingData):
    """Pictures uint8 [n, H, W, 3] in the model's pixel range, to be rebuilt from codes or from features."""

    def __init__(self, images: Tensor, config: VQVAEConfig, *, coded: bool) -> None:
        self.images, self.config, self.coded = images, config, coded

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        return {"pixels" if self.coded else "uncoded": to_model_range(self.images[indices], self.config)}


class Codes(TrainingData):
    """Grids of codes [n, rows, columns] of pictures with what they show [n, attributes], some of it left unsaid.

    `unsaid`: how often each attribute is; `nothing_said`: how often all of them are.
    """

    def __init__(self, grids: Tensor, classes: Tensor, unsaid: tuple[float, ...], nothing_said: float = 0.0) -> None:
        self.grids, self.classes = grids, classes
        self.unsaid, self.nothing_said = torch.tensor(unsaid), nothing_said

    def __len__(self) -> int:
        return len(self.grids)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        said = torch.rand(len(indices), len(self.unsaid), generator=generator) >= self.unsaid
        said &= torch.rand(len(indices), 1, generator=generator) >= self.nothing_said
        return {"grids": self.grids[indices], "classes": torch.where(said, self.classes[indices], UNSAID)}


class ShownCodes(TrainingData):
    """Grids of codes [n, rows, columns] of pictures, and what they show [n, attributes], which is to be found out."""

    def __init__(self, grids: Tensor, shown: Tensor) -> None:
        self.grids, self.shown = grids, shown

    def __len__(self) -> int:
        return len(self.grids)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        return {"grids": self.grids[indices], "shown": self.shown[indices]}


def nano_config(**options: Any) -> VQVAEConfig:
    """8x8 pixels to two of 1,024 codes, so 128 codes to a picture of 64x64, and a prior that knows `LABELS`."""
    settings: dict[str, Any] = {
        "width": 96,
        "first_width": 32,
        "downsamplings": 3,
        "blocks": 2,
        "block_width": 48,
        "codes": 1024,
        "code_width": 16,
        "codes_per_cell": 2,
        "ema_restart_below": 0.1,
        "warm_start": True,
        "data_variance": 0.02,
        "image_size": 64,
        "prior": "pixelcnn",
        "prior_width": 48,
        "prior_layers": 8,
        "prior_head": 128,
        "prior_first_kernel": 7,
        "prior_kernel": 5,
        "prior_labels": [list(words) for words in LABELS],
        "classifier_width": 64,
    }
    check_options(options, VQVAEConfig, of="a VQ-VAE")
    if not options.get("prior_labels", LABELS):
        settings["classifier_width"] = 0  # there is nothing to tell
    return VQVAEConfig(**{**settings, **options})


@dataclass
class NanoRecipe(Recipe):
    """The nano VQ-VAE.

    First encoder and decoder learn without codes: a codebook that starts from features which mean nothing yet follows
    them for long, and keeps shades of the table instead of the colours of things. Then k-means puts the codes among the
    features, and all learn together, on scenes of all kinds. Last the prior and the classifier that chooses among its
    drawings, on codes of scenes with one thing.

    Attributes:
        scenes, single_scenes: of the training split, any kind and with one thing only.
        features_first: whether there is the first stage, without codes.
        options: fields of `VQVAEConfig` that differ from the nano's.
    """

    scenes: int = 20_000
    single_scenes: int = 60_000
    features_first: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    name = "vqvae-nano"

    def __post_init__(self) -> None:
        self._autoencoder: VQVAEModel | None = None
        # Small batches: twice the steps of half the pictures gain 0.8 dB in the same time.
        codes = Stage("codes", steps=20_000, batch_size=16, learning_rate=1.2e-3, trainable=("autoencoder",))
        features = replace(codes, name="features", steps=2400, learning_rate=2e-3, schedule="constant")
        prior = replace(
            codes,
            name="prior",
            steps=30_000,
            learning_rate=1.5e-3,
            schedule="linear",
            weight_decay=0.01,
            trainable=("priors",),
            optimizer="muon",
            muon_scale=1.5,
        )
        classifier = replace(
            codes,
            name="classifier",
            steps=1500,
            batch_size=128,
            learning_rate=3e-3,
            weight_decay=0.05,
            trainable=("classifier",),
        )
        last = (classifier,) if nano_config(**self.options).classifier_width else ()
        self.stages = (*((features,) if self.features_first else ()), codes, prior, *last)

    def build_model(self) -> VQVAEModel:
        return VQVAEModel(nano_config(**self.options))

    def load(self, model: Any, folder: Path) -> None:
        """Takes over the trained autoencoder, whose codes the prior's data are, and lets the prior begin from them."""
        super().load(model, folder)
        self._autoencoder = model
        if folder.name == "codes":
            start_from_codebook(model.priors[0], model.autoencoder.quantizer.codebook)

    def data(self, stage: Stage) -> TrainingData:
        single = rendered_scenes("train", self.single_scenes, kind="single")
        if stage.name not in ("prior", "classifier"):
            images = torch.cat(
                [torch.from_numpy(rendered_scenes("train", self.scenes).images), torch.from_numpy(single.images)]
            )
            return Pixels(images, nano_config(**self.options), coded=stage.name == "codes")
        assert self._autoencoder is not None  # `load` comes first
        self._autoencoder.autoencoder.eval()  # its codebook would go on moving
        grids = encode_all(self._autoencoder, torch.from_numpy(single.images))
        if stage.name == "classifier":
            return ShownCodes(grids, classes_of(single))
        return Codes(grids, classes_of(single), UNSAID_SHARES, NOTHING_SAID)

    def hidden(self, trained: dict[str, nn.Parameter]) -> list[nn.Parameter]:
        """The kernels of the prior's two stacks."""
        stacks = (parameter for name, parameter in trained.items() if ".layers." in name and ".condition." not in name)
        return [parameter for parameter in stacks if parameter.ndim == 4]

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        """Quick figures on 200 validation scenes with one thing."""
        if stage.name == "features":
            return {}
        scenes = rendered_scenes("validation", 200, kind="single")
        images = torch.from_numpy(scenes.images)
        grids = encode_all(model, images)
        if stage.name == "codes":
            return {"psnr": psnr(decode_all(model, grids), images)}
        if stage.name == "classifier":
            told = agreement(model.classify([grids.to(model.device)]), classes_of(scenes).to(model.device))
            return {"nats of what is shown": -float(told.mean())}
        return {"bits of a code": prior_bits(model, grids, classes_of(scenes))}

    def figures(self, folder: Path) -> dict[str, object]:
        """Codes, prior and drawings on scenes that no training saw; see `koine.systems.vqvae.figures`."""
        from koine.systems.vqvae.figures import classifier_figures, code_figures, drawing_figures, prior_figures
        from koine.systems.vqvae.system import VQVAE

        vqvae = VQVAE.load(str(folder))
        trained = rendered_scenes("train", self.single_scenes, kind="single")
        return {
            **code_figures(vqvae.model),
            **prior_figures(vqvae.model, encode_all(vqvae.model, torch.from_numpy(trained.images))),
            **(classifier_figures(vqvae.model) if vqvae.model.classifier else {}),
            **drawing_figures(vqvae),
        }

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        if "shown" in batch:
            logits = model.classify([batch["grids"]])
            right = [each.argmax(dim=1) == shown for each, shown in zip(logits, batch["shown"].unbind(1), strict=True)]
            shares = {name: each.float().mean() for name, each in zip(ATTRIBUTES, right, strict=True)}
            return {"loss": -agreement(logits, batch["shown"]).mean(), **shares}
        if "grids" in batch:
            nats = model.prior_nats([batch["grids"]], classes=batch.get("classes"), text=batch.get("text")).mean()
            return {"loss": nats, "bits": nats.detach() / NATS_PER_BIT}
        if "uncoded" in batch:
            return _feature_loss(model, batch["uncoded"])
        found = model(batch["pixels"])
        [grid] = found.quantized
        return {
            "loss": found.loss,
            "psnr": _decibels(found.reconstruction_loss * model.config.data_variance),
            "perplexity": grid.perplexity,
        }


class CaptionedCodes(TrainingData):
    """Grids of codes [n, rows, columns] of pictures, with vectors [n, captions, width] of texts about each.

    Each time one of a picture's captions is drawn; `nothing_said` is how often none is, which is a vector of zeros.
    """

    def __init__(self, grids: Tensor, vectors: Tensor, nothing_said: float) -> None:
        self.grids, self.vectors, self.nothing_said = grids, vectors, nothing_said

    def __len__(self) -> int:
        return len(self.grids)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        chosen = torch.randint(self.vectors.shape[1], (len(indices),), generator=generator)
        said = torch.rand(len(indices), 1, generator=generator) >= self.nothing_said
        return {"grids": self.grids[indices], "text": self.vectors[indices, chosen] * said}


@dataclass
class TextsRecipe(NanoRecipe):
    """The nano VQ-VAE with a prior that is told captions, as the vectors that the nano CLIP makes of them.

    The prior learns scenes of all kinds, since captions can speak of several things.

    Attributes:
        captions_per_scene: of which the prior is told one at a time.
    """

    captions_per_scene: int = 4

    name = "vqvae-texts"

    def __post_init__(self) -> None:
        self.options = {"classifier_width": 0, **self.options}
        super().__post_init__()
        self._encoder: TextEncoder | None = None

    def build_model(self) -> VQVAEModel:
        return VQVAEModel(self._config())

    def data(self, stage: Stage) -> TrainingData:
        if stage.name != "prior":
            return super().data(stage)
        assert self._autoencoder is not None  # `load` comes first
        self._autoencoder.autoencoder.eval()  # its codebook would go on moving
        parts = [
            rendered_scenes("train", self.scenes),
            rendered_scenes("train", self.single_scenes, kind="single"),
        ]
        grids = [encode_all(self._autoencoder, torch.from_numpy(part.images)) for part in parts]
        vectors = [self._vectors(part, per_scene=self.captions_per_scene) for part in parts]
        return CaptionedCodes(torch.cat(grids), torch.cat(vectors), NOTHING_SAID)

    def evaluate(self, model: Any, stage: Stage) -> dict[str, float]:
        """As the nano one's; the prior is told a caption of each of 200 validation scenes."""
        if stage.name != "prior":
            return super().evaluate(model, stage)
        scenes = rendered_scenes("validation", 200)
        grids = encode_all(model, torch.from_numpy(scenes.images))
        return {"bits of a code": prior_bits(model, grids, None, text=self._vectors(scenes, per_scene=1)[:, 0])}

    def figures(self, folder: Path) -> dict[str, object]:
        """Its codes on test scenes, bits of a code untold and told, and drawings of what texts ask for."""
        from koine.systems.vqvae.figures import code_figures, drawing_figures
        from koine.systems.vqvae.system import VQVAE

        vqvae = VQVAE.load(str(folder))
        scenes = rendered_scenes("test", 1000)
        grids, told = encode_all(vqvae.model, torch.from_numpy(scenes.images)), self._vectors(scenes, per_scene=1)[:, 0]
        return {
            **code_figures(vqvae.model),
            "bits of a code, prior": prior_bits(vqvae.model, grids, None),
            "bits of a code, prior that is told a caption": prior_bits(vqvae.model, grids, None, text=told),
            **drawing_figures(vqvae),
        }

    def _config(self) -> VQVAEConfig:
        return nano_config(**{"prior_labels": [], "prior_text_width": self._text_encoder.width, **self.options})

    @property
    def _text_encoder(self) -> TextEncoder:
        if self._encoder is None:
            self._encoder = TextEncoder.load(self.options.get("prior_text_encoder", "nano"))
        return self._encoder

    def _vectors(self, scenes: RenderedScenes, *, per_scene: int) -> Tensor:
        """[n, per_scene, width] of true captions, the same ones each time."""
        texts = [text for of_scene in captions(scenes, per_scene=per_scene, seed=0) for text in of_scene]
        return self._text_encoder.embed_texts(texts).unflatten(0, (len(scenes), per_scene))


def _feature_loss(model: VQVAEModel, pixels: Tensor) -> dict[str, Tensor]:
    """Of a plain autoencoder; a little weight on the features' size keeps the cloud small that codes will be put in."""
    features = model.autoencoder.features(pixels)  # type: ignore[operator]
    error = F.mse_loss(model.autoencoder.decode([features]).float(), pixels)
    return {
        "loss": error / model.config.data_variance + 1e-3 * features.float().square().mean(),
        "psnr": _decibels(error),
    }


def _decibels(error: Tensor) -> Tensor:
    """PSNR of a mean squared error of pixels that cover a range of 1."""
    return -10 * torch.log10(error.detach())


@torch.no_grad()
def start_from_codebook(prior: GatedPixelCNN, codebook: Tensor) -> None:
    """Lets codes that look alike begin alike, at the prior's entry and at its logits.

    What is learnt of one then helps its neighbours, which matters where most codes are seen a few hundred times.
    """
    looks = (codebook - codebook.mean(dim=0)) / codebook.std(dim=0).clamp(min=1e-6)
    for weight in (prior.embedding.weight, prior.head_convolutions[1].weight[:, :, 0, 0]):
        projection = torch.randn(looks.shape[1], weight.shape[1]).to(looks) / looks.shape[1] ** 0.5
        weight.copy_(looks @ projection * weight.std())


def classes_of(scenes: RenderedScenes) -> Tensor:
    """[n, attributes] long: what the only thing of each scene is, by `LABELS`."""
    things = [scenes.scene(number).things[0] for number in range(len(scenes))]
    rows = [
        [words.index(word) for words, word in zip(LABELS, (thing.size, thing.colour, thing.shape), strict=True)]
        for thing in things
    ]
    return torch.tensor(rows)


@torch.no_grad()  # not inference_mode, so that a prior can learn the grids
def encode_all(model: VQVAEModel, images: Tensor, *, batch_size: int = 256) -> Tensor:
    """Grids of codes [n, rows, columns] of pictures uint8 [n, H, W, 3], by a model in evaluation mode."""
    parts = [model.encode(to_model_range(part, model.config).to(model.device))[0] for part in images.split(batch_size)]
    return torch.cat(parts).cpu()


@torch.inference_mode()
def decode_all(model: VQVAEModel, grids: Tensor, *, batch_size: int = 256) -> Tensor:
    """Pictures uint8 [n, H, W, 3] of grids of codes [n, rows, columns]."""
    parts = [model.decode([part.to(model.device)]) for part in grids.split(batch_size)]
    return torch.cat([from_model_range(part, model.config).cpu() for part in parts]).clone()


@torch.inference_mode()
def prior_bits(
    model: VQVAEModel, grids: Tensor, classes: Tensor | None, *, text: Tensor | None = None, batch_size: int = 256
) -> float:
    """Bits of a code under the prior, the mean over grids [n, rows, columns].

    Args:
        classes: [n, attributes], what they show, if the prior is to be told.
        text: [n, width], vectors of texts about them, if it is to be told these.
    """
    nats = []
    for rows in torch.arange(len(grids)).split(batch_size):
        told = {
            name: None if given is None else given[rows].to(model.device)
            for name, given in (("classes", classes), ("text", text))
        }
        nats.append(model.prior_nats([grids[rows].to(model.device)], **told).mean(dim=1))
    return float(torch.cat(nats).mean()) / NATS_PER_BIT


RECIPES: dict[str, Callable[[], Recipe]] = {
    "nano": NanoRecipe,
    "texts": TextsRecipe,
    "imagenet": PicturesRecipe,
    "captions": CaptionsRecipe,
    "ffhq": FacesRecipe,
    "speech": SpeechRecipe,
}

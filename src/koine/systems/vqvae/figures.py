"""What a VQ-VAE of the world achieves: its codes, its prior, and its drawings as somebody else sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from koine.evaluation.statistics import Interval, wilson
from koine.foundations.clip import Clip
from koine.foundations.clip_recipe import PROMPTS
from koine.parts.quantize import code_counts, perplexity, usage
from koine.systems.vqvae.likelihood import (
    bits_per_dim,
    fitted_deviation,
    gaussian_bits,
    histogram_bits,
    uniform_bits,
)
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.pixelcnn import UNSAID
from koine.systems.vqvae.processor import psnr, to_levels
from koine.systems.vqvae.recipe import ATTRIBUTES, classes_of, decode_all, encode_all, prior_bits
from koine.systems.vqvae.sampling import SamplingOptions
from koine.systems.vqvae.system import GUIDANCE, VQVAE
from koine.world.cache import RenderedScenes, rendered_scenes
from koine.world.language import article
from koine.world.things import COLOURS, HELD_OUT, SHAPES

SEEN_PAIRS = [(colour, shape) for colour in COLOURS for shape in SHAPES if (colour, shape) not in HELD_OUT]


def code_figures(model: VQVAEModel, *, scenes: int = 1000) -> dict[str, Any]:
    """PSNR on test scenes of any kind and with one thing; usage and perplexity of the codebook over the former."""
    grids, any_psnr = _rebuilt(model, rendered_scenes("test", scenes))
    _, single_psnr = _rebuilt(model, rendered_scenes("test", scenes, kind="single"))
    counts = code_counts(grids, model.config.codes)
    return {
        "PSNR, dB, scenes of any kind": any_psnr,
        "PSNR, dB, scenes with one thing": single_psnr,
        "share of codes in use": float(usage(counts)),
        "perplexity of the codes": float(perplexity(counts)),
        "codes": model.config.codes,
    }


def prior_figures(model: VQVAEModel, trained: Tensor, *, scenes: int = 1000) -> dict[str, Any]:
    """Bits of a code on test scenes with one thing under the prior and under simpler ones, and bits per dimension.

    Args:
        trained: grids [n, rows, columns] of training scenes, whose histograms are the independent prior.
    """
    judged = rendered_scenes("test", scenes, kind="single")
    grids, classes = encode_all(model, torch.from_numpy(judged.images)), classes_of(judged)
    return {
        "bits of a code, uniform": uniform_bits(model.config.codes),
        "bits of a code, independent histograms": histogram_bits(trained, grids, model.config.codes),
        "bits of a code, prior": prior_bits(model, grids, None),
        "bits of a code, prior that knows what is shown": prior_bits(model, grids, classes),
        "bits per dimension of pictures": _bits_per_dim(model, judged),
    }


@torch.inference_mode()
def classifier_figures(model: VQVAEModel, *, scenes: int = 1000) -> dict[str, Any]:
    """Shares of test scenes with one thing whose attributes the classifier tells from their codes."""
    judged = rendered_scenes("test", scenes, kind="single")
    grids = encode_all(model, torch.from_numpy(judged.images))
    found = model.classify([grids.to(model.device)])
    return {
        f"told from codes: {name}": float((each.argmax(dim=1).cpu() == right).float().mean())
        for name, each, right in zip(ATTRIBUTES, found, classes_of(judged).unbind(dim=1), strict=True)
    }


def drawing_figures(vqvae: VQVAE, *, per_pair: int = 24) -> dict[str, Any]:
    """Shares of drawings that show the colour and shape asked for, by the nano CLIP's zero-shot verdict.

    The judge's own share on real scenes with one thing, and on their reconstructions, stand beside.
    """
    clip = Clip.load()
    scenes = rendered_scenes("test", 1000, kind="single")
    images, (_, colours, shapes) = torch.from_numpy(scenes.images), classes_of(scenes).unbind(dim=1)
    rebuilt = decode_all(vqvae.model, encode_all(vqvae.model, images))
    found = {
        "judge on real scenes: colour and shape": _both(clip, images, colours, shapes),
        "judge on reconstructions: colour and shape": _both(clip, rebuilt, colours, shapes),
    }
    ways = {"": SamplingOptions(), f", guidance {GUIDANCE:g}": SamplingOptions(guidance=GUIDANCE)}
    if vqvae.candidates > 1:
        ways[f", guidance {GUIDANCE:g}, the fittest of {vqvae.candidates}"] = SamplingOptions(
            guidance=GUIDANCE, candidates=vqvae.candidates
        )
    for name, options in ways.items():
        for kind, pairs in (("", SEEN_PAIRS), (", held-out pairs", sorted(HELD_OUT))):
            drawn, asked = drawings(vqvae, pairs, per_pair, options)
            verdicts = _verdicts(clip, drawn, *asked.unbind(dim=1))
            for aspect, right in zip(("colour and shape", "colour", "shape"), verdicts, strict=True):
                found[f"drawings{kind}{name}: {aspect}"] = wilson(int(right.sum()), len(right))
    return {name: [share.estimate, share.low, share.high, share.samples] for name, share in found.items()}


def drawings(
    vqvae: VQVAE, pairs: Sequence[tuple[str, str]], per_pair: int, options: SamplingOptions, *, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Pictures uint8 [n, H, W, 3] that were asked for (colour, shape) pairs, and these as indices [n, 2]."""
    colours, shapes = list(COLOURS), list(SHAPES)
    asked = torch.tensor([(colours.index(colour), shapes.index(shape)) for colour, shape in pairs])
    asked = asked.repeat_interleave(per_pair, dim=0)
    generator = torch.Generator().manual_seed(seed)
    [grids] = vqvae.model.sample(len(asked), **_told(vqvae, asked), options=options, generator=generator)
    return decode_all(vqvae.model, grids), asked


def _told(vqvae: VQVAE, asked: Tensor) -> dict[str, Any]:
    """What the prior is told for (colour, shape) pairs as indices [n, 2]: a text such as "a red cube", or classes."""
    if vqvae.model.config.prior_text_width:
        colours = list(COLOURS)
        return {
            "text": vqvae.text_vectors(
                [article(f"{colours[colour]} {SHAPES[shape]}") for colour, shape in asked.tolist()]
            )
        }
    any_size = torch.full((len(asked), 1), UNSAID)
    return {"classes": torch.cat([any_size, asked], dim=1).to(vqvae.model.device)}


def _verdicts(clip: Clip, images: Tensor, colours: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether each picture shows both, the colour, the shape; [n] bool each."""
    vectors = clip.embed_pixels(images)
    colour = clip.classify(vectors, PROMPTS["colour"]) == colours
    shape = clip.classify(vectors, PROMPTS["shape"]) == shapes
    return colour & shape, colour, shape


def _both(clip: Clip, images: Tensor, colours: Tensor, shapes: Tensor) -> Interval:
    right = _verdicts(clip, images, colours, shapes)[0]
    return wilson(int(right.sum()), len(right))


def _rebuilt(model: VQVAEModel, scenes: RenderedScenes) -> tuple[Tensor, float]:
    """The scenes' grids and the PSNR of their reconstructions together."""
    images = torch.from_numpy(scenes.images)
    grids = encode_all(model, images)
    return grids, psnr(decode_all(model, grids), images)


@torch.inference_mode()
def _bits_per_dim(model: VQVAEModel, judged: RenderedScenes) -> float:
    """With the deviation fitted on validation scenes."""
    fitting = torch.from_numpy(rendered_scenes("validation", 200, kind="single").images)
    deviation = fitted_deviation([fitting.movedim(-1, 1).float()], [_means(model, encode_all(model, fitting))])
    images = torch.from_numpy(judged.images)
    bits = []
    for part in images.split(250):
        grids = encode_all(model, part)
        pixel_bits = gaussian_bits(part.movedim(-1, 1).float(), _means(model, grids), deviation)
        bits.append(bits_per_dim(pixel_bits, model.prior_nats([grids])))
    return float(torch.cat(bits).mean())


def _means(model: VQVAEModel, grids: Tensor) -> Tensor:
    """Levels [n, 3, H, W] that the decoder says."""
    return torch.cat([to_levels(model.decode([part]), model.config) for part in grids.split(250)])

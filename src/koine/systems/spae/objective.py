"""What SPAE's training minimises (section 3.3 of the paper): appearance, and meaning weighted to be as large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from koine.parts.quantize import entropy_loss, squared_distances
from koine.parts.residual_quantize import LayeredCodes
from koine.systems.spae.guidance import candidate_pools, draw_candidates, semantic_loss
from koine.systems.spae.model import SpaeModel, SpaeOutput

_SIZE_WEIGHT = 1e-3
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Objective:
    """Weights of the terms.

    Squared errors are means over elements, whereas the paper writes norms; the ratio of the two is a constant of
    the sizes (pixels of a picture over numbers of its features), so that `beta` means nearly the same.

    Attributes:
        beta: of the commitment of the features to what each prefix of layers stands for.
        alpha: of the semantic loss, beside its dynamic weight; 0 switches guidance off.
        dynamic: weigh the semantic loss by the (detached) ratio of the two losses, w of the paper.
        count_empty: whether places without a code count in the commitment, as zeros (the paper doesn't say).
        prefix_share: how many pictures of a batch are decoded from fewer layers than all. The paper decodes all; our
            own extension, so that a prefix gives a picture of its own.
        entropy: of MAGVIT's entropy loss on the features' nearest words, for sure choices of many words. SPAE isn't
            known to have it; without it a small encoder soon writes one word everywhere. 0 as published.
        temperature: of the choices in it, on distances over the words' mean square.
        perceptual: weight eta of the perceptual loss, if there is a network for it.
        adversarial, lecam: weights lambda and phi of the discriminator's terms, if there is one.
    """

    beta: float = 0.33
    alpha: float = 1.0
    dynamic: bool = True
    count_empty: bool = False
    prefix_share: float = 0.0
    entropy: float = 0.0
    temperature: float = 0.1
    perceptual: float = 0.1
    adversarial: float = 0.1
    lecam: float = 1e-4


def draw_layers(count: int, layers: int, share: float, generator: torch.Generator | None = None) -> Tensor:
    """How many layers each of `count` pictures is decoded from: all, or with chance `share` fewer; long [count]."""
    fewer = torch.rand(count, generator=generator) < share
    drawn = torch.randint(1, max(2, layers), (count,), generator=generator)
    return torch.where(fewer, drawn, torch.tensor(layers))


def reconstruction_loss(output: SpaeOutput, pixel_values: Tensor) -> Tensor:
    """Mean squared error of the pictures."""
    return functional.mse_loss(output.pixels.float(), pixel_values.float())


def commitment(features: Tensor, codes: LayeredCodes, *, count_empty: bool = False) -> Tensor:
    """Sum over layers of the mean squared error between features and what the layers so far stand for.

    Args:
        features: [batch, rows, columns, width].
        count_empty: whether places without a code count, as zeros; otherwise a layer's mean is over the places that
            have one.
    """
    errors = (features.float() - codes.reconstructions.detach()).square().mean(dim=(1, 4))  # [layers, rows, columns]
    if count_empty:
        return errors.mean(dim=(1, 2)).sum()
    filled = (codes.counts > 0).to(errors)
    return ((errors * filled).sum(dim=(1, 2)) / filled.sum(dim=(1, 2))).sum()


def spae_loss(
    model: SpaeModel,
    pixel_values: Tensor,
    *,
    objective: Objective,
    similarity: Tensor | None = None,
    layers: Tensor | None = None,
    extra: Callable[[SpaeOutput], Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """L_SPAE of a batch with its parts.

    Args:
        pixel_values: [batch, 3, H, W] in [0, 1].
        similarity: [batch, codes], how well each word fits each picture (`guidance.similarities`). Without it nothing
            guides, as with `objective.alpha` = 0.
        layers: see `draw_layers`.
        extra: further terms of the appearance, such as perceptual and adversarial ones.
    """
    output = model(pixel_values, layers=layers)
    pixels = reconstruction_loss(output, pixel_values)
    if output.codes is None:
        assert output.quantized is not None
        loss = pixels + output.quantized.loss
        found = {"pixels": pixels, "perplexity": output.quantized.perplexity}
        return {"loss": loss if extra is None else loss + extra(output), **found}
    committed = commitment(output.features, output.codes, count_empty=objective.count_empty)
    appearance = pixels + objective.beta * committed
    found = {"pixels": pixels, "commitment": committed}
    if objective.entropy:
        found["entropy"] = choice_entropy(output.features, model.table, objective.temperature)
        appearance = appearance + objective.entropy * found["entropy"]
    if extra is not None:
        appearance = appearance + extra(output)
    if objective.alpha == 0 or similarity is None:
        return {"loss": appearance, **found}
    meaning = guided_loss(model, output.codes, similarity, generator)
    # An adversarial term may be below zero, and a ratio that is would turn the guidance round.
    seen = appearance - objective.entropy * found.get("entropy", 0.0)
    ratio = (seen / meaning.clamp(min=1e-6)).detach().clamp(min=0) if objective.dynamic else 1.0
    return {"loss": appearance + objective.alpha * ratio * meaning, **found, "meaning": meaning}


def guided_loss(
    model: SpaeModel, codes: LayeredCodes, similarity: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """L_sem of a batch with candidates drawn at random."""
    thresholds = model.config.thresholds
    targets = codes.targets[: len(thresholds)]
    chosen = []
    for pool, layer in zip(candidate_pools(similarity, thresholds), targets, strict=True):
        uniforms = torch.rand(layer.shape[:-1], generator=generator, device=layer.device)
        chosen.append(draw_candidates(pool, uniforms))
    return semantic_loss(targets, model.table.float(), chosen)


def choice_entropy(features: Tensor, table: Tensor, temperature: float) -> Tensor:
    """MAGVIT's entropy loss of features [batch, rows, columns, width] that choose among words [codes, width]."""
    flat, words = features.flatten(0, 2).float(), table.float()
    return entropy_loss(squared_distances(flat, words) / words.square().sum(dim=1).mean(), temperature=temperature)


def wordless_loss(model: SpaeModel, pixel_values: Tensor) -> dict[str, Tensor]:
    """A plain autoencoder's loss, for a start: pixels, and features kept about as large as words."""
    features = model.encode(pixel_values)
    pixels = functional.mse_loss(model.decode(features).float(), pixel_values.float())
    size = features.float().square().mean() / model.words.detach().float().square().mean()
    return {"loss": pixels + _SIZE_WEIGHT * size, "pixels": pixels, "size": size}


def perceptual_loss(classifier: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, *, size: int = 224) -> Tensor:
    """Mean squared difference of an ImageNet classifier's logits for two batches [batch, 3, H, W] in [0, 1] (MAGVIT).

    Args:
        classifier: normalised pictures [batch, 3, size, size] -> logits, such as a frozen ResNet-50.
    """

    def logits(pictures: Tensor) -> Tensor:
        resized = functional.interpolate(pictures.float(), (size, size), mode="bilinear", antialias=False)
        mean, std = (
            torch.tensor(values, device=resized.device)[:, None, None] for values in (_IMAGENET_MEAN, _IMAGENET_STD)
        )
        return classifier((resized - mean) / std)

    with torch.no_grad():
        wanted = logits(real)
    return functional.mse_loss(logits(fake), wanted)

"""Sizes and options of a VQ-VAE and its prior: Sonnet's, the ports' and the nano one behind one configuration."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from transformers import PreTrainedConfig

from koine.errors import InputError
from koine.parts.quantize import Estimator
from koine.settings import check_options

Codebook = Literal["ema", "gradient", "spherical"]
Output = Literal["linear", "tanh"]
Prior = Literal["none", "pixelcnn", "pixelsnail"]
_CHOICES: dict[str, Any] = {"codebook": Codebook, "output": Output, "prior": Prior, "estimator": Estimator}
_LEAST = {
    **dict.fromkeys(("channels", "width", "first_width", "block_width", "downsamplings"), 1),
    **dict.fromkeys(("codes", "code_width", "codes_per_cell", "prior_width", "prior_head"), 1),
    **dict.fromkeys(("blocks", "prior_text_width", "classifier_width"), 0),
}
"""Fields that count something, and the least that can be built."""
_RANGES = {"commitment": (0, math.inf), "ema_decay": (0, 1), "ema_epsilon": (0, math.inf)}
"""Fields that are real numbers: from the first on, below the second."""

SONNET: dict[str, Any] = {"data_variance": 0.06327}
"""DeepMind's example for CIFAR-10, whose pixels vary by that; otherwise what the fields of `VQVAEConfig` say."""
PYTORCH_VQVAE: dict[str, Any] = {
    "width": 256,
    "first_width": 256,
    "block_width": 256,
    "code_width": 256,
    "entry_convolution": False,
    "entry_activation": False,
    "exit_activation": False,
    "skip_after_relu": True,
    "norm": True,
    "projection": False,
    "output": "tanh",
    "codebook": "gradient",
    "commitment": 1.0,
    "pixel_range": (-1.0, 1.0),
}
"""The port by R. Kumar, whose PixelCNN is the one that others copy. Its codes start in +-1/K."""
VQVAE2: dict[str, Any] = {
    "levels": 2,
    "entry_activation": False,
    "ema_debiased": False,
    "pixel_range": (-1.0, 1.0),
    "image_size": 256,
    "snail_top": {},
    "snail_bottom": {"attention": False, "condition_blocks": 3, "condition_width": 256},
}
"""The port of VQ-VAE-2 whose first stage for 256x256 faces was published."""
SPEECH: dict[str, Any] = {
    "dimensions": 1,
    "channels": 1,
    "width": 256,
    "first_width": 128,
    "downsamplings": 6,
    "code_width": 512,
    "pixel_range": (-1.0, 1.0),
    "image_size": None,
    "sample_rate": 16_000,
}
"""64 samples to a code, as in section 4.3. The rate is ours. The decoder mirrors the encoder; the paper's is a WaveNet.
"""
PUBLISHED = {"sonnet": SONNET, "pytorch-vqvae": PYTORCH_VQVAE, "vq-vae-2": VQVAE2, "speech": SPEECH}


class VQVAEConfig(PreTrainedConfig):
    """Everything that shapes a VQ-VAE (arXiv 1711.00937), a VQ-VAE-2 (1906.00446) and their priors.

    Attributes:
        dimensions: 2 for pictures, 1 for signals.
        channels: 3 for RGB.
        levels: grids of codes; 2 is VQ-VAE-2, whose coarser grid is half as fine.
        width: channels of the residual stacks.
        first_width: channels after the first strided convolution and before the last transposed one.
        downsamplings: strided convolutions, each of which halves every side.
        blocks, block_width: residual blocks of each stack and the channels inside them.
        norm: batch norm after each convolution but the last before a stack, and in the blocks.
        entry_convolution: a convolution of 3 before each stack.
        entry_activation, exit_activation: ReLU before and after the encoder's stack.
        skip_after_relu: a block adds to relu(x) instead of x, as code with an in-place ReLU at its head does.
        projection: a pointwise convolution from `width` to `code_width`; without it they must be equal.
        output: "tanh" keeps the decoder's output in (-1, 1).
        codes, code_width: the codebook.
        codes_per_cell: codes for each place of the grid, side by side in its last axis, all from one codebook, as in
            the paper's experiment with 8x8x10 codes for a picture. The projection makes their vectors.
        codebook: how it learns: "ema" (moving averages), "gradient" or "spherical" (unit vectors).
        codebook_spread: bound of the uniform start of a gradient codebook; None is Sonnet's sqrt(3 / code_width).
        commitment: beta, the weight of the commitment loss.
        ema_decay, ema_epsilon, ema_debiased, ema_counts_from, ema_update_first, ema_restart_below: see
            `koine.parts.moving_codebook.Averaging`; its published settings are named there.
        estimator: how gradients pass the codes: "straight-through" or "rotation" (not with spherical codes).
        warm_start: start the codebook by k-means.
        pixel_range: what black and white are for the network.
        data_variance: the reconstruction's squared error is divided by it.
        image_size: side in pixels of the pictures trained on; the prior's grid follows from it. None for signals.
        sample_rate: samples a second of the signals trained on; None takes and gives signals of any rate.
        prior: "pixelcnn" (gated, one level), "pixelsnail" (one or two levels) or "none".
        prior_grid: rows and columns of the (coarsest) grid that the prior draws; for signals the steps.
        prior_width, prior_layers, prior_head: channels of a gated PixelCNN, its layers, channels of its last layers.
        prior_first_kernel, prior_kernel: of the first, masked layer and of the others.
        prior_labels: what a drawing may be asked to show: for each attribute its words. One attribute is the usual
            class; several are said together, each may stay unsaid.
        prior_text_width: width of a text vector that the prior is conditioned on; 0 for none.
        prior_text_encoder: the CLIP that makes these vectors: "nano", or a folder of transformers.
        classifier_width: channels of the classifier of codes, by which drawings are chosen (`code_classifier`); 0 for
            none. It tells the prior's labels.
        snail_top, snail_bottom: sizes of the PixelSNAILs (`koine.systems.vqvae.pixelsnail.PixelSnail`).
    """

    model_type = "koine_vqvae"

    dimensions: int = 2
    channels: int = 3
    levels: int = 1
    width: int = 128
    first_width: int = 64
    downsamplings: int = 2
    blocks: int = 2
    block_width: int = 32
    norm: bool = False
    entry_convolution: bool = True
    entry_activation: bool = True
    exit_activation: bool = True
    skip_after_relu: bool = False
    projection: bool = True
    output: Output = "linear"
    codes: int = 512
    code_width: int = 64
    codes_per_cell: int = 1
    codebook: Codebook = "ema"
    codebook_spread: float | None = None
    commitment: float = 0.25
    ema_decay: float = 0.99
    ema_epsilon: float = 1e-5
    ema_debiased: bool = True
    ema_counts_from: float = 0.0
    ema_update_first: bool = False
    ema_restart_below: float = 0.0
    warm_start: bool = False
    estimator: Estimator = "straight-through"
    pixel_range: list[float] | tuple[float, ...] = (-0.5, 0.5)
    data_variance: float = 1.0
    image_size: int | None = 32
    sample_rate: int | None = None
    prior: Prior = "none"
    prior_grid: list[int] | tuple[int, ...] = ()
    prior_width: int = 64
    prior_layers: int = 15
    prior_head: int = 512
    prior_first_kernel: int = 7
    prior_kernel: int = 3
    prior_labels: list[list[str]] | tuple[tuple[str, ...], ...] = ()
    prior_text_width: int = 0
    prior_text_encoder: str = "nano"
    classifier_width: int = 0
    snail_top: dict[str, Any] | None = None
    snail_bottom: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for option, choices in _CHOICES.items():
            if getattr(self, option) not in get_args(choices):
                raise InputError.unknown(f"{option} of a VQ-VAE", getattr(self, option), get_args(choices))
        self._check_numbers()
        self.pixel_range = list(self.pixel_range)
        self.prior_labels = [list(words) for words in self.prior_labels]
        self._check_widths()
        if self.classifier_width and (self.levels > 1 or self.dimensions == 1 or not self.prior_labels):
            raise InputError(
                f"classifier_width {self.classifier_width} with {self.levels} levels in {self.dimensions} dimensions "
                f"and {len(self.prior_labels)} prior_labels: a classifier takes one level, pictures and labels"
            )
        if self.codebook == "spherical" and self.estimator != "straight-through":
            raise InputError(
                f"estimator {self.estimator!r} with spherical codes: they have the straight-through one only"
            )
        if self.levels not in (1, 2) or self.dimensions not in (1, 2):
            raise InputError(
                f"levels {self.levels} in {self.dimensions} dimensions can't be built: give 1 or 2 of each"
            )
        if self.prior_layers < 1:
            raise InputError(
                f"prior_layers {self.prior_layers}: without a layer a code would see itself: give at least 1"
            )
        if len(self.pixel_range) != 2 or not self.pixel_range[0] < self.pixel_range[1]:
            raise InputError(f"pixel_range {self.pixel_range}: give two numbers, that of black first and the lower")
        if not self.data_variance > 0:
            raise InputError(f"data_variance {self.data_variance}: the error is divided by it: give a positive number")
        if self.image_size is not None and (self.image_size < 1 or self.image_size % self.stride):
            raise InputError(
                f"image_size {self.image_size} isn't a multiple of {self.stride} pixels, the side of a code: give one"
            )
        if not self.prior_grid and self.image_size is not None:
            side = self.image_size // self.stride
            self.prior_grid = [*[side] * (self.dimensions - 1), side * self.codes_per_cell]
        self.prior_grid = list(self.prior_grid)

    def _check_numbers(self) -> None:
        """
        Raises:
            InputError: a count or a weight that nothing can be built with, or lists that are none.
        """
        for option, least in _LEAST.items():
            value = getattr(self, option)
            if not isinstance(value, int) or value < least:
                raise InputError(f"{option} of a VQ-VAE is {value!r}: give a whole number of at least {least}")
        for option, (low, high) in _RANGES.items():
            value = getattr(self, option)
            if not isinstance(value, int | float) or not low <= value < high:
                raise InputError(f"{option} of a VQ-VAE is {value!r}: give a number from {low} on, below {high}")
        if self.sample_rate is not None and (not isinstance(self.sample_rate, int) or self.sample_rate < 1):
            raise InputError(f"sample_rate of a VQ-VAE is {self.sample_rate!r}: give samples a second, such as 16000")
        for option in ("pixel_range", "prior_labels"):
            value = getattr(self, option)
            if not isinstance(value, list | tuple) or [] in value or () in value:
                raise InputError(f"{option} of a VQ-VAE is {value!r}: give a list, and no empty ones in it")

    def _check_widths(self) -> None:
        """
        Raises:
            InputError: layers that follow each other don't fit.
        """
        if not (self.projection and self.entry_convolution) and self.code_width != self.width:
            raise InputError(
                f"code_width {self.code_width} isn't width {self.width}: make them equal, or set projection and "
                "entry_convolution"
            )
        if not self.entry_convolution and self.levels > 1:
            raise InputError(
                f"{self.levels} levels without entry_convolution: set it, since two grids are joined there"
            )
        if not self.entry_convolution and self.downsamplings == 1 and self.first_width != self.width:
            raise InputError(
                f"first_width {self.first_width} isn't width {self.width}: make them equal, or set entry_convolution"
            )
        single = self.levels > 1 or not self.projection or not self.entry_convolution
        if self.codes_per_cell > 1 and single:
            raise InputError(
                f"codes_per_cell {self.codes_per_cell} with {self.levels} levels, projection={self.projection} and "
                f"entry_convolution={self.entry_convolution}: several codes take one level and both of these"
            )

    @property
    def stride(self) -> int:
        """Pixels (or samples) along a side of a cell of the coarsest grid."""
        return 2 ** (self.downsamplings + self.levels - 1)

    @classmethod
    def published(cls, name: str, **options: Any) -> VQVAEConfig:
        """The configuration of that name in `PUBLISHED`, with some fields changed.

        Raises:
            InputError: there is none of that name, or no such field.
        """
        if name not in PUBLISHED:
            raise InputError.unknown("published VQ-VAE", name, PUBLISHED)
        check_options(options, cls, of="a VQ-VAE")
        settings = {**PUBLISHED[name], **options}
        if name == "pytorch-vqvae":
            settings.setdefault("codebook_spread", 1 / settings.get("codes", cls.codes))
        return cls(**settings)

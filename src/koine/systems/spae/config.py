"""Sizes and options of SPAE: MAGVIT's published networks, and the nano one."""

from __future__ import annotations

from typing import Any, Literal, get_args

from transformers import PreTrainedConfig

from koine.errors import InputError
from koine.parts.residual_quantize import Filling, Pyramid, Rule
from koine.settings import check_options

Codebook = Literal["frozen", "learnt"]
Downsample = Literal["average", "conv"]
Upsample = Literal["nearest", "depth_to_space", "deconv"]
_CHOICES: dict[str, Any] = {
    "codebook": Codebook,
    "rule": Rule,
    "filling": Filling,
    "downsample": Downsample,
    "upsample": Upsample,
    "norm": Literal["group", "layer"],
    "activation": Literal["swish", "relu"],
}
_COUNTS = ("image_size", "filters", "encoder_blocks", "decoder_blocks", "width", "groups", "patch", "codebook_size")
PUBLISHED_FILTERS = {"B": 64, "L": 128}
"""MAGVIT's two sizes. Which one SPAE had, if any, is not known."""
THRESHOLDS = (0.98, 0.95, 0.9, 0.85, 0.8)
"""rho of the layers that are guided (section 3.3 of the paper)."""
NANO_THRESHOLDS = (0.98, 0.8, 0.6)
"""Among forty words that guide, the published ones leave one in each pool: a colour or a shape, never both."""


class SpaeConfig(PreTrainedConfig):
    """Everything that shapes a SPAE (arXiv 2306.17842, section 3).

    Attributes:
        image_size: pixels along each side of the square that the encoder sees.
        filters, multipliers: channels of each level are their product.
        encoder_blocks, decoder_blocks: residual blocks of each level.
        width: of the features, which is the codebook's.
        groups: of the group normalisation, which the published networks have 32 of.
        norm, activation, downsample, upsample: the published networks' own options.
        attention_heads: of one attention block in encoder and decoder; 0 for none, as published.
        patch: pixels along each side of the squares that the first convolution takes as its input's channels; 1 as
            published. An extension for small machines.
        codebook: "frozen" is a language model's table; "learnt" is MAGVIT's own quantiser, on one layer.
        codebook_size: rows of the codebook.
        pyramid: sides of the layers, the coarsest first.
        rule: how the layers' codes make a vector: "average" (streaming average) or "residual".
        filling: what the decoder gets at places without a code (the paper doesn't say).
        thresholds: rho_l of the layers that semantic guidance steers, as many as there are such layers.
        commitment, entropy, temperature, entropy_target, codebook_weight, normalized: of the learnt codebook.
    """

    model_type = "koine_spae"

    image_size: int = 128
    filters: int = 64
    multipliers: list[int] | tuple[int, ...] = (1, 2, 2, 4)
    encoder_blocks: int = 2
    decoder_blocks: int = 2
    width: int = 256
    groups: int = 32
    norm: Literal["group", "layer"] = "group"
    activation: Literal["swish", "relu"] = "swish"
    downsample: Downsample = "average"
    upsample: Upsample = "nearest"
    attention_heads: int = 0
    patch: int = 1
    codebook: Codebook = "frozen"
    codebook_size: int = 65_000
    pyramid: list[int] | tuple[int, ...] = (1, 2, 4, 8, 16, 16)
    rule: Rule = "average"
    filling: Filling = "zero"
    thresholds: list[float] | tuple[float, ...] = THRESHOLDS
    commitment: float = 0.25
    codebook_weight: float = 1.0
    entropy: float = 0.1
    temperature: float = 0.01
    entropy_target: Literal["softmax", "argmax"] = "softmax"
    normalized: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for option, choices in _CHOICES.items():
            if getattr(self, option) not in get_args(choices):
                raise InputError.unknown(f"{option} of SPAE", getattr(self, option), get_args(choices))
        self._check_numbers()
        self.multipliers, self.pyramid = list(self.multipliers), list(self.pyramid)
        self.thresholds = list(self.thresholds)
        if self.image_size < self.stride or self.image_size % self.stride:
            raise InputError(
                f"image_size {self.image_size} is not a multiple of the network's stride {self.stride}: "
                f"give {max(1, round(self.image_size / self.stride)) * self.stride}"
            )
        self._check_groups()
        self._check_layers()

    def _check_numbers(self) -> None:
        for option in _COUNTS:
            if not _is_count(getattr(self, option)):
                raise InputError(f"{option} of SPAE is {getattr(self, option)!r}: give a whole number of at least 1")
        if self.attention_heads != 0 and not _is_count(self.attention_heads):
            raise InputError(f"attention_heads of SPAE is {self.attention_heads!r}: give a whole number, 0 for none")
        for option in ("multipliers", "pyramid"):
            value = getattr(self, option)
            if not isinstance(value, list | tuple) or not value or not all(map(_is_count, value)):
                raise InputError(f"{option} of SPAE is {value!r}: give a list of whole numbers, each at least 1")
        rho = self.thresholds
        if not isinstance(rho, list | tuple) or not all(isinstance(one, int | float) and 0 <= one <= 1 for one in rho):
            raise InputError(
                f"thresholds of SPAE is {rho!r}: give a list of numbers from 0 to 1, for no word is more similar than 1"
            )

    def _check_groups(self) -> None:
        for multiplier in self.multipliers:
            channels = self.filters * multiplier
            if self.norm == "group" and channels % self.groups:
                raise InputError(
                    f"{channels} channels can't be cut into {self.groups} groups: change filters, multipliers or groups"
                )
            if self.attention_heads and channels % self.attention_heads:
                raise InputError(f"{channels} channels can't be shared by {self.attention_heads} heads: change either")

    def _check_layers(self) -> None:
        rows, columns = self.layers.grid
        grid = self.image_size // self.stride
        if rows != grid or columns != grid:
            raise InputError(
                f"the pyramid ends with {rows} x {columns} places, but pictures of {self.image_size} pixels become "
                f"{grid} x {grid} features: end it with {grid}"
            )
        if self.codebook == "learnt" and len(self.pyramid) > 1:
            raise InputError(f"a learnt codebook has one layer, not {len(self.pyramid)}: give pyramid=({grid},)")
        if len(self.thresholds) > len(self.pyramid):
            raise InputError(
                f"{len(self.thresholds)} thresholds for {len(self.pyramid)} layers: give one for each guided layer"
            )

    @property
    def stride(self) -> int:
        """Pixels between two cells of the grid."""
        return int(self.patch) << (len(self.multipliers) - 1)

    @property
    def layers(self) -> Pyramid:
        """The layers of codes."""
        return Pyramid.square(self.pyramid)

    @classmethod
    def magvit(cls, size: Literal["B", "L"] = "B", **options: Any) -> SpaeConfig:
        """MAGVIT's 2D network of that size with its learnt codebook, as the key lists of its checkpoints have it."""
        if size not in PUBLISHED_FILTERS:
            raise InputError.unknown("size of MAGVIT", size, PUBLISHED_FILTERS)
        settings: dict[str, Any] = {
            "filters": PUBLISHED_FILTERS[size],
            "codebook": "learnt",
            "codebook_size": 1024,
            "pyramid": (16,),
            "thresholds": (),
        }
        return cls(**{**settings, **options})

    @classmethod
    def nano(cls, codebook_size: int, width: int = 128, **options: Any) -> SpaeConfig:
        """The model that ships with the package: 64 x 64 pixels, 8 x 8 places, 213 words.

        Raises:
            InputError: an option that no field has, or a value that nothing can be built with.
        """
        check_options(options, cls, of="SPAE")
        settings: dict[str, Any] = {
            "image_size": 64,
            "filters": 48,
            "multipliers": (1, 2, 2),
            "encoder_blocks": 1,
            "decoder_blocks": 1,
            "width": width,
            "groups": 8,
            "attention_heads": 4,
            "patch": 2,
            "codebook_size": codebook_size,
            "pyramid": (1, 2, 4, 8, 8, 8),
            "thresholds": NANO_THRESHOLDS,
        }
        return cls(**{**settings, **options})


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 1

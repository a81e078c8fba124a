"""Sizes and options of Ferret: the published models and the nano one."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from transformers import CLIPVisionConfig, LlamaConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from koine.errors import InputError
from koine.settings import check_options

PUBLISHED_SIZES: dict[str, dict[str, Any]] = {
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
    "13b": {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40},
}
IMAGE_TOKEN_ID = -200
PUBLISHED_LONGEST_ANSWER = 1024

SelectFeature = Literal["patch", "cls_patch"]
RegionFeatures = Literal["sampler", "average", "none"]
Orientation = Literal["published", "corrected"]
Alignment = Literal["corners", "centers"]
Pooling = Literal["max", "mean"]
RadiusUnit = Literal["image", "input"]
_CHOICES: dict[str, Any] = {
    "select_feature": SelectFeature,
    "region_features": RegionFeatures,
    "region_orientation": Orientation,
    "region_alignment": Alignment,
    "sampler_pooling": Pooling,
    "point_radius_unit": RadiusUnit,
}

# The published models saw this text before every conversation; it ends in a space, and the template adds another.
PUBLISHED_SYSTEM_PROMPT = (
    "A chat between a human and an AI that understands visuals. In images, [x, y] denotes points: top-left [0, 0], "
    "bottom-right [width-1, height-1]. Increasing x moves right; y moves down. Bounding box: [x1, y1, x2, y2]. "
    "Image size: 1000x1000. Follow instructions. "
)


class FerretConfig(PreTrainedConfig):
    """Everything that shapes a Ferret (arXiv 2310.07704, section 3).

    Attributes:
        vision_config: the CLIP vision tower.
        text_config: the LLaMA; its vocabulary includes the region token.
        feature_layer: which of the tower's hidden states are the image's features, counted from the end.
        select_feature: "patch" drops the class token from what the language model sees; "cls_patch" keeps it.
        image_positions: adds a learnt embedding of its place in the grid to each projected patch. The published model
            has none, for a CLIP of that size keeps places in its features; the nano one is helped by them.
        image_token_id: placeholder of the image in token rows, outside the vocabulary.
        region_token_id: id of `<region_fea>`, the placeholder of a region's feature.
        region_features: how a region becomes one embedding. "sampler": the spatial-aware visual sampler; "average":
            the mean of the features under it (the ablation without sampler); "none": not at all, coordinates only.
        region_coordinates: whether a region is also written as coordinates.
        region_orientation: "corrected" reads the feature map at a point's place; "published" reads it mirrored at the
            main diagonal, as the original code does and the published weights were trained to.
        region_alignment: how relative coordinates meet the feature map. "centers": a patch's feature belongs to the
            patch's centre; "corners": the outermost features belong to the image's edges, which is off by up to half
            a patch there, as published.
        point_radius: a point stands for the square of pixels at most this far from it.
        point_radius_unit: whose pixels these are. "image": of the picture as given, as published, so that a point
            covers less of a larger picture; "input": of the square that the tower sees, so that it always covers as
            much as in training.
        sampler_points: points drawn from each region.
        sampler_anchors: points that each stage keeps.
        sampler_neighbours: points that each stage gathers around each kept one.
        sampler_pooling: how a stage merges neighbours.
        coordinate_bins: coordinates are whole numbers from 0 to this.
        system_prompt: what stands before every conversation; empty for none.
        max_text_tokens: longest token row in training, image patches not counted.
        longest_answer: tokens after which an answer is cut off unless something else is asked for. The published
            evaluation allows 1,024: a box alone takes some 20 of LLaMA's tokens.
    """

    model_type = "koine_ferret"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vision_config": SubConfigSpec(config_class=CLIPVisionConfig),
        "text_config": SubConfigSpec(config_class=LlamaConfig),
    }

    vision_config: Any = None  # dictionaries, as in a config.json, become configurations
    text_config: Any = None
    feature_layer: int = -2
    select_feature: SelectFeature = "patch"
    image_positions: bool = False
    image_token_id: int = IMAGE_TOKEN_ID
    region_token_id: int = 32000
    region_features: RegionFeatures = "sampler"
    region_coordinates: bool = True
    region_orientation: Orientation = "corrected"
    region_alignment: Alignment = "centers"
    point_radius: int = 5
    point_radius_unit: RadiusUnit = "image"
    sampler_points: int = 512
    sampler_anchors: list[int] | tuple[int, ...] = (128, 32)
    sampler_neighbours: list[int] | tuple[int, ...] = (24, 24)
    sampler_pooling: Pooling = "max"
    coordinate_bins: int = 1000
    system_prompt: str = PUBLISHED_SYSTEM_PROMPT
    max_text_tokens: int = 2048
    longest_answer: int = 128
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for option, choices in _CHOICES.items():
            if getattr(self, option) not in get_args(choices):
                raise InputError.unknown(f"{option} of Ferret", getattr(self, option), get_args(choices))
        self.sampler_anchors = list(self.sampler_anchors)
        self.sampler_neighbours = list(self.sampler_neighbours)
        current = self.sampler_points
        if len(self.sampler_anchors) != len(self.sampler_neighbours):
            raise InputError(
                f"sampler_anchors {self.sampler_anchors} and sampler_neighbours {self.sampler_neighbours} differ in "
                "length: give one of each per stage"
            )
        for anchors, neighbours in zip(self.sampler_anchors, self.sampler_neighbours, strict=True):
            if not 0 < anchors <= current or not 0 < neighbours <= current:
                raise InputError(
                    f"a sampler stage can't keep {anchors} of {current} points with {neighbours} neighbours each: "
                    "give numbers from 1 to the number of points that reach the stage"
                )
            current = anchors
        if not self.region_coordinates and self.region_features == "none":
            raise InputError(
                "region_coordinates is false and region_features is 'none', so that regions would leave no trace: "
                "switch one of them on"
            )

    def point_reach(self, size: tuple[int, int]) -> tuple[float, float]:
        """How far a point's window reaches to the sides and up and down, in pixels of an image of `size` (w, h)."""
        if self.point_radius_unit == "image":
            return self.point_radius, self.point_radius
        # The window is 2 * radius + 1 wide: the pixel of the point lies in the middle. It never gets thinner than one.
        wide, high = ((self.point_radius + 0.5) * side / self.image_size - 0.5 for side in size)
        return max(wide, 0.0), max(high, 0.0)

    @property
    def grid(self) -> int:
        """Patches along each side of the image."""
        return int(self.vision_config.image_size) // int(self.vision_config.patch_size)

    @property
    def image_size(self) -> int:
        """Pixels along each side of the image that the tower sees."""
        return int(self.vision_config.image_size)

    @classmethod
    def published(cls, size: Literal["7b", "13b"] = "7b", **options: Any) -> FerretConfig:
        """The published model of that size: CLIP ViT-L/14 at 336 pixels and Vicuna v1.3, with all quirks."""
        if size not in PUBLISHED_SIZES:
            raise InputError.unknown("published size of Ferret", size, PUBLISHED_SIZES)
        settings: dict[str, Any] = {
            "vision_config": published_vision_config(),
            "text_config": LlamaConfig(
                **PUBLISHED_SIZES[size],
                vocab_size=32001,
                max_position_embeddings=2048,
                rms_norm_eps=1e-6,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
            ),
            "region_orientation": "published",
            "region_alignment": "corners",
            "longest_answer": PUBLISHED_LONGEST_ANSWER,
        }
        return cls(**{**settings, **options})

    @classmethod
    def nano(cls, vocab_size: int, region_token_id: int | None = None, **options: Any) -> FerretConfig:
        """The model that ships with the package and runs on a laptop: 64 x 64 pixels, two million parameters.

        Args:
            vocab_size: of the tokenizer, region token included.
            region_token_id: by default the last of the vocabulary.
        Raises:
            InputError: an option that no field has, or a value that nothing can be built with.
        """
        check_options(options, cls, of="Ferret")
        settings: dict[str, Any] = {
            "vision_config": CLIPVisionConfig(
                hidden_size=128,
                intermediate_size=512,
                num_hidden_layers=4,
                num_attention_heads=4,
                image_size=64,
                patch_size=8,
                projection_dim=128,
            ),
            "text_config": LlamaConfig(
                hidden_size=128,
                intermediate_size=344,
                num_hidden_layers=4,
                num_attention_heads=4,
                vocab_size=vocab_size,
                max_position_embeddings=512,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
            ),
            "region_token_id": vocab_size - 1 if region_token_id is None else region_token_id,
            "image_positions": True,
            "point_radius": 2,
            "point_radius_unit": "input",
            "sampler_points": 64,
            "sampler_anchors": (16, 8),
            "sampler_neighbours": (8, 8),
            "coordinate_bins": 100,
            "system_prompt": "",
            "max_text_tokens": 384,
        }
        return cls(**{**settings, **options})


def published_vision_config() -> CLIPVisionConfig:
    """CLIP ViT-L/14 at 336 pixels (`openai/clip-vit-large-patch14-336`), vision part."""
    return CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )

"""Sizes and options of BEiT-3 and of its visual tokenizer: the published models, the paper's and the nano ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from transformers import PreTrainedConfig

from koine.errors import InputError
from koine.settings import check_options

Head = Literal["classification", "vqa", "nlvr2", "captioning", "retrieval", "pretraining"]
Experts = Literal["decoupled", "feed-forward", "none"]
Initialization = Literal["published", "sub-ln"]
HEADS: tuple[Head, ...] = get_args(Head)
_WITHOUT_FINAL_NORM: frozenset[Head] = frozenset({"classification", "vqa"})

SIZES: dict[str, dict[str, int]] = {
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
"""The published sizes, patches of 16 pixels."""

GIANT: dict[str, Any] = {
    "hidden_size": 1408,
    "num_hidden_layers": 40,
    "num_attention_heads": 16,
    "intermediate_size": 6144,
    "patch_size": 14,
    "experts": "feed-forward",
    "fusion_layers": 3,
}
"""The size of the paper's tables (section 2.1 and table 2), which was never published."""

_COUNTS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "image_size",
    "patch_size",
    "vocab_size",
    "max_text_tokens",
)
"""Of the configuration, what there must be at least one of."""

POSITION_OFFSET = 2
"""Position i is row i + 2 of its table: a habit of fairseq, where the first rows were for padding."""


class Beit3Config(PreTrainedConfig):
    """Everything that shapes a BEiT-3.

    Attributes:
        heads: which heads the model has, of `HEADS`; a published checkpoint has one, the nano model several on one
            backbone.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size: of the transformer.
        image_size, patch_size: pixels; images are square.
        vocab_size: rows of the word table. The published one has 64,010, of which 64,002 are tokens.
        max_text_tokens: longest text, special tokens included.
        has_text: whether there is a language branch at all; a classifier of images can do without.
        experts: what each modality has for itself. "decoupled": everything but the softmax of the attention, as the
            published weights; "feed-forward": only the feed-forward networks, attention and norms are shared, as the
            paper says; "none": nothing but the tables of positions, a plain transformer (for comparison).
        fusion_layers: so many of the last layers have a third feed-forward network, for tokens of image-text pairs
            (with experts="feed-forward"; the paper's giant has 3).
        drop_path_rate: probability of skipping a branch in the last layer; it rises linearly from 0 in the first.
        initialization: "published" draws linear weights as the published heads do, from a normal distribution of
            deviation 0.02 cut at 0.02; "sub-ln" as Magneto, PyTorch's own times sqrt(ln(2 layers)) on the way through
            values and feed-forward networks, which small models trained from scratch learn faster from.
        num_classes, num_answers, num_image_codes: outputs of the heads "classification", "vqa" and "pretraining".
        bos_token_id, pad_token_id, eos_token_id, unk_token_id, mask_token_id: special tokens.
        caption_beams, caption_length_penalty: how captions are searched for unless it is said otherwise, see
            `Decoding`.

    Raises:
        InputError: an unknown head or kind of experts, or sizes that do not fit each other.
    """

    model_type = "koine_beit3"

    heads: Sequence[Head] = ()
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    image_size: int = 224
    patch_size: int = 16
    num_channels: int = 3
    vocab_size: int = 64_010
    max_text_tokens: int = 1022
    has_text: bool = True
    experts: Experts = "decoupled"
    fusion_layers: int = 0
    drop_path_rate: float = 0.0
    layer_norm_eps: float = 1e-5
    initialization: Initialization = "published"
    num_classes: int = 1000
    num_answers: int = 3129
    num_image_codes: int = 8192
    bos_token_id: int = 0
    pad_token_id: int = 1
    eos_token_id: int = 2
    unk_token_id: int = 3
    mask_token_id: int = 64_001
    caption_beams: int = 3
    caption_length_penalty: float = 0.6
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.heads = list(self.heads)
        for head in self.heads:
            if head not in HEADS:
                raise InputError.unknown("head of BEiT-3", head, HEADS)
        for option, choices in (("experts", Experts), ("initialization", Initialization)):
            if getattr(self, option) not in get_args(choices):
                raise InputError.unknown(f"{option} of BEiT-3", getattr(self, option), get_args(choices))
        for option in _COUNTS:
            value = getattr(self, option)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{option} = {value!r} makes no BEiT-3: give a whole number of at least 1")
        if not 0 <= self.drop_path_rate < 1:
            raise InputError(f"drop_path_rate = {self.drop_path_rate} is no probability below 1: give one, such as 0.1")
        if not self.has_text and set(self.heads) - {"classification"}:
            raise InputError(f"heads {self.heads} need texts: give has_text=True, or the head 'classification' alone")
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} can't be shared by {self.num_attention_heads} attention heads: "
                "give a multiple"
            )
        if self.image_size % self.patch_size:
            raise InputError(
                f"image_size {self.image_size} is no multiple of the patch size {self.patch_size}: "
                f"give {self.image_size // self.patch_size * self.patch_size or self.patch_size}"
            )
        if not 0 <= self.fusion_layers <= self.num_hidden_layers or (
            self.fusion_layers and self.experts != "feed-forward"
        ):
            raise InputError(
                f"fusion_layers = {self.fusion_layers} with experts = {self.experts!r} and {self.num_hidden_layers} "
                "layers: only feed-forward experts can have them, in at most all layers"
            )

    @property
    def grid(self) -> int:
        """Patches along each side of the image."""
        return self.image_size // self.patch_size

    @property
    def image_tokens(self) -> int:
        """Tokens of an image: its class token and its patches."""
        return 1 + self.grid**2

    @property
    def has_final_norm(self) -> bool:
        """Whether a norm closes the encoder.

        The published classification and VQA models drop it when they are fine-tuned; all others keep it.
        """
        return not self.heads or not set(self.heads) <= _WITHOUT_FINAL_NORM

    @property
    def decoupled(self) -> bool:
        """Whether texts have attention and norms of their own."""
        return self.has_text and self.experts == "decoupled"

    @classmethod
    def published(
        cls, size: Literal["base", "large"] = "base", head: Head | None = None, **options: Any
    ) -> Beit3Config:
        """The published model of that size with that head.

        Raises:
            InputError: there is no such size.
        """
        if size not in SIZES:
            raise InputError.unknown("published size of BEiT-3", size, SIZES)
        return cls(**{**SIZES[size], "heads": [head] if head else [], **options})

    @classmethod
    def giant(cls, **options: Any) -> Beit3Config:
        """The paper's model: attention shared by both modalities, and vision-language experts on top."""
        return cls(**{**GIANT, **options})

    @classmethod
    def nano(cls, vocab_size: int, mask_token_id: int | None = None, **options: Any) -> Beit3Config:
        """A model for 64 x 64 pixels in patches of 8, of width 128; the one that ships differs as `options` say
        (`koine.systems.beit3.recipe.nano_config`).

        Args:
            vocab_size: of the tokenizer, mask token included.
            mask_token_id: by default the last of the vocabulary.
        Raises:
            InputError: an option that no field has, or a value that nothing can be built with.
        """
        check_options(options, cls, of="BEiT-3")
        settings: dict[str, Any] = {
            "heads": ["vqa", "nlvr2", "captioning", "retrieval", "pretraining"],
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 384,
            "image_size": 64,
            "patch_size": 8,
            "vocab_size": vocab_size,
            "mask_token_id": vocab_size - 1 if mask_token_id is None else mask_token_id,
            "max_text_tokens": 64,
            "initialization": "sub-ln",
            "num_image_codes": 256,
        }
        return cls(**{**settings, **options})


class VisualTokenizerConfig(PreTrainedConfig):
    """Sizes of BEiT v2's visual tokenizer (VQ-KD, arXiv 2208.06366, section 3.1); the defaults are those published.

    Attributes:
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size: of the encoder; the decoder has the
            same but `decoder_layers`.
        image_size, patch_size: pixels; a code stands for a patch.
        num_codes, code_width: of the codebook.
        teacher_width: of the teacher's patch features, which the decoder learns to say.
        decay: of the codebook's moving averages.
    """

    model_type = "koine_visual_tokenizer"

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    decoder_layers: int = 1
    image_size: int = 224
    patch_size: int = 16
    num_channels: int = 3
    num_codes: int = 8192
    code_width: int = 32
    teacher_width: int = 512
    decay: float = 0.99
    layer_norm_eps: float = 1e-6

    @property
    def grid(self) -> int:
        """Patches along each side of the image."""
        return self.image_size // self.patch_size

    @classmethod
    def nano(cls, **options: Any) -> VisualTokenizerConfig:
        """256 codes for patches of 8 x 8 pixels, taught by the nano CLIP."""
        settings: dict[str, Any] = {
            "hidden_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 384,
            "image_size": 64,
            "patch_size": 8,
            "num_codes": 256,
            "code_width": 16,
            "teacher_width": 128,
        }
        return cls(**{**settings, **options})

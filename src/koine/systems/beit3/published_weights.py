"""What the release's files hold, as our models: BEiT-3's checkpoints and those of BEiT v2's visual tokenizers.

Every tensor of a file has its place in a model of the configuration that the shapes tell, and the other way round.
"""

from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from koine.errors import InputError
from koine.systems.beit3.config import HEADS, POSITION_OFFSET, SIZES, Beit3Config, Head, VisualTokenizerConfig
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.vqkd import VisualTokenizer

# A tensor that only the checkpoints with this head have, the first that is found decides.
_MARKS: tuple[tuple[str, Head], ...] = (
    ("mim_head.weight", "pretraining"),
    ("mlm_head.weight", "captioning"),
    ("vision_head.weight", "retrieval"),
    ("pooler.dense.weight", "vqa"),
    ("head.dense1.weight", "nlvr2"),
    ("fc_norm.weight", "classification"),
)
# Of the tokenizers: parts of their training, and statistics that nothing reads.
_NOT_OF_TOKENIZER = ("loss", "teacher", "scaling", "quantize.embedding.cluster_size", "quantize.embedding.embed_avg")
_OF_QUANTIZER = {
    "quantize.embedding.weight": "quantizer.codebook",
    "quantize.cluster_size": "quantizer.counts",
    "quantize.embedding.initted": "quantizer.started",
}


def find_head(names: Iterable[str]) -> Head:
    """The head of a checkpoint with tensors of these published names.

    Raises:
        InputError: it is no BEiT-3.
    """
    present = set(names)
    if "beit3.vision_embed.cls_token" not in present:
        raise InputError("the checkpoint has no tensor beit3.vision_embed.cls_token, it is no BEiT-3's: give one")
    for mark, head in _MARKS:
        if mark in present:
            return head
    raise InputError(f"the checkpoint has none of the heads {', '.join(HEADS)}: give a published one")


def our_name(published: str, head: Head) -> str:
    """Our name of a tensor of a checkpoint with that head: the transformer's stay as they are."""
    return published if published.startswith("beit3.") else f"heads.{head}.{published}"


def infer_config(shapes: Mapping[str, tuple[int, ...]]) -> Beit3Config:
    """The configuration of a published checkpoint, by its tensors' shapes.

    Raises:
        InputError: it is no BEiT-3, or of none of the published sizes.
    """
    head = find_head(shapes)
    try:
        width, _, _, patch = shapes["beit3.vision_embed.proj.weight"]
        image_rows = shapes["beit3.encoder.embed_positions.A.weight"][0]
        # Classifiers may have been published without their language branch.
        options: dict[str, int] = {"has_text": "beit3.text_embed.weight" in shapes or head != "classification"}
        if options["has_text"]:
            options["vocab_size"] = shapes["beit3.text_embed.weight"][0]
            options["max_text_tokens"] = shapes["beit3.encoder.embed_positions.B.weight"][0] - POSITION_OFFSET
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"the checkpoint lacks {error} of a BEiT-3: fetch it again") from error
    size = next((name for name, sizes in SIZES.items() if sizes["hidden_size"] == width), None)
    if size is None:
        widths = ", ".join(f"{sizes['hidden_size']} ({name})" for name, sizes in SIZES.items())
        raise InputError(f"no published BEiT-3 has width {width}: they have {widths}")
    for option, tensor in (
        ("num_classes", "head.weight"),
        ("num_answers", "head.3.weight"),
        ("num_image_codes", "mim_head.weight"),
    ):
        if tensor in shapes:
            options[option] = shapes[tensor][0]
    return Beit3Config.published(
        size,  # type: ignore[arg-type]
        head,
        image_size=patch * round((image_rows - POSITION_OFFSET - 1) ** 0.5),
        patch_size=patch,
        **options,
    )


def build(config: Beit3Config, state: Mapping[str, Tensor], *, dtype: torch.dtype = torch.float32) -> Beit3Model:
    """A model with exactly these weights, in evaluation mode.

    Args:
        state: under our names.
    Raises:
        InputError: a weight is missing, left over, or of another shape.
    """
    with torch.device("meta"):
        model = Beit3Model(config)
    _check_fit({name: tuple(tensor.shape) for name, tensor in state.items()}, model)
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in state.items()}, strict=True, assign=True)
    return model.eval()


def build_published(
    published: Mapping[str, Tensor],
    *,
    head: Head | None = None,
    size: str | None = None,
    image_size: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Beit3Model:
    """A model from a published checkpoint's tensors.

    Args:
        head, size: what the checkpoint must have and be; by default any.
        image_size: interpolates the image positions to images of so many pixels.
    Raises:
        InputError: it has another head or size, or tensors are missing, left over, or of another shape.
    """
    config = infer_config({name: tuple(tensor.shape) for name, tensor in published.items()})
    _check_wanted(config, head, size)
    state = {our_name(name, config.heads[0]): tensor for name, tensor in published.items()}
    model = build(config, state, dtype=dtype)
    if image_size is not None and image_size != config.image_size:
        model.resize_images(image_size)
    return model


def convert_tokenizer_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published visual tokenizer's tensors under our names, without those of its training."""
    state = {}
    for name, tensor in published.items():
        if name.startswith(_NOT_OF_TOKENIZER):
            continue
        ours = _OF_QUANTIZER.get(name, name)
        state[ours] = tensor.reshape(()) > 0 if ours == "quantizer.started" else tensor
    return state


def infer_tokenizer_config(shapes: Mapping[str, tuple[int, ...]]) -> VisualTokenizerConfig:
    """The configuration of a published visual tokenizer, by its tensors' shapes; heads are 64 wide as in all of them.

    Raises:
        InputError: it is none.
    """
    try:
        width, channels, patch, _ = shapes["encoder.patch_embed.proj.weight"]
        codes, code_width = shapes["quantize.embedding.weight"]
        positions = shapes["encoder.pos_embed"][1]
        inner = shapes["encoder.blocks.0.mlp.fc1.weight"][0]
        teacher = shapes["decode_task_layer.2.weight"][0]
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"the checkpoint lacks {error} of a visual tokenizer: give one of BEiT v2's") from error
    return VisualTokenizerConfig(
        hidden_size=width,
        num_hidden_layers=_layers(shapes, "encoder"),
        decoder_layers=_layers(shapes, "decoder"),
        num_attention_heads=max(1, width // 64),
        intermediate_size=inner,
        image_size=patch * round((positions - 1) ** 0.5),
        patch_size=patch,
        num_channels=channels,
        num_codes=codes,
        code_width=code_width,
        teacher_width=teacher,
    )


def build_tokenizer(published: Mapping[str, Tensor], config: VisualTokenizerConfig | None = None) -> VisualTokenizer:
    """A visual tokenizer from a published checkpoint's tensors, in evaluation mode.

    Args:
        config: by default what the shapes tell.
    Raises:
        InputError: a weight is missing, left over, or of another shape.
    """
    config = config or infer_tokenizer_config({name: tuple(tensor.shape) for name, tensor in published.items()})
    state = convert_tokenizer_state(published)
    with torch.device("meta"):
        model = VisualTokenizer(config)
    _check_fit({name: tuple(tensor.shape) for name, tensor in state.items()}, model)
    # A copy, because tokenising moves the counts, which must not move the checkpoint's.
    model.load_state_dict({name: tensor.clone() for name, tensor in state.items()}, strict=True, assign=True)
    return model.eval()


def read_published(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a published file, or of one that the original's fine-tuning wrote; nothing in it is executed.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"there is no checkpoint {path}: give a file of the release, such as beit3_base_patch16_224.pth"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Checkpoints of one's own training hold its options beside the weights; a namespace only holds values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            # the format before torch 1.6 is no archive and can't be mapped
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(f"{path} is no readable checkpoint ({reason}): fetch it again") from error
    except Exception as error:  # on bytes that are no pickle torch's reader raises whatever it stumbles over
        reason = f"its bytes are neither an archive nor a pickle, {type(error).__name__}"
        raise InputError(f"{path} is no readable checkpoint ({reason}): fetch it again") from error
    state = content
    for key in ("model", "module", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            state = content[key]
            break
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"{path} holds no weights: give a checkpoint of BEiT-3 or of BEiT v2's tokenizer")
    return state


def is_tokenizer(published: Mapping[str, Tensor]) -> bool:
    """Whether a checkpoint is a visual tokenizer's."""
    return "quantize.embedding.weight" in published


def _check_wanted(config: Beit3Config, head: Head | None, size: str | None) -> None:
    """
    Raises:
        InputError: the checkpoint isn't what is wanted, or nothing could be.
    """
    if head is not None and head not in HEADS:
        raise InputError.unknown("head of BEiT-3", head, HEADS)
    if size is not None and size not in SIZES:
        raise InputError.unknown("published size of BEiT-3", size, SIZES)
    found = next(name for name, sizes in SIZES.items() if sizes["hidden_size"] == config.hidden_size)
    if (head is not None and head != config.heads[0]) or (size is not None and size != found):
        wanted = " ".join(part for part in (size, head) if part)
        raise InputError(
            f"the checkpoint is a {found} model with the head {config.heads[0]!r}, but {wanted} is wanted: "
            "give the file that belongs to it"
        )


def _check_fit(given: Mapping[str, tuple[int, ...]], model: torch.nn.Module) -> None:
    """
    Raises:
        InputError: `given` shapes are not exactly the model's.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    faults = [
        *(f"lacks {name}" for name in expected.keys() - given.keys()),
        *(f"has {name}, which this model has not" for name in given.keys() - expected.keys()),
        *(
            f"has {name} of shape {given[name]} instead of {expected[name]}"
            for name in expected.keys() & given.keys()
            if given[name] != expected[name]
        ),
    ]
    refuse(faults, "the checkpoint does not fit", "fetch the published file again")


def refuse(faults: Sequence[str], what: str, remedy: str) -> None:
    """
    Raises:
        InputError: there are faults; one of them is named.
    """
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise InputError(f"{what}: it {min(faults)}{more}; {remedy}")


def _layers(shapes: Mapping[str, tuple[int, ...]], part: str) -> int:
    numbers = {int(name.split(".")[2]) for name in shapes if name.startswith(f"{part}.blocks.")}
    return len(numbers)

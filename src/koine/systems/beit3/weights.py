"""BEiT-3's weights in folders of our own: loaded strictly, and made from the release's files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedConfig

from koine.errors import InputError
from koine.files import write_atomically
from koine.systems.beit3.config import Beit3Config, Head, VisualTokenizerConfig
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.processor import Beit3Processor, read_labels
from koine.systems.beit3.published_weights import (
    build_published,
    build_tokenizer,
    is_tokenizer,
    read_published,
    refuse,
)
from koine.systems.beit3.tokenizer import Beit3Tokenizer
from koine.systems.beit3.vqkd import VisualTokenizer

SENTENCE_PIECES = "beit3.spm"
"""The tokenizer's file, in the release and in our folders."""

ANSWERS = "answer2label.txt"
"""Names of a VQA head's answers, in the release."""


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    head: Head | None = None,
    size: str | None = None,
    image_size: int | None = None,
) -> Path:
    """Makes a folder that `koine.load("beit3", ...)` takes from a file of the release, or one of a visual tokenizer.

    Args:
        source: the file, such as beit3_base_patch16_480_vqa.pth or vqkd_encoder_base_decoder_1x768x12_clip.pth.
        out: the folder to make.
        base: beit3.spm or the folder that holds it, by default the source's; for a VQA checkpoint answer2label.txt is
            looked for there, too.
        head, size: what the checkpoint must have and be; by default any.
        image_size: interpolates the image positions to images of so many pixels. A visual tokenizer's can't be.
    Raises:
        InputError: the file is none of the release's or not the one that is wanted, or beit3.spm is not there; that or
            answer2label.txt belongs to other weights.
    """
    published = read_published(source)
    model: Beit3Model | VisualTokenizer
    if is_tokenizer(published):
        if wanted := [str(each) for each in (size, head, image_size) if each is not None]:
            raise InputError(
                f"{source} is a visual tokenizer, but a BEiT-3 ({' '.join(wanted)}) is wanted: give another"
            )
        model, beside = build_tokenizer(published), []
    else:
        model = build_published(published, head=head, size=size, image_size=image_size)
        beside = _files_beside(Path(base) if base is not None else Path(source).parent, model.config)
        _check_beside(beside, model.config)
    with write_atomically(Path(out)) as folder:
        model.save_pretrained(folder)
        for file in beside:
            shutil.copyfile(file, folder / (file.name if file.name == ANSWERS else SENTENCE_PIECES))
    return Path(out)


def load_config(folder: str | os.PathLike[str]) -> Beit3Config:
    """The configuration of the BEiT-3 in a folder that `convert` or a training wrote.

    Raises:
        InputError: it holds another model or none.
    """
    _check_kind(folder, Beit3Config)
    return Beit3Config.from_pretrained(folder)


def load_folder(
    folder: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Beit3Model:
    """A BEiT-3 from a folder that `convert` or a training wrote, in evaluation mode.

    Raises:
        InputError: it holds another model or is damaged.
    """
    model = _load(folder, Beit3Config, Beit3Model, dtype)
    return model.to(device or "cpu").eval()


def load_tokenizer_folder(folder: str | os.PathLike[str]) -> VisualTokenizer:
    """A visual tokenizer from a folder that `convert` or a training wrote, in evaluation mode.

    Raises:
        InputError: it holds another model or is damaged.
    """
    return _load(folder, VisualTokenizerConfig, VisualTokenizer, None).eval()


def _load(
    folder: str | os.PathLike[str], of: type[PreTrainedConfig], model: type[Any], dtype: torch.dtype | None
) -> Any:
    _check_kind(folder, of)
    try:
        # Without these two a tensor that is missing or of another shape would be drawn at random, and only logged.
        loaded, report = model.from_pretrained(
            folder, dtype=dtype or torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(f"{folder} holds no readable weights ({reason}): make it again") from error
    faults = [
        *(f"lacks {name}" for name in report["missing_keys"]),
        *(f"has {name}, which this model has not" for name in report["unexpected_keys"]),
        *(f"has {name} in another shape" for name, *_ in report["mismatched_keys"]),
    ]
    refuse(faults, f"the weights in {folder} do not fit its config.json", "make them again")
    return loaded


def _check_kind(folder: str | os.PathLike[str], of: type[PreTrainedConfig]) -> None:
    """
    Raises:
        InputError: the folder has no configuration, or that of another kind of model.
    """
    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"{folder} holds no config.json: give a folder that koine made, or convert a published file")
    try:
        kind = PreTrainedConfig.get_config_dict(folder)[0].get("model_type")
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds a config.json that can't be read: make it again") from error
    if kind != of.model_type:
        raise InputError(f"{folder} holds a model of type {kind!r}, not {of.model_type!r}: give another folder")


def _files_beside(place: Path, config: Beit3Config) -> list[Path]:
    """What a converted folder needs besides the weights: the words, unless the model reads none, and answers' names.

    Raises:
        InputError: there is no sentencepiece file, or it is another model's.
    """
    if config.heads == ["classification"]:
        return []
    folder = place if place.is_dir() else place.parent
    pieces = folder / SENTENCE_PIECES if place.is_dir() else place
    if not pieces.is_file():
        raise InputError(f"there is no {SENTENCE_PIECES} at {place}: name the release's file with --base")
    answers = folder / ANSWERS
    return [pieces, *([answers] if "vqa" in config.heads and answers.is_file() else [])]


def _check_beside(files: Sequence[Path], config: Beit3Config) -> None:
    """Looks at the files beside a model before gigabytes are written.

    Raises:
        InputError: words or answers' names can't be read, or are another model's.
    """
    if files:
        pieces, *answers = files
        names = read_labels(answers[0]) if answers else ()
        Beit3Processor(Beit3Tokenizer.from_file(pieces, config), config, answers=names)

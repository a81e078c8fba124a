"""Models of transformers from a folder: whole and of the right kind, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koine.errors import InputError
from koine.quiet_loading import without_bars, without_reports

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def read_model(kind: type[PreTrainedModel], folder: Path, thing: str) -> Any:
    """The model in that folder, float32, in evaluation mode.

    transformers itself draws at random what a checkpoint lacks and only logs it, and takes another model's config for
    one of its own with all settings at their defaults: a LLaMA of 7 billion random weights. Here both are errors.

    Args:
        kind: its class.
        thing: what to call it in errors, such as "CLIP".
    Raises:
        InputError: the folder holds nothing, another model, or damaged files.
    """
    import torch
    from safetensors import SafetensorError

    wanted = kind.config_class.model_type  # type: ignore[union-attr]
    if not (folder / "config.json").is_file():
        raise InputError(f"{thing} weights {folder} are not there: give 'nano' or the folder of a trained model")
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if found != wanted:
            raise InputError(
                f"{folder} holds a model of type {found!r}, not a {thing}: give a folder of type {wanted!r}"
            )
        with without_bars(), without_reports():
            loaded: Any = kind.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except InputError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{thing} weights {folder} can't be read ({reason}): get the files again") from error
    model, report = loaded
    lacking = sorted(report["missing_keys"]) + sorted(key for key, *_ in report["mismatched_keys"])
    if lacking:
        raise InputError(
            f"{thing} weights {folder} lack {lacking[0]} in the config's shape ({len(lacking)} such tensors): get the "
            "files again"
        )
    return model.eval()

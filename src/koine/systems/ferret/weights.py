"""Ferret's weights: folders of our own, published checkpoints, and published deltas with the Vicuna under them.

Published Ferrets are differences to Vicuna v1.3. A wrong base merges without complaint and yields a model that
rambles; `delta.py` tells whether the base is the right one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig

from koine.errors import InputError
from koine.files import write_atomically
from koine.quiet_loading import without_reports
from koine.systems.ferret.checkpoint import Checkpoint, locate, read_json
from koine.systems.ferret.config import (
    PUBLISHED_LONGEST_ANSWER,
    FerretConfig,
    RegionFeatures,
    published_vision_config,
)
from koine.systems.ferret.delta import add_base, check_base, looks_like_delta
from koine.systems.ferret.model import FerretForConditionalGeneration
from koine.systems.ferret.prompt import TOKENIZER_FILE

NANO_WEIGHTS = Path(__file__).parents[2] / "weights" / "ferret"
_EMBEDDINGS = "model.embed_tokens.weight"
DEFAULT_VISION_TOWER = "openai/clip-vit-large-patch14-336"

# Published name -> ours; the first pattern that matches decides, None drops the tensor.
_NAMES: tuple[tuple[str, str | None], ...] = (
    # Old transformers stored these; they are computed, and zero in deltas.
    (r".*\.rotary_emb\.inv_freq", None),
    (r".*\.position_ids", None),
    (r"model\.mm_projector\.(.*)", r"projector.\1"),
    (r"model\.region_geo_sampler\.diff_projector_list\.(\d+)\.(.*)", r"region_sampler.stages.\1.difference.\2"),
    (r"model\.region_geo_sampler\.agg_projector_list\.(\d+)\.net\.0\.(.*)", r"region_sampler.stages.\1.aggregate.\2"),
    (r"model\.region_geo_sampler\.agg_projector_list\.(\d+)\.norm\.(.*)", r"region_sampler.stages.\1.norm.\2"),
    (r"model\.region_geo_sampler\.flatten_projector\.(.*)", r"region_sampler.merge.\1"),
    (r"model\.region_geo_sampler\.dim_projector\.(.*)", r"region_sampler.project.\1"),
    (r"model\.region_fea_adapter\.(.*)", r"region_sampler.project.\1"),
    (r"(?:model\.vision_tower\.vision_tower\.)?vision_model\.(.*)", r"vision_tower.\1"),
    (r"(model\.(?:embed_tokens|layers|norm)\..*|lm_head\..*)", r"language_model.\1"),
)


def our_name(published: str) -> str | None:
    """Our name of a published tensor; None if it isn't a weight; unchanged if it is none of Ferret's."""
    for pattern, replacement in _NAMES:
        if match := re.fullmatch(pattern, published):
            return None if replacement is None else match.expand(replacement)
    return published


def our_shape(published: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Our shape of a published tensor: the sampler's 1x1 convolutions are linear maps here."""
    return shape[:-1] if ".agg_projector_list." in published and len(shape) == 3 else shape


def convert_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published tensors under our names and in our shapes."""
    return {
        name: tensor.reshape(our_shape(key, tuple(tensor.shape)))
        for key, tensor in published.items()
        if (name := our_name(key)) is not None
    }


def build(
    config: FerretConfig, state: Mapping[str, Tensor], *, dtype: torch.dtype | None = None
) -> FerretForConditionalGeneration:
    """A Ferret with exactly these weights, in evaluation mode.

    Args:
        state: under our names (see `convert_state`).
    Raises:
        InputError: a weight is missing, left over or of another shape.
    """
    return _load(None, "the state dict", config=config, state_dict=dict(state), dtype=dtype or torch.float32)


def load_folder(
    folder: Path, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> FerretForConditionalGeneration:
    """A Ferret from a folder that `save_pretrained` or `convert` wrote, in evaluation mode.

    Raises:
        InputError: the folder holds another model, nothing, or damaged files.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(
            f"{folder} holds no Ferret: it has no config.json; give the folder that koine train or convert printed"
        )
    kind = read_json(file).get("model_type")
    if kind == "ferret":
        raise InputError(
            f"{folder} is a checkpoint as published: make a folder for koine of it with `koine convert ferret "
            f"--from {folder} --to DIR`, with `--base` and the Vicuna if it is a delta"
        )
    if kind != FerretConfig.model_type:
        raise InputError(f"{folder} holds a model of type {kind!r}, not a Ferret: give a folder of Ferret weights")
    # Reading all headers first finds damage before anything is built.
    Checkpoint(folder)
    model = _load(folder, str(folder), dtype=dtype or "auto")
    if device is not None:
        model.to(torch.device(device))  # type: ignore[arg-type]
    return model


def _load(source: Path | None, thing: str, **options: Any) -> FerretForConditionalGeneration:
    with without_reports():  # `_check_complete` says in one line what transformers would in a table
        loaded: Any = FerretForConditionalGeneration.from_pretrained(
            source, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    model, report = loaded
    _check_complete(
        thing, report["missing_keys"], report["unexpected_keys"], [key for key, *_ in report["mismatched_keys"]]
    )
    return model.eval()


def _check_complete(thing: str, missing: Any, unexpected: Any, mismatched: Any) -> None:
    groups = (("lacks", missing), ("has, beyond a Ferret's,", unexpected), ("has in another shape", mismatched))
    faults = [f"{verb} {_few(names)}" for verb, names in groups if names]
    if faults:
        raise InputError(f"{thing} is not a Ferret of this size: it {'; it '.join(faults)}: give matching weights")


def _few(names: Any) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


@dataclass(frozen=True)
class Published:
    """A published Ferret, ready to be read tensor by tensor.

    Attributes:
        config: of the merged model.
        sizes: our name -> shape of every tensor it has.
        tokenizer: its tokenizer.model, if there is one.
    """

    config: FerretConfig
    sizes: dict[str, tuple[int, ...]]
    tokenizer: Path | None
    _readers: dict[str, Callable[[], Tensor]] = field(repr=False)

    def read(self, name: str) -> Tensor:
        """The merged tensor of that name (ours)."""
        return self._readers[name]()


def open_published(
    source: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    vision_tower: str | os.PathLike[str] | None = None,
    base_sha256: str | None = None,
    trust_base: bool = False,
) -> Published:
    """A published checkpoint with what belongs to it.

    Args:
        source: folder or hub id of the delta, or of an already merged checkpoint.
        base: the Vicuna v1.3 of the same size, if `source` is a delta.
        vision_tower: the CLIP tower; by default the folder `vision_tower` of `source`, else the one its config names.
        base_sha256: what `fingerprint(base)` must be.
        trust_base: go on even if the base doesn't look like the right one.
    Raises:
        InputError: a part is missing, belongs to another model, or is damaged.
    """
    weights = Checkpoint(locate(source))
    published = weights.config()
    if published.get("model_type", "ferret") != "ferret" or "hidden_size" not in published:
        raise InputError(
            f"{source} is not a published Ferret: its config.json has model_type {published.get('model_type')!r}; give "
            "ferret-7b-delta, ferret-13b-delta, or one of them merged with its Vicuna"
        )
    is_delta = looks_like_delta(weights)
    if is_delta and base is None:
        raise InputError(f"{source} holds a delta: give the Vicuna v1.3 of the same size as the base")
    if not is_delta and base is not None:
        raise InputError(f"{source} holds whole weights, not a delta: leave the base away")
    folders = [weights.folder]
    readers = {key: _reader(weights, key) for key in weights.files}
    if base is not None:
        under = Checkpoint(locate(base, "base weights"))
        folders.append(under.folder)
        if base_sha256 is not None and (found := fingerprint(under)) != base_sha256.lower():
            raise InputError(f"base {base} has the sha256 {found}, not {base_sha256}: give the Vicuna that was meant")
        check_base(weights, under, trust=trust_base)
        readers = {key: _merger(weights, under, key) for key in weights.files}
    shapes = {key: weights.shape(key) for key in weights.files}

    vision_config = published_vision_config()
    if not any((our_name(key) or "").startswith("vision_tower.") for key in readers):
        inside = weights.folder / "vision_tower"
        named = published.get("mm_vision_tower") or DEFAULT_VISION_TOWER
        tower = Checkpoint(locate(vision_tower or (inside if inside.exists() else named), "vision tower weights"))
        vision_config = _vision_config(tower)
        # The stock CLIP comes with its text half, which isn't wanted.
        names = [key for key in tower.files if key.startswith("vision_model.")]
        readers |= {key: _reader(tower, key) for key in names}
        shapes |= {key: tower.shape(key) for key in names}

    kept = {key: name for key in readers if (name := our_name(key)) is not None}
    config = _config(published, vision_config, set(kept.values()), shapes)
    return Published(
        config,
        {name: our_shape(key, shapes[key]) for key, name in kept.items()},
        next((file for folder in folders if (file := folder / TOKENIZER_FILE).is_file()), None),
        {name: _shaped(readers[key], our_shape(key, shapes[key])) for key, name in kept.items()},
    )


def _reader(checkpoint: Checkpoint, key: str) -> Callable[[], Tensor]:
    return lambda: checkpoint.read(key)


def _merger(delta: Checkpoint, base: Checkpoint, key: str) -> Callable[[], Tensor]:
    return lambda: add_base(delta, base, key)


def _shaped(read: Callable[[], Tensor], shape: tuple[int, ...]) -> Callable[[], Tensor]:
    return lambda: read().reshape(shape)


def _vision_config(tower: Checkpoint) -> CLIPVisionConfig:
    settings = tower.config()
    settings = settings.get("vision_config", settings)
    return CLIPVisionConfig(**settings) if "hidden_size" in settings else published_vision_config()


def _config(
    published: Mapping[str, Any],
    vision_config: CLIPVisionConfig,
    names: set[str],
    shapes: Mapping[str, tuple[int, ...]],
) -> FerretConfig:
    """Our configuration of a published one; what the original hard-codes is taken from `FerretConfig`'s defaults."""
    if _EMBEDDINGS not in shapes:
        raise InputError(f"the checkpoint lacks {_EMBEDDINGS}: give Ferret's weights or delta as published")
    vocabulary = shapes[_EMBEDDINGS][0]
    text_names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps")
    text = {name: published[name] for name in text_names if name in published}
    features: RegionFeatures = "none"
    if any(name.startswith("region_sampler.stages.") for name in names):
        features = "sampler"
    elif "region_sampler.project.weight" in names:
        features = "average"
    return FerretConfig(
        vision_config=vision_config,
        text_config=LlamaConfig(
            **text,
            vocab_size=vocabulary,
            max_position_embeddings=published.get("max_position_embeddings", 2048),
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        feature_layer=published.get("mm_vision_select_layer", -2),
        select_feature=published.get("mm_vision_select_feature") or "patch",
        region_token_id=published.get("im_region_fea_token", vocabulary - 1),
        region_features=features,
        region_orientation="published",
        region_alignment="corners",
        sampler_pooling=published.get("sampler_pooler_mode", "max"),
        longest_answer=PUBLISHED_LONGEST_ANSWER,
    )


def load_published(
    source: str | os.PathLike[str], *, dtype: torch.dtype | None = None, **options: Any
) -> tuple[FerretForConditionalGeneration, Path | None]:
    """A published Ferret in memory, and where its tokenizer is; options as of `open_published`.

    Merging takes a minute and needs base and delta every time: `convert` once, if it is to be used more than once.
    """
    published = open_published(source, **options)
    state = {name: published.read(name) for name in published.sizes}
    return build(published.config, state, dtype=dtype or torch.float16), published.tokenizer


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    vision_tower: str | os.PathLike[str] | None = None,
    base_sha256: str | None = None,
    trust_base: bool = False,
    max_shard_bytes: int = 4 << 30,
) -> Path:
    """Writes a published Ferret as a folder that `koine.load("ferret", weights=out)` takes.

    The folder appears whole or not at all. At most one file's tensors are in memory at a time.

    Args:
        out: the folder to write.
        base, vision_tower, base_sha256, trust_base: see `open_published`.
        max_shard_bytes: about how large a file may become.
    Raises:
        InputError: see `open_published`; or the folder can't be written.
    """
    published = open_published(
        source, base=base, vision_tower=vision_tower, base_sha256=base_sha256, trust_base=trust_base
    )
    _check_sizes(published)
    if published.tokenizer is None:
        raise InputError(f"neither {source} nor its base has a {TOKENIZER_FILE}: put Vicuna's into one of them")
    with write_atomically(out) as folder:
        folder.mkdir()
        _write_shards(published, folder, max_shard_bytes)
        published.config.architectures = [FerretForConditionalGeneration.__name__]
        published.config.save_pretrained(folder)
        shutil.copyfile(published.tokenizer, folder / TOKENIZER_FILE)
    return Path(out)


def _check_sizes(published: Published) -> None:
    """Compares every name and shape with the model's, which costs no memory on the meta device."""
    with torch.device("meta"):
        expected = FerretForConditionalGeneration(published.config).state_dict()
    found = published.sizes
    differing = [name for name in found.keys() & expected if found[name] != tuple(expected[name].shape)]
    _check_complete("the checkpoint", expected.keys() - found.keys(), found.keys() - expected.keys(), differing)


def _write_shards(published: Published, folder: Path, max_shard_bytes: int) -> None:
    groups = list(_groups(published, max_shard_bytes))
    files: dict[str, str] = {}
    total = 0
    for number, names in enumerate(groups, start=1):
        file = "model.safetensors" if len(groups) == 1 else f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        tensors = {name: published.read(name).contiguous() for name in names}
        total += sum(tensor.nbytes for tensor in tensors.values())
        save_file(tensors, folder / file, metadata={"format": "pt"})
        files |= dict.fromkeys(names, file)
    if len(groups) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": files}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def _groups(published: Published, max_bytes: int) -> Iterator[list[str]]:
    """The names in files of at most about `max_bytes`, at two bytes a value as published."""
    group: list[str] = []
    size = 0
    for name, shape in published.sizes.items():
        nbytes = 2 * int(torch.Size(shape).numel())
        if group and size + nbytes > max_bytes:
            yield group
            group, size = [], 0
        group.append(name)
        size += nbytes
    yield group


def fingerprint(checkpoint: Checkpoint) -> str:
    """sha256 over the bytes of a checkpoint's weight files, in order of their names."""
    digest = hashlib.sha256()
    for file in sorted(set(checkpoint.files.values())):
        with file.open("rb") as opened:
            while block := opened.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()

"""The eleven systems: what each does, how far it is built, where its weights are, and how it is loaded."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

from koine.errors import InputError

if TYPE_CHECKING:
    import torch

    from koine.sentence import Part, Reply, Sentence

Status = Literal["verified", "built", "planned"]


@runtime_checkable
class System(Protocol):
    """What every system offers its users: weights in, then sentences in and sentences out."""

    @classmethod
    def load(cls, weights: str = "nano", device: torch.device | None = None, dtype: torch.dtype | None = None) -> Self:
        """Builds the system with the weights of that name, folder or hub id; None leaves the choice to the system.

        Raises:
            InputError: there are no such weights, or they belong to another model.
        """
        ...

    def respond(self, *parts: Part | Sentence, **options: Any) -> Reply:
        """Answers the sentence made of these parts; which options there are is the system's own affair.

        Raises:
            InputError: the sentence has parts that the system can't read, or lacks one that it needs.
        """
        ...


@dataclass(frozen=True)
class WeightsInfo:
    """One set of published weights.

    Attributes:
        name: what its publisher calls it.
        note: in which form it comes and what it needs beside it.
        licence: the publisher's terms, in a word.
    """

    name: str
    note: str
    licence: str


@dataclass(frozen=True)
class SystemInfo:
    """What is known about a system without importing it.

    Attributes:
        name: the word that `koine.load` takes.
        title: as the paper calls it.
        paper: arXiv identifier.
        job: what it does, in one line.
        reads, writes: the kinds of parts in its prompts and in its replies.
        status: "verified" if it is built, equals the original on golden data and ships nano weights; "built" while
            these weights are missing, so that it wants weights of its users' own; else "planned".
        entry: "module:class" of the system; None while it is planned.
        weights: what its authors published.
    """

    name: str
    title: str
    paper: str
    job: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    status: Status = "planned"
    entry: str | None = None
    weights: tuple[WeightsInfo, ...] = ()

    @property
    def package(self) -> str:
        """The system's folder as a module path, such as "koine.systems.ferret"."""
        return f"koine.systems.{self.name}"


_TABLE = (
    SystemInfo(
        "ferret",
        "Ferret",
        "2310.07704",
        "answers questions about a point, box or scribble, and puts boxes to its own words",
        reads=("text", "image", "region"),
        writes=("text", "region"),
        status="verified",
        entry="koine.systems.ferret.system:Ferret",
        weights=(
            WeightsInfo("ferret-7b-delta", "delta to Vicuna 7B v1.3: koine convert ferret", "CC BY-NC"),
            WeightsInfo("ferret-13b-delta", "delta to Vicuna 13B v1.3: koine convert ferret", "CC BY-NC"),
        ),
    ),
    SystemInfo(
        "vqvae",
        "VQ-VAE",
        "1711.00937",
        "turns pictures into grids of discrete codes and samples new ones from a prior over the codes",
        reads=("text", "image", "audio"),
        writes=("image", "audio"),
        status="verified",
        entry="koine.systems.vqvae.system:VQVAE",
        weights=(WeightsInfo("vqvae_560", "second generation, faces at 256 pixels, first stage only", "none stated"),),
    ),
    SystemInfo(
        "spae",
        "SPAE",
        "2306.17842",
        "writes a picture as a pyramid of words that a frozen language model can read and write",
        reads=("text", "image"),
        writes=("text", "image"),
        status="verified",
        entry="koine.systems.spae.system:Spae",
    ),
    SystemInfo(
        "mgie",
        "MGIE",
        "2309.17102",
        "edits a picture after a language model has thought out what a terse instruction means",
        reads=("text", "image"),
        writes=("text", "image"),
        weights=(WeightsInfo("mllm.pt, unet.pt", "on top of LLaVA 7B and Stable Diffusion 1.5", "CC BY-NC"),),
    ),
    SystemInfo(
        "salmonn",
        "SALMONN",
        "2310.13289",
        "follows instructions about speech, sounds and music",
        reads=("text", "audio"),
        writes=("text",),
        weights=(
            WeightsInfo("salmonn_v1", "13B; beside Vicuna, Whisper large-v2 and BEATs", "Apache-2.0"),
            WeightsInfo("salmonn_7b_v0", "7B; beside Vicuna, Whisper large-v2 and BEATs", "Apache-2.0"),
        ),
    ),
    SystemInfo(
        "dreamdiffusion",
        "DreamDiffusion",
        "2306.16934",
        "paints what somebody sees from the EEG measured meanwhile",
        reads=("eeg",),
        writes=("image",),
        weights=(
            WeightsInfo("checkpoint.pth", "generation stage of subject 4, with Stable Diffusion 1.5", "none stated"),
        ),
    ),
    SystemInfo(
        "palme",
        "PaLM-E",
        "2303.03378",
        "plans a robot's next steps from pictures, states and a goal in words",
        reads=("text", "image", "state", "entity"),
        writes=("text", "plan"),
    ),
    SystemInfo(
        "visprog",
        "VisProg",
        "2211.11559",
        "writes a small program for an instruction, runs it on the picture and shows each step",
        reads=("text", "image"),
        writes=("text", "image", "steps"),
    ),
    SystemInfo(
        "beit3",
        "BEiT-3",
        "2208.10442",
        "one transformer for pictures, texts and both: classification, questions, captions, retrieval",
        reads=("text", "image"),
        writes=("text",),
        status="verified",
        entry="koine.systems.beit3.system:Beit3",
        weights=(
            WeightsInfo("beit3_base, beit3_large", "pre-trained and fine-tuned on six benchmarks", "MIT, as its code"),
            WeightsInfo("vqkd_encoder_base", "the picture tokenizer of BEiT v2", "MIT, as its code"),
        ),
    ),
    SystemInfo(
        "metaclip",
        "MetaCLIP",
        "2309.16671",
        "curates pairs of pictures and texts from the web, and trains CLIP on them",
        reads=("text", "image"),
        writes=("text", "image"),
        status="verified",
        entry="koine.systems.metaclip.system:MetaClip",
        weights=(WeightsInfo("metaclip_400m, metaclip_2_5b", "ViT-B/32 to ViT-G/14", "CC BY-NC 4.0"),),
    ),
    SystemInfo(
        "kosmosg",
        "KOSMOS-G",
        "2310.02992",
        "paints a new picture of the things shown in others, as a text with pictures in it says",
        reads=("text", "image"),
        writes=("image",),
        weights=(WeightsInfo("checkpoint_final.pt", "1.9B, with Stable Diffusion 1.5", "none stated"),),
    ),
)

SYSTEMS: dict[str, SystemInfo] = {info.name: info for info in _TABLE}


def find(name: str) -> SystemInfo:
    """The entry of that name; case and hyphens don't matter ("BEiT-3" finds beit3).

    Raises:
        InputError: there is none; the message shows the nearest names.
    """
    key = name.strip().lower().replace("-", "").replace("_", "")
    if key not in SYSTEMS:
        raise InputError.unknown("system", name, SYSTEMS)
    return SYSTEMS[key]


def find_built(name: str) -> SystemInfo:
    """As `find`, for a purpose that needs the system's code.

    Raises:
        InputError: the name is unknown, or the system is only planned.
    """
    info = find(name)
    if info.entry is None:
        built = ", ".join(other.name for other in built_systems())
        raise InputError(f"system {info.name!r} is planned and can't be used yet: take one that is built ({built})")
    return info


def built_systems() -> tuple[SystemInfo, ...]:
    """The systems that can be loaded, in the registry's order."""
    return tuple(info for info in SYSTEMS.values() if info.entry is not None)


def verified_systems() -> tuple[SystemInfo, ...]:
    """The systems whose nano weights come with the package, in the registry's order."""
    return tuple(info for info in SYSTEMS.values() if info.status == "verified")


def room(name: str, file: str) -> ModuleType:
    """One module of a built system's folder, such as `room("ferret", "claims")`.

    Raises:
        InputError: the system is unknown or only planned.
    """
    from importlib import import_module

    return import_module(f"{find_built(name).package}.{file}")


def weights_folder(name: str) -> Path:
    """Where the package keeps the nano weights of a system or foundation, whether they are there or not."""
    return Path(__file__).parent / "weights" / name


def shipped_weights(name: str) -> Path:
    """The folder of the nano weights that come with the package.

    Raises:
        InputError: the package was built without them.
    """
    folder = weights_folder(name)
    if not folder.is_dir():
        raise InputError(f"the nano weights of {name!r} are missing at {folder}: make them with `make nano`")
    return folder


def manifest_of_shipped_weights(name: str) -> dict[str, Any] | None:
    """What `koine.training.shipping` wrote beside the nano weights: recipe, figures, checksums; or None."""
    import json

    manifest = weights_folder(name) / "manifest.json"
    return dict(json.loads(manifest.read_text(encoding="utf-8"))) if manifest.exists() else None


def load(
    name: str,
    weights: str = "nano",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> System:
    """Loads a system.

    Args:
        name: one of `SYSTEMS`.
        weights: "nano" for those that come with the package, a folder, or a model id on the Hugging Face hub.
        device: where to compute, such as "cpu" or "cuda:1"; None takes what the system finds best.
        dtype: number type of the parameters, such as "bfloat16"; None keeps that of the weights.
    Raises:
        InputError: an unknown or planned system, weights that are missing, damaged or of another model, a device that
            this machine doesn't have, or a number type that torch doesn't have.
    """
    entry = find_built(name).entry
    assert entry is not None  # find_built saw to it
    place, number_type = _device(device), _dtype(dtype)
    from importlib import import_module

    from koine.quiet_loading import without_bars

    module, _, attribute = entry.partition(":")
    system_class: type[System] = getattr(import_module(module), attribute)
    with without_bars() if weights == "nano" or Path(weights).is_dir() else nullcontext():
        return system_class.load(weights, device=place, dtype=number_type)


def _device(device: str | torch.device | None) -> torch.device | None:
    """The torch device of that name, if this machine has it."""
    if device is None:
        return None
    import torch

    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except Exception as error:  # torch raises RuntimeError, AssertionError or NotImplementedError, by backend
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"device {str(device)!r} can't be used ({reason}): take cpu, or leave it out") from error
    return found


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The torch number type of that name."""
    if dtype is None:
        return None
    import torch

    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise InputError(f"number type {str(dtype)!r} is not one for parameters: take float32, bfloat16 or float16")
    return found

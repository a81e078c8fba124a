"""A reply on its way out: text for people, JSON for scripts, a picture with its regions drawn in, or a sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from koine.errors import InputError
from koine.sentence import Audio, Entity, Image, Part, Region, Reply, Sentence
from koine.sounds import FORMATS as SOUND_SUFFIXES

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
PAUSE = 0.5
"""Seconds between several sounds in one file."""


def as_text(sentence: Sentence) -> str:
    """The sentence on one line: regions as pixel coordinates in brackets, other parts as what they are."""
    return "".join(_as_text(part) for part in sentence).strip()


def as_ranking(reply: Reply, pictures: Sequence[str]) -> str:
    """What a system compared, the best first, each on a line behind its number; empty if it compared nothing.

    Args:
        pictures: what to call the prompt's pictures, in their order.
    """
    compared = reply.details.get("probabilities") or reply.details.get("similarities") or {}
    named = compared if isinstance(compared, Mapping) else dict(zip(pictures, compared, strict=True))
    return "\n".join(f"{number:.3f}  {name}" for name, number in sorted(named.items(), key=lambda pair: -pair[1]))


def as_json(prompt: Sentence, reply: Reply) -> dict[str, Any]:
    """Plain data of a reply: `text` (strings only), `written` (with coordinates), `regions`, `plan`, `steps`, ...

    Coordinates are pixels of the picture that a region lies in; `image` counts the different pictures of prompt and
    reply, in order of appearance, from 0.
    """
    pictures = (prompt + reply).images
    return {
        "text": reply.text,
        "written": as_text(reply),
        "regions": [
            {"kind": region.kind, "bounds": list(region.bounds), "image": pictures.index(region.image)}
            for region in reply.regions
        ],
        "plan": list(reply.plan),
        "steps": [_plain(step) for step in reply.steps],
        "details": _plain(reply.details),
    }


def as_picture(prompt: Sentence, reply: Reply) -> Image:
    """The picture that a reply shows, or several in a row; or else the one it is about, with all regions drawn in.

    Raises:
        InputError: neither prompt nor reply has a picture.
    """
    from koine.report.drawing import Mark, draw, side_by_side

    shown = [part for part in reply if isinstance(part, Image)]
    if shown and not reply.regions:
        return shown[0] if len(shown) == 1 else side_by_side(shown)
    pictures = (Sentence(*reply) + prompt).images
    if not pictures:
        raise InputError("there is no picture to write: leave --out away, or give --image FILE")
    picture = pictures[0]
    marks = [Mark(region, "asked") for region in prompt.regions if region.image == picture]
    marks += [Mark(region, "answered", label) for region, label in labelled_regions(reply) if region.image == picture]
    return draw(picture, marks)


def as_sound(reply: Reply) -> Audio:
    """The sound of a reply, or several one after another at the rate of the first, with a pause between them.

    Raises:
        InputError: it has none.
    """
    import numpy as np

    if not reply.audio:
        raise InputError("there is no sound to write: leave --out away, or name a picture")
    rate = reply.audio[0].rate
    pause = np.zeros(round(PAUSE * rate), np.float32)
    pieces = [piece for sound in reply.audio for piece in (pause, sound.resampled(rate).samples)]
    return Audio(np.concatenate(pieces[1:]), rate)


def check_suffix(out: Path, writes: Sequence[str]) -> None:
    """Sees that a file could hold something that a system writes, before it begins.

    Args:
        writes: the kinds of parts in the system's replies.
    Raises:
        InputError: its suffix isn't that of a picture, nor of a sound if the system makes any.
    """
    sounds = tuple(SOUND_SUFFIXES) if "audio" in writes else ()
    if out.suffix.lower() not in PICTURE_SUFFIXES + sounds:
        whose = "picture's or sound's" if sounds else "picture's"
        raise InputError(f"--out {out} has no {whose} suffix: take one of {', '.join(PICTURE_SUFFIXES + sounds)}")


def misfit(out: Path, reply: Reply) -> str | None:
    """What is wrong with writing this reply to that file: a sound to a picture's, or the other way round; or None."""
    is_sound = out.suffix.lower() in SOUND_SUFFIXES
    if is_sound and not reply.audio:
        return f"the reply is no sound and {out} isn't written: end --out in one of {', '.join(PICTURE_SUFFIXES)}"
    if not is_sound and reply.audio and not reply.image:
        return f"the reply is a sound and {out} isn't written: end --out in one of {', '.join(SOUND_SUFFIXES)}"
    return None


def write(out: Path, prompt: Sentence, reply: Reply) -> None:
    """The reply's sound if the file's suffix is that of sounds, else `as_picture`.

    Raises:
        InputError: there is none, or the file can't be written.
    """
    from koine.files import write_atomically
    from koine.sounds import encode_sound

    if out.suffix.lower() in SOUND_SUFFIXES:
        sound = as_sound(reply)
        content = encode_sound(sound.samples, sound.rate, out.suffix)
        with write_atomically(out) as temporary:
            temporary.write_bytes(content)
        return
    picture = as_picture(prompt, reply)
    with write_atomically(out) as temporary:
        picture.to_pil().save(temporary)


def labelled_regions(sentence: Sentence) -> list[tuple[Region, str]]:
    """Each region with the words just before it, from the last full stop or comma on: what a grounded phrase names."""
    pairs: list[tuple[Region, str]] = []
    words = ""
    for part in sentence:
        if isinstance(part, Region):
            label = words.replace(";", ".").replace(",", ".").rpartition(".")[2]
            pairs.append((part, " ".join(label.split())))
            words = ""
        elif isinstance(part, str):
            words += part
    return pairs


def _as_text(part: Part) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Region):
        where = part.bounds[:2] if part.kind == "point" else part.bounds
        return f"[{', '.join(f'{number:.0f}' for number in where)}]"
    if isinstance(part, Entity):
        return f"<{part.name}: {_as_text(part.part)}>"
    return f"<{part!r}>"


def _plain(value: Any) -> Any:
    """`value` in the types of JSON: arrays as lists, dataclasses as objects, whatever has no such form as its repr."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Sentence):
        return as_text(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Audio | Image | Region):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in value]
    return repr(value)

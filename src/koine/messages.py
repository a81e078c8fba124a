"""Sentences as chat messages: the content parts of OpenAI's format, with parts of our own for what that lacks.

Text is `{"type": "text"}`, a picture `{"type": "image_url"}` with a PNG data URL, sound `{"type": "input_audio"}` with
a 16-bit WAV. Of our own are `{"type": "region"}`, `"eeg"`, `"state"` and `"entity"`. A region says by `"image"` which
picture it lies in, counting from 0 those that the sentence has brought so far, or brings its picture along as
`"image_url"` if it is the first to mention it.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from koine.errors import InputError
from koine.images import bytes_of_data_url, data_url, read_mask
from koine.sentence import EEG, Audio, Entity, Image, Part, Region, Sentence, State

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def messages_of_sentence(sentence: Sentence, role: str = "user") -> list[dict[str, Any]]:
    """One message with all parts of the sentence. Plain data: `json.dumps` takes it.

    Nothing is lost but image names and sound finer than 16 bits.
    """
    pictures: list[Image] = []
    return [{"role": role, "content": [_write(part, pictures) for part in sentence]}]


def sentence_of_messages(messages: Sequence[Mapping[str, Any]]) -> Sentence:
    """The parts of all messages in order, a newline between two messages; roles are dropped.

    Raises:
        InputError: content of an unknown type or with a field missing, the address of a picture elsewhere (nothing is
            downloaded), or a region that refers to a picture which hasn't come yet.
    """
    pictures: list[Image] = []
    parts: list[Part] = []
    for number, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if not isinstance(content, Sequence):
            raise InputError(f"message {number} has no content: give a string or a list of content parts")
        if number:
            parts.append("\n")
        parts.extend(_read(entry, pictures) for entry in content)
    return Sentence(*parts)


def _write(part: Part, pictures: list[Image]) -> dict[str, Any]:
    """The content part; `pictures` collects those that have been brought."""
    match part:
        case str():
            return {"type": "text", "text": part}
        case Image():
            if part not in pictures:
                pictures.append(part)
            return {"type": "image_url", "image_url": {"url": data_url(part.pixels)}}
        case Region():
            return _write_region(part, pictures)
        case Audio():
            return {"type": "input_audio", "input_audio": {"data": _base64(_wav(part)), "format": "wav"}}
        case EEG():
            eeg = {"rate": part.rate, "channels": list(part.channels), "volts": _write_array(part.volts)}
            return {"type": "eeg", "eeg": eeg}
        case State():
            values = {name: value.tolist() for name, value in part.values.items()}
            return {"type": "state", "state": {"values": values, "units": dict(part.units)}}
        case Entity():
            return {"type": "entity", "name": part.name, "part": _write(part.part, pictures)}


def _write_region(region: Region, pictures: list[Image]) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "region", "kind": region.kind}
    if region.image in pictures:
        written["image"] = pictures.index(region.image)
    else:
        pictures.append(region.image)
        written["image_url"] = {"url": data_url(region.image.pixels)}
    written["bounds"] = list(region.bounds)
    if region.mask is not None:
        written["mask_url"] = {"url": data_url(region.mask)}
    return written


def _read(entry: Mapping[str, Any], pictures: list[Image]) -> Part:
    """The part that a content part stands for; `pictures` collects those that have been brought."""
    kind = entry.get("type")
    try:
        match kind:
            case "text":
                return str(entry["text"])
            case "image_url":
                image = _read_image(entry)
                if image not in pictures:
                    pictures.append(image)
                return image
            case "region":
                return _read_region(entry, pictures)
            case "input_audio":
                return _audio(_unbase64(entry["input_audio"]["data"]))
            case "eeg":
                eeg = entry["eeg"]
                return EEG(_read_array(eeg["volts"]), eeg["rate"], tuple(eeg["channels"]))
            case "state":
                return State(entry["state"]["values"], entry["state"].get("units", {}))
            case "entity":
                named = _read(entry["part"], pictures)
                if isinstance(named, str | Entity):
                    raise InputError(f"entity {entry['name']!r} names text or an entity: name a picture, a region, ...")
                return Entity(str(entry["name"]), named)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"content part of type {kind!r} has no or a wrong field {error}: see koine.messages"
        ) from error
    raise InputError.unknown(
        "content type", kind, ("text", "image_url", "region", "input_audio", "eeg", "state", "entity")
    )


def _read_image(entry: Mapping[str, Any]) -> Image:
    return Image.open(bytes_of_data_url(str(entry["image_url"]["url"])))


def _read_region(entry: Mapping[str, Any], pictures: list[Image]) -> Region:
    if "image_url" in entry:
        image = _read_image(entry)
        pictures.append(image)
    elif entry["image"] in range(len(pictures)):
        image = pictures[entry["image"]]
    else:
        raise InputError(
            f"a region refers to picture {entry['image']}, but {len(pictures)} came before it: "
            "number them from 0, or bring the picture along as image_url"
        )
    x0, y0, x1, y1 = entry["bounds"]
    match entry["kind"]:
        case "point":
            return Region.point(image, x0, y0)
        case "box":
            return Region.box(image, x0, y0, x1, y1)
        case "mask":
            mask = read_mask(bytes_of_data_url(str(entry["mask_url"]["url"])))
            return Region.scribble(image, mask, box=(x0, y0, x1, y1))
    raise InputError.unknown("region kind", entry["kind"], ("point", "box", "mask"))


def _wav(audio: Audio) -> bytes:
    """The sound as a WAV file of one channel with 16 bits, clipped to full scale."""
    import wave

    import numpy as np

    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(audio.rate)
        file.writeframes(np.rint(np.clip(audio.samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def _audio(content: bytes) -> Audio:
    """The sound in a 16-bit WAV file, its channels averaged."""
    import wave

    import numpy as np

    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise InputError(f"cannot read the sound of an input_audio part: {error}: give a 16-bit WAV file") from error
    if width != 2:
        raise InputError(f"the WAV file of an input_audio part has {8 * width} bits: give 16 bits")
    samples = np.frombuffer(frames, dtype="<i2").reshape(-1, channels).mean(axis=1) / 32767
    return Audio(samples.astype(np.float32), rate)


def _write_array(array: NDArray[np.floating[Any]]) -> str:
    """The array as base64 of NumPy's own file format, which keeps shape and type."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return _base64(buffer.getvalue())


def _read_array(text: str) -> NDArray[np.floating[Any]]:
    import numpy as np

    try:
        array: NDArray[np.floating[Any]] = np.load(io.BytesIO(_unbase64(text)), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"cannot read an array of a content part: {error}: write it with numpy.save") from error
    return array


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InputError(f"a content part has broken base64 ({error}): encode it again") from error

"""Reading, resampling and writing sounds: every file format becomes one channel of float32 samples."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from koine.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMATS = {".wav": "WAV", ".flac": "FLAC"}
"""Suffixes that sounds are written with, and libsndfile's names for them."""
_UNKNOWN_LENGTH = 0x7FFFF000
"""A WAV that was written to a pipe states a length of about 2 or 4 GB, since nobody knew it yet."""


def read_samples(source: str | os.PathLike[str] | BinaryIO) -> tuple[NDArray[np.float32], int]:
    """A sound file in any format that libsndfile knows: WAV of any depth, FLAC, Ogg, MP3, ...

    Returns:
        samples: [n] float32, full scale = 1; several channels are averaged.
        rate: samples per second.
    Raises:
        InputError: there is no such file, it isn't a sound, it is truncated or holds no samples.
    """
    import soundfile

    name = str(source) if isinstance(source, str | os.PathLike) else "the sound"
    content = _content(source, name)
    if _is_cut(content):
        raise InputError(f"cannot read {name}: it is shorter than its header says: the file is cut off, get it again")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            channels, rate = file.read(dtype="float32", always_2d=True), int(file.samplerate)
    except Exception as error:  # libsndfile's errors, and those of the numbers that damaged headers hold
        reason = str(getattr(error, "error_string", error)).strip(" .") or type(error).__name__
        raise InputError(
            f"cannot read {name}: {reason}: the file is damaged or no sound, give a WAV or FLAC"
        ) from error
    if not len(channels):
        raise InputError(f"cannot read {name}: it holds no samples: give a sound of at least one")
    return channels.mean(axis=1), rate


def resample(samples: NDArray[np.float32], rate: int, new_rate: int) -> NDArray[np.float32]:
    """The same sound at another rate: [ceil(n new_rate / rate)] float32, by a polyphase filter against aliasing."""
    import numpy as np
    from scipy.signal import resample_poly

    shared = math.gcd(rate, new_rate)
    return np.asarray(resample_poly(samples, new_rate // shared, rate // shared), dtype=np.float32)


def encode_sound(samples: NDArray[np.float32], rate: int, suffix: str = ".wav") -> bytes:
    """The file of one channel, 16 bits a sample; what lies beyond full scale is cut to it.

    Raises:
        InputError: a suffix that isn't in `FORMATS`.
    """
    import soundfile

    if suffix.lower() not in FORMATS:
        raise InputError(f"a sound can't be written as {suffix!r}: take one of {', '.join(FORMATS)}")
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=FORMATS[suffix.lower()], subtype="PCM_16")
    return file.getvalue()


def _content(source: str | os.PathLike[str] | BinaryIO, name: str) -> bytes:
    if not isinstance(source, str | os.PathLike):
        return source.read()
    path = Path(source)
    if path.is_dir():
        raise InputError(f"{name} is a folder: give the path of one sound inside it")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"there is no sound file {name}: give the path of an existing one") from error
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}: give the path of a sound file") from error


def _is_cut(content: bytes) -> bool:
    """Whether a WAV file lacks some of what its header promises, of which libsndfile says nothing."""
    promised = int.from_bytes(content[4:8], "little")
    return content[:4] == b"RIFF" and len(content) < promised + 8 and promised < _UNKNOWN_LENGTH

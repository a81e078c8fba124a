"""Measured signals that a sentence can hold: sound, brain signals and the state of a robot."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from koine.errors import InputError

if TYPE_CHECKING:
    import mne.io
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Audio:
    """Sound on one channel.

    Attributes:
        samples: [n] float32, full scale = 1.
        rate: samples per second (hertz).
    Raises:
        InputError: more than one channel, no samples, numbers that aren't finite, or a rate that isn't positive.
    """

    samples: NDArray[np.float32]
    rate: int

    def __post_init__(self) -> None:
        import numpy as np

        samples = np.asarray(self.samples, dtype=np.float32)
        if samples.ndim != 1 or samples.size == 0:
            raise InputError(f"audio samples have shape {samples.shape}: give one channel of at least one sample, [n]")
        if not np.isfinite(samples).all():
            raise InputError("audio samples contain NaN or infinity: give finite numbers within [-1, 1]")
        if self.rate <= 0:
            raise InputError(f"audio rate {self.rate} is not positive: give it in hertz, such as 16000")
        object.__setattr__(self, "samples", samples)

    @classmethod
    def open(cls, source: str | os.PathLike[str] | BinaryIO) -> Audio:
        """Reads a sound file (WAV of any depth, FLAC, Ogg, MP3, ...); several channels are averaged.

        Raises:
            InputError: there is no such file, it isn't a sound, it is truncated, or it holds no finite samples.
        """
        from koine.sounds import read_samples

        samples, rate = read_samples(source)
        try:
            return cls(samples, rate)
        except InputError as error:
            name = source if isinstance(source, str | os.PathLike) else "the sound"
            raise InputError(f"cannot use {name}: {error}") from error

    def resampled(self, rate: int) -> Audio:
        """The same sound at another rate (hertz); itself if it has that one.

        Raises:
            InputError: the rate isn't positive.
        """
        from koine.sounds import resample

        if rate == self.rate:
            return self
        if rate <= 0:
            raise InputError(f"audio rate {rate} is not positive: give it in hertz, such as 16000")
        return Audio(resample(self.samples, self.rate, rate), rate)

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Audio) and self.rate == other.rate and same_arrays(self.samples, other.samples)

    def __hash__(self) -> int:
        return hash((self.rate, self.samples.tobytes()))

    def __repr__(self) -> str:
        return f"Audio({self.duration:.2f} s at {self.rate} Hz)"


@dataclass(frozen=True, eq=False)
class EEG:
    """Brain signals measured at the scalp.

    Attributes:
        volts: [channels, n] float, in volts (not microvolts), as MNE keeps them.
        rate: samples per second (hertz).
        channels: the electrodes' names, one per row of `volts`.
    Raises:
        InputError: another shape, a name missing or given twice, or a rate that isn't positive.
    """

    volts: NDArray[np.floating[Any]]
    rate: float
    channels: tuple[str, ...]

    def __post_init__(self) -> None:
        import numpy as np

        volts = np.asarray(self.volts)
        channels = tuple(self.channels)
        if volts.ndim != 2 or 0 in volts.shape or volts.dtype.kind != "f":
            raise InputError(f"EEG volts have shape {volts.shape} and type {volts.dtype}: give float [channels, n]")
        if len(channels) != len(volts) or len(set(channels)) != len(channels):
            raise InputError(
                f"EEG of {len(volts)} channels has {len(set(channels))} different names: name each channel once"
            )
        if self.rate <= 0:
            raise InputError(f"EEG rate {self.rate} is not positive: give it in hertz, such as 250")
        object.__setattr__(self, "volts", volts)
        object.__setattr__(self, "channels", channels)

    @classmethod
    def from_mne(cls, raw: mne.io.BaseRaw) -> EEG:
        """The EEG channels of an MNE recording."""
        picked = raw.copy().pick("eeg")
        return cls(picked.get_data(), float(picked.info["sfreq"]), tuple(picked.ch_names))

    def to_mne(self) -> mne.io.RawArray:
        """An MNE recording without electrode positions.

        Raises:
            InputError: MNE isn't installed.
        """
        try:
            import mne
        except ImportError as error:
            raise InputError("EEG.to_mne needs the package mne: pip install mne") from error
        info = mne.create_info(list(self.channels), self.rate, ch_types="eeg")
        return mne.io.RawArray(self.volts.astype(float), info, verbose="error")

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, EEG)
            and (self.rate, self.channels) == (other.rate, other.channels)
            and same_arrays(self.volts, other.volts)
        )

    def __hash__(self) -> int:
        return hash((self.rate, self.channels, self.volts.tobytes()))

    def __repr__(self) -> str:
        seconds = self.volts.shape[1] / self.rate
        return f"EEG({len(self.channels)} channels, {seconds:.2f} s at {self.rate:g} Hz)"


@dataclass(frozen=True, eq=False)
class State:
    """Measured quantities of a robot or of the things around it.

    Attributes:
        values: name -> float array of any shape, such as {"gripper position": [3]}.
        units: name -> unit, such as {"gripper position": "m"}; for a subset of the names.
    Raises:
        InputError: a unit for a quantity that isn't there.
    """

    values: Mapping[str, NDArray[np.floating[Any]]]
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import numpy as np

        values = {name: np.asarray(value, dtype=float) for name, value in self.values.items()}
        if unknown := set(self.units) - set(values):
            raise InputError(
                f"state has units for {sorted(unknown)}, which it has no values for: name {sorted(values)}"
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "units", dict(self.units))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, State)
            and (self.values.keys(), self.units) == (other.values.keys(), other.units)
            and all(same_arrays(self.values[name], other.values[name]) for name in self.values)
        )

    def __hash__(self) -> int:
        return hash((frozenset(self.values), frozenset(self.units.items())))


def same_arrays(first: NDArray[Any] | None, second: NDArray[Any] | None) -> bool:
    """True if both are None, or both have the same shape and elements; equal arrays are the same part of a sentence."""
    import numpy as np

    if first is None or second is None:
        return first is second
    return first is second or (first.shape == second.shape and bool(np.array_equal(first, second)))

"""Sound, brain signals and states: what they hold and what they refuse."""

import numpy as np
import pytest

from koine import EEG, Audio, InputError, State


def test_audio_is_float32_on_one_channel():
    audio = Audio(np.zeros(8000, np.float64), 16000)
    assert audio.samples.dtype == np.float32 and audio.duration == 0.5


@pytest.mark.parametrize(
    ("samples", "rate", "reason"),
    [
        (np.zeros((2, 100)), 16000, "one channel"),
        (np.zeros(0), 16000, "at least one sample"),
        (np.array([0.0, np.nan]), 16000, "finite"),
        (np.zeros(4), 0, "not positive"),
    ],
)
def test_other_sound_is_refused(samples, rate, reason):
    with pytest.raises(InputError, match=reason):
        Audio(samples, rate)


@pytest.mark.parametrize(
    ("volts", "rate", "channels", "reason"),
    [
        (np.zeros(5), 250, ("Oz",), "channels, n"),
        (np.zeros((1, 5), int), 250, ("Oz",), "float"),
        (np.zeros((2, 5)), 250, ("Oz",), "2 channels has 1"),
        (np.zeros((2, 5)), 250, ("Oz", "Oz"), "2 channels has 1"),
        (np.zeros((1, 5)), -1, ("Oz",), "not positive"),
    ],
)
def test_other_eeg_is_refused(volts, rate, channels, reason):
    with pytest.raises(InputError, match=reason):
        EEG(volts, rate, channels)


def test_eeg_goes_to_mne_and_back():
    pytest.importorskip("mne", reason="MNE is needed only by those who have recordings in its form")
    eeg = EEG(np.random.default_rng(0).normal(size=(3, 100)) * 1e-6, 128.0, ("Oz", "Cz", "Fz"))
    raw = eeg.to_mne()
    assert raw.info["sfreq"] == 128.0 and raw.get_channel_types() == ["eeg"] * 3
    assert EEG.from_mne(raw) == eeg


def test_without_mne_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mne", None)
    with pytest.raises(InputError, match="pip install mne"):
        EEG(np.zeros((1, 5)), 250.0, ("Oz",)).to_mne()


def test_states_are_compared_by_value_and_unit():
    state = State({"position": np.array([1.0, 2.0])}, {"position": "m"})
    assert state == State({"position": np.array([1.0, 2.0])}, {"position": "m"})
    assert hash(state) == hash(State({"position": np.array([1.0, 2.0])}, {"position": "m"}))
    assert state != State({"position": np.array([1.0, 2.5])}, {"position": "m"})
    assert state != State({"position": np.array([1.0, 2.0])}, {"position": "mm"})


def test_a_unit_of_something_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="velocity"):
        State({"position": np.ones(3)}, {"velocity": "m/s"})

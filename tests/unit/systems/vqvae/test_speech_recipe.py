"""Signals: stretches of sounds at one rate, then codes, then their prior; and what can't be learnt from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from koine import Audio, InputError
from koine.sounds import encode_sound
from koine.systems.vqvae.config import VQVAEConfig
from koine.systems.vqvae.pixelcnn import UNSAID
from koine.systems.vqvae.speech_recipe import CroppedSounds, SpeechRecipe
from koine.systems.vqvae.system import VQVAE
from koine.training import run
from tests.unit.systems.vqvae.conftest import TINY

SMALL: dict[str, Any] = {
    **{name: TINY[name] for name in TINY if name not in ("image_size", "prior_labels")},
    "downsamplings": 3,
    "sample_rate": 8000,
}


def tone(count: int, period: float = 20.0) -> np.ndarray:
    return (0.5 * np.sin(np.arange(count) / period * 2 * np.pi)).astype(np.float32)


def write_sounds(folder: Path, speakers: tuple[str, ...] = ("ann", "bob")) -> Path:
    """Two sounds of each speaker: mono and stereo, at two rates and depths."""
    for place, name in enumerate(speakers):
        (folder / name).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name / "a.wav", tone(500 + place), 8000)
        both = np.stack([tone(900), tone(900)], axis=1)
        soundfile.write(folder / name / "b.flac", both, 16_000, subtype="PCM_24")
    return folder


def recipe(*files: Path, **options: Any) -> SpeechRecipe:
    return SpeechRecipe(data_files=tuple(map(str, files)), crop=64, **{"options": dict(SMALL), **options})


def test_the_published_layout_is_trained() -> None:
    speech = VQVAEConfig.published("speech")
    assert speech.stride == 64 and speech.codes == 512 and speech.sample_rate == 16_000
    codes, prior = SpeechRecipe.stages
    assert (codes.steps, codes.batch_size, codes.learning_rate) == (250_000, 128, 2e-4)
    assert prior.name == "prior" and prior.trainable == ("priors",)


def test_the_prior_of_the_recipe_sees_as_much_as_is_said(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = SpeechRecipe(data_files=(str(write_sounds(tmp_path)),)).build_model()
    first, *others = model.priors[0].layers  # type: ignore[union-attr]
    assert first.reach + sum(layer.reach for layer in others) == 101 and model.config.prior_grid == [256]


def test_stretches_have_one_length_one_rate_and_one_channel(tmp_path: Path) -> None:
    data = recipe(write_sounds(tmp_path)).data(SpeechRecipe.stages[0])
    assert isinstance(data, CroppedSounds) and len(data) == 4
    batch = data.batch(torch.arange(4), torch.Generator().manual_seed(0))
    assert batch["pixels"].shape == (4, 1, 64) and batch["pixels"].dtype == torch.float32
    assert batch["classes"].shape == (4, 1)
    again = data.batch(torch.arange(4), torch.Generator().manual_seed(0))
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    other = data.batch(torch.arange(4), torch.Generator().manual_seed(1))
    assert not torch.equal(batch["pixels"], other["pixels"]), "the places are drawn"


def test_a_stretch_is_a_piece_of_its_sound_in_the_models_range(tmp_path: Path) -> None:
    ramp = np.linspace(-1, 0.99, 80).astype(np.float32)
    soundfile.write(tmp_path / "ramp.wav", ramp, 8000, subtype="FLOAT")
    data = recipe(tmp_path, options={**SMALL, "pixel_range": (0.0, 1.0)}).data(SpeechRecipe.stages[0])
    generator = torch.Generator().manual_seed(0)
    stretches = data.batch(torch.zeros(150, dtype=torch.long), generator)["pixels"][:, 0].numpy()
    begins = np.abs((2 * stretches[:, :1] - 1) - ramp).argmin(axis=1)
    assert begins.min() == 0 and begins.max() == 80 - 64, "from the first place to the last"
    for stretch, begin in zip(stretches, begins, strict=True):
        np.testing.assert_allclose(2 * stretch - 1, ramp[begin : begin + 64], atol=1e-6)


def test_a_sound_of_another_rate_is_brought_to_the_models(tmp_path: Path) -> None:
    sound = Audio(tone(128, 40.0), 16_000)
    soundfile.write(tmp_path / "fast.wav", sound.samples, 16_000, subtype="FLOAT")
    data = recipe(tmp_path).data(SpeechRecipe.stages[0])
    [[stretch]] = data.batch(torch.tensor([0]), torch.Generator())["pixels"]
    assert torch.allclose(stretch, torch.from_numpy(sound.resampled(8000).samples), atol=1e-6)


def test_silence_follows_a_short_sound(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", tone(40), 8000, subtype="FLOAT")
    data = recipe(tmp_path).data(SpeechRecipe.stages[0])
    [[stretch]] = data.batch(torch.tensor([0]), torch.Generator())["pixels"]
    assert torch.allclose(stretch[:40], torch.from_numpy(tone(40)), atol=1e-6) and (stretch[40:] == 0).all()


def test_classes_are_the_datas_and_sometimes_unsaid(tmp_path: Path) -> None:
    built = recipe(write_sounds(tmp_path), nothing_said=0.5)
    assert built.build_model().config.prior_labels == [["ann", "bob"]]
    data = built.data(SpeechRecipe.stages[1])
    classes = data.batch(torch.arange(4).repeat(40), torch.Generator().manual_seed(0))["classes"].view(40, 4)
    assert 50 < (classes == UNSAID).sum() < 110
    assert all(set(column.tolist()) == {UNSAID, number // 2} for number, column in enumerate(classes.T))


def test_both_stages_are_trained_and_the_model_rebuilds_and_draws_sounds(tmp_path: Path) -> None:
    built = recipe(write_sounds(tmp_path / "sounds"))
    codes = run(built, tmp_path / "run", stage="codes", overrides={"steps": "2", "batch_size": "4"}, quiet=True)
    finished = run(built, tmp_path / "run", overrides={"steps": "2", "batch_size": "4"}, quiet=True)
    vqvae, before = VQVAE.load(str(finished)), VQVAE.load(str(codes))
    for name, tensor in before.model.autoencoder.state_dict().items():
        assert torch.equal(tensor, vqvae.model.autoencoder.state_dict()[name]), name
    reply = vqvae.respond(Audio(tone(333, 40.0), 16_000))
    [rebuilt] = reply.audio
    assert rebuilt.rate == 8000 and len(rebuilt.samples) == 167 and len(reply.details["codes"][0]) == 21
    drawn = vqvae.sample(2, "bob")
    assert [len(sound.samples) for sound in drawn] == [64, 64] and drawn == vqvae.sample(2, "bob")
    assert vqvae.sample(2, "bob", grid=(200,)) != vqvae.sample(2, "ann", grid=(200,))


def test_tables_are_trained_on_too_without_classes(tmp_path: Path) -> None:
    table = pa.table({"digit": [1, 2], "wav": [encode_sound(tone(300), 8000)] * 2})
    pq.write_table(table, tmp_path / "digits.parquet")
    built = recipe(tmp_path / "digits.parquet")
    assert built.build_model().config.prior_labels == []
    finished = run(built, tmp_path / "run", overrides={"steps": "1", "batch_size": "2"}, quiet=True)
    assert len(VQVAE.load(str(finished)).sample(1)) == 1
    assert recipe(tmp_path / "digits.parquet", label="digit").build_model().config.prior_labels == [["1", "2"]]


def test_what_cannot_be_trained_on_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a folder or parquet file of them with --data"):
        SpeechRecipe().build_model()
    with pytest.raises(InputError, match="holds no sounds"):
        recipe(tmp_path).build_model()
    with pytest.raises(InputError, match="crop 60 isn't a multiple of the 8 samples of one code"):
        SpeechRecipe(data_files=(str(write_sounds(tmp_path / "good")),), crop=60, options=SMALL).build_model()
    soundfile.write(tmp_path / "tiny.wav", tone(7), 8000)
    good = (tmp_path / "good" / "ann" / "a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(good[:-3])
    soundfile.write(tmp_path / "odd.wav", np.array([0, np.nan] * 99, np.float32), 8000, subtype="FLOAT")
    data = recipe(tmp_path).data(SpeechRecipe.stages[0])
    numbers = {data.sounds.where(number).name: number for number in range(len(data))}  # type: ignore[attr-defined]
    for name, words in {
        "tiny.wav": "the sound tiny.wav has 7 samples, fewer than the 8 of one code: leave it out",
        "cut.wav": "cut.wav: it is shorter than its header says",
        "odd.wav": "odd.wav: audio samples contain NaN",
    }.items():
        with pytest.raises(InputError, match=words):
            data.batch(torch.tensor([numbers[name]]), torch.Generator())

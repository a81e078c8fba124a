"""Published checkpoints, small ones in their form."""

import argparse
import pickle
import re

import pytest
import torch

from koine.errors import InputError
from koine.systems.beit3 import published_weights
from koine.systems.beit3.config import Beit3Config
from koine.systems.beit3.fine_tuning import published_name
from koine.systems.beit3.published_weights import build_published, find_head, read_published
from koine.systems.beit3.tokenizer import train_pieces
from koine.systems.beit3.weights import convert, load_folder, load_tokenizer_folder


@pytest.fixture
def small(monkeypatch):
    """A size that is published in these tests only."""
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "mask_token_id": 111,
    }
    monkeypatch.setitem(published_weights.SIZES, "small", sizes)


@pytest.fixture
def published(tiny, small):
    """A function that gives a model with one head and its tensors under published names."""

    def make(head, **options):
        model = tiny(heads=[head], num_hidden_layers=2, **options)
        return model, {published_name(name): tensor.clone() for name, tensor in model.state_dict().items()}

    return make


@pytest.fixture(scope="session")
def pieces(tmp_path_factory):
    path = tmp_path_factory.mktemp("pieces") / "beit3.spm"
    train_pieces(["a red cube left of a ball"] * 20, path, pieces=110)
    return path


def write_release(folder, state, name="beit3_small_patch4_8_vqa.pth", **beside):
    torch.save({"model": state, **beside}, folder / name)
    return folder / name


def write_answers(folder, count):
    lines = (f'{{"answer": "a{label}", "label": {label}}}\n' for label in range(count))
    (folder / "answer2label.txt").write_text("".join(lines))


def test_a_release_becomes_a_folder_that_answers_alike(published, pieces, tmp_path, pixels, ids):
    model, state = published("vqa", vocab_size=115)
    release = write_release(tmp_path, state, args=argparse.Namespace(epochs=3))
    write_answers(tmp_path, 6)
    (tmp_path / "beit3.spm").write_bytes(pieces.read_bytes())
    out = convert(release, tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "model.safetensors",
        "beit3.spm",
        "answer2label.txt",
    }
    assert torch.equal(load_folder(out).answer(pixels, ids), model.answer(pixels, ids))


def test_every_head_is_told_by_its_tensors(published):
    for head in ("classification", "vqa", "nlvr2", "captioning", "retrieval", "pretraining"):
        _, state = published(head)
        assert find_head(state) == head
        assert build_published(state, head=head, size="small").config.heads == [head]


def test_another_head_or_size_than_wanted_is_named(published):
    _, state = published("vqa")
    with pytest.raises(InputError, match="is a small model with the head 'vqa', but captioning is wanted"):
        build_published(state, head="captioning")
    with pytest.raises(InputError, match="is a small model with the head 'vqa', but large is wanted"):
        build_published(state, size="large")
    with pytest.raises(InputError, match="no head of BEiT-3 'vqaa': did you mean 'vqa'"):
        build_published(state, head="vqaa")
    with pytest.raises(InputError, match="no published size of BEiT-3 'larg': did you mean 'large'"):
        build_published(state, size="larg")


def test_tensors_too_many_too_few_or_of_another_shape_are_named(published):
    _, state = published("captioning")
    with pytest.raises(InputError, match=r"has heads\.captioning\.extra\.weight"):
        build_published({**state, "extra.weight": torch.zeros(1)})
    name = "beit3.encoder.layers.1.ffn.B.fc1.bias"
    with pytest.raises(InputError, match=f"lacks {name}"):
        build_published({key: tensor for key, tensor in state.items() if key != name})
    with pytest.raises(InputError, match=r"of shape \(3,\) instead of \(24,\)"):
        build_published({**state, name: torch.zeros(3)})
    with pytest.raises(InputError, match="no BEiT-3's"):
        build_published({"weight": torch.zeros(1)})


def test_sizes_that_were_never_published_are_refused(tiny):
    state = {published_name(name): tensor for name, tensor in tiny(heads=["vqa"], hidden_size=32).state_dict().items()}
    with pytest.raises(InputError, match="no published BEiT-3 has width 32"):
        build_published(state)


def test_another_resolution_is_interpolated(published, tmp_path):
    _, state = published("classification")
    release = write_release(tmp_path, state)
    assert convert(release, tmp_path / "out", image_size=16)
    model = load_folder(tmp_path / "out")
    assert model.classify(torch.zeros(1, 3, 16, 16)).shape == (1, 5)


@pytest.mark.parametrize("size", [0, -8, "large"])
def test_a_resolution_that_is_none_is_refused(published, tmp_path, size):
    _, state = published("classification")
    with pytest.raises(InputError, match=f"image_size = {size!r}"):
        convert(write_release(tmp_path, state), tmp_path / "out", image_size=size)
    assert not (tmp_path / "out").exists()


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    path = tmp_path / "trap.pth"
    path.write_bytes(pickle.dumps({"model": Trap()}))
    with pytest.raises(InputError, match="no readable checkpoint"):
        read_published(path)
    torch.save({"model": Trap()}, path)
    with pytest.raises(InputError, match="no readable checkpoint"):
        read_published(path)
    assert not (tmp_path / "sprung").exists()


def test_missing_damaged_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no checkpoint"):
        read_published(tmp_path / "nowhere.pth")
    (tmp_path / "broken.pth").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="no readable checkpoint"):
        read_published(tmp_path / "broken.pth")
    for name, content in (
        ("page.pth", b"<!DOCTYPE html>"),
        ("note.pth", b"hello"),
        ("bytes.pth", b"X\x02\x00\x00\x00\xc3("),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} is no readable checkpoint"):
            read_published(tmp_path / name)
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="holds no weights"):
        read_published(tmp_path / "other.pth")


def test_files_of_old_torch_are_read_too(published, tmp_path):
    _, state = published("vqa")
    torch.save({"model": state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    found = read_published(tmp_path / "old.pth")
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_words_must_be_there_and_belong_to_the_weights(published, pieces, tmp_path):
    _, state = published("captioning")
    release = write_release(tmp_path, state)
    with pytest.raises(InputError, match=r"no beit3\.spm at"):
        convert(release, tmp_path / "out")
    with pytest.raises(InputError, match=f"^{re.escape(str(pieces))} has 110 pieces"):
        convert(release, tmp_path / "out", base=pieces)
    assert not (tmp_path / "out").exists()


def test_names_of_answers_must_belong_to_the_weights(published, pieces, tmp_path):
    _, state = published("vqa", vocab_size=115)
    release = write_release(tmp_path, state)
    (tmp_path / "beit3.spm").write_bytes(pieces.read_bytes())
    write_answers(tmp_path, 5)
    with pytest.raises(InputError, match=r"answer2label\.txt has 5 names, but the head has 6 outputs"):
        convert(release, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_published_tokenizer_becomes_a_folder(tmp_path):
    from koine.systems.beit3.config import VisualTokenizerConfig
    from koine.systems.beit3.vqkd import VisualTokenizer

    torch.manual_seed(0)
    config = VisualTokenizerConfig(
        hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=32, image_size=16, patch_size=8
    )
    model = VisualTokenizer(config).eval()
    model.quantizer.started.fill_(True)
    back = {ours: theirs for theirs, ours in published_weights._OF_QUANTIZER.items()}
    state = {back.get(name, name): tensor.clone() for name, tensor in model.state_dict().items()}
    state["quantize.embedding.initted"] = torch.ones(1)
    state |= {"quantize.embedding.embed_avg": torch.zeros(2), "teacher.conv.weight": torch.zeros(2)}
    out = convert(write_release(tmp_path, state, "vqkd.pth"), tmp_path / "out")
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(load_tokenizer_folder(out).tokenize(images), model.tokenize(images))
    with pytest.raises(InputError, match="koine_visual_tokenizer"):
        load_folder(out)
    with pytest.raises(InputError, match=r"vqkd.pth is a visual tokenizer, but a BEiT-3 \(vqa\) is wanted"):
        convert(tmp_path / "vqkd.pth", tmp_path / "out2", head="vqa")


def test_a_folder_whose_weights_are_not_all_there_is_refused(tiny, tmp_path):
    model = tiny(heads=["vqa"])
    state = model.state_dict()
    lost, short = "heads.vqa.head.0.bias", "beit3.text_embed.weight"
    model.save_pretrained(tmp_path, state_dict={name: tensor for name, tensor in state.items() if name != lost})
    with pytest.raises(InputError, match=f"do not fit its config.json: it lacks {lost}; make them again"):
        load_folder(tmp_path)
    model.save_pretrained(tmp_path, state_dict={**state, short: state[short][:-1].clone()})
    with pytest.raises(InputError, match=f"it has {short} in another shape"):
        load_folder(tmp_path)
    model.save_pretrained(tmp_path, state_dict={**state, "beit3.extra": torch.zeros(1)})
    with pytest.raises(InputError, match=r"it has beit3\.extra, which this model has not"):
        load_folder(tmp_path)


def test_folders_of_other_models_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        load_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json that can't be read"):
        load_folder(tmp_path)
    Beit3Config.nano(100).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no readable weights"):
        load_folder(tmp_path)

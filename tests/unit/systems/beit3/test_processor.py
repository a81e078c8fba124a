"""Texts by XLM-RoBERTa's numbers, pictures by two recipes, and lists of names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch

from koine.errors import InputError
from koine.sentence import Image
from koine.systems.beit3.processor import Beit3Processor, read_answers
from koine.systems.beit3.tokenizer import Beit3Tokenizer

from . import speaking


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pieces")
    speaking.pieces_file(place)
    return place


def processor(folder: Path) -> Beit3Processor:
    return Beit3Processor(speaking.tokenizer(folder), speaking.config(), answers=speaking.ANSWERS)


def stripes(width: int, height: int) -> Image:
    """Left half black, right half white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, width // 2 :] = 255
    return Image(pixels)


def test_a_piece_moves_up_by_one_and_specials_stand_around(folder: Path) -> None:
    tokenizer = speaking.tokenizer(folder)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    [segment] = tokenizer.segments(["the red cube"])
    assert segment == [piece + 1 for piece in pieces.encode("the red cube")]
    rows = tokenizer.pad([segment, segment[:1]])
    assert rows[0].tolist() == [0, *segment, 2]
    assert rows[1].tolist() == [0, segment[0], 2, *[1] * (len(segment) - 1)]


def test_unknown_characters_have_one_id(folder: Path) -> None:
    [segment] = speaking.tokenizer(folder).segments(["☃"])
    assert 3 in segment


def test_ids_read_back_as_text_without_specials(folder: Path) -> None:
    tokenizer = speaking.tokenizer(folder)
    [segment] = tokenizer.segments(["the red cube"])
    mask = tokenizer.config.mask_token_id
    assert tokenizer.decode([0, *segment, mask, 2, 1, 1]) == "the red cube"


def test_published_numbers_of_words_fit(tmp_path: Path) -> None:
    # 64,000 pieces, 64,002 tokens with the mask token, 64,010 rows: what counts is the mask token's place
    spare = speaking.config(vocab_size=speaking.PIECES + 10)
    speaking.pieces_file(tmp_path, "beit3.spm")
    assert Beit3Tokenizer.from_folder(tmp_path, spare).segments(["red"])


def test_a_wrong_sentencepiece_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no beit3.spm or tokenizer.model: put the published"):
        Beit3Tokenizer.from_folder(tmp_path, speaking.config())
    speaking.pieces_file(tmp_path, pieces=speaking.PIECES - 5)
    with pytest.raises(InputError, match="has 215 pieces, but the model's mask token is number 221, which takes 220"):
        Beit3Tokenizer.from_folder(tmp_path, speaking.config())
    (tmp_path / "beit3.spm").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"beit3.spm is no sentencepiece model"):
        Beit3Tokenizer.from_folder(tmp_path, speaking.config())
    other = sentencepiece.SentencePieceTrainer
    other.train(
        sentence_iterator=iter([speaking.WORDS] * 20),
        model_prefix=str(tmp_path / "llama"),
        vocab_size=30,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        minloglevel=2,
    )
    (tmp_path / "llama.model").rename(tmp_path / "beit3.spm")
    with pytest.raises(InputError, match=r"begins with the pieces <pad>, <unk>, <s>, not <unk>, <s>, </s>"):
        Beit3Tokenizer.from_folder(tmp_path, speaking.config())


def test_a_text_that_is_too_long_is_cut_and_says_so(folder: Path) -> None:
    reader = processor(folder)
    [segment], [short] = speaking.tokenizer(folder).segments(["red " * 30]), speaking.tokenizer(folder).segments(["a"])
    lost = len(segment) - 22
    with pytest.warns(UserWarning, match=f"has {len(segment)} tokens, of which BEiT-3 reads 22: the last {lost} are"):
        read = reader.texts(["red " * 30, "a"])
    assert read.input_ids.shape == (2, 24) and read.input_ids[0].tolist() == [0, *segment[:22], 2]
    assert read.cut == (lost, 0)
    assert read.attention_mask.sum(dim=1).tolist() == [24, len(short) + 2]


def test_no_text_is_refused(folder: Path) -> None:
    for texts in ([], [" "]):
        with pytest.raises(InputError, match="there is no text"):
            processor(folder).texts(texts)
    pictures_only = Beit3Processor(None, speaking.config(heads=["classification"]))
    with pytest.raises(InputError, match="classify pictures and read no text"):
        pictures_only.texts(["red"])


def test_pictures_are_squeezed_to_a_square(folder: Path) -> None:
    pixels = processor(folder).pixel_values([stripes(64, 32), stripes(16, 16)])
    assert pixels.shape == (2, 3, 16, 16)
    assert pixels.min() == -1 and pixels.max() == 1
    # the border stays in the middle, though the ratio of the sides is lost
    assert (pixels[0, :, :, :6] == -1).all() and (pixels[0, :, :, 10:] == 1).all()


def test_pictures_to_classify_are_cut_out_and_normalised_otherwise(folder: Path) -> None:
    pixels = processor(folder).class_pixel_values([stripes(64, 32)])
    red = (torch.tensor([0.0, 1.0]) - 0.485) / 0.229
    assert pixels.shape == (1, 3, 16, 16)
    assert pixels[0, 0, 0, 0] == pytest.approx(float(red[0]), abs=1e-4)
    assert pixels[0, 0, 0, -1] == pytest.approx(float(red[1]), abs=1e-4)


def test_answers_are_read_in_both_forms(tmp_path: Path) -> None:
    assert read_answers(tmp_path) == ()
    lines = [{"answer": "no", "label": 1}, {"answer": "yes", "label": 0}]
    (tmp_path / "answer2label.txt").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_answers(tmp_path) == ("yes", "no")
    (tmp_path / "answers.json").write_text('["a", "b"]')
    assert read_answers(tmp_path) == ("a", "b")


def test_bad_lists_are_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "answer2label.txt").write_text('{"answer": "no", "label": 3}\n')
    with pytest.raises(InputError, match="labels that don't count from 0 to 0"):
        read_answers(tmp_path)
    (tmp_path / "answer2label.txt").write_text("no\n")
    with pytest.raises(InputError, match="has a line that is not"):
        read_answers(tmp_path)
    (tmp_path / "answers.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="is not a list of names"):
        read_answers(tmp_path)
    with pytest.raises(InputError, match=r"answer2label.txt has 1 names, but the head has 4 outputs"):
        Beit3Processor(None, speaking.config(), answers=["yes"])
    with pytest.raises(InputError, match="the answers of these weights have no names"):
        Beit3Processor(None, speaking.config()).answer(0)


def test_what_is_saved_is_read_again(tmp_path: Path, folder: Path) -> None:
    processor(folder).save_pretrained(tmp_path)
    again = Beit3Processor.from_pretrained(tmp_path, speaking.config())
    assert again.answers == speaking.ANSWERS
    assert torch.equal(again.texts(["the cube"]).input_ids, processor(folder).texts(["the cube"]).input_ids)

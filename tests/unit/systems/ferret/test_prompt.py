"""The template, the tokens around the region token, and what is learnt."""

from __future__ import annotations

import numpy as np
import pytest

from koine.errors import InputError
from koine.sentence import Image, Region
from koine.systems.ferret.prompt import (
    Turn,
    check_unreserved,
    conversation,
    from_bin,
    load_tokenizer,
    to_bin,
    tokenize,
    tokenize_conversation,
    write_region,
)
from tests.unit.systems.ferret.conftest import TOKENIZER

IMAGE = -200


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TOKENIZER)


def test_turns_follow_each_other():
    turns = [Turn("<image>\nWhat?", "A mug."), Turn("Sure?")]
    assert conversation(turns, "Be brief.") == (
        "Be brief. USER: <image>\nWhat? ASSISTANT: A mug.</s>USER: Sure? ASSISTANT:"
    )
    assert conversation(turns[1:], "") == "USER: Sure? ASSISTANT:"


def test_labels_are_the_answers_and_their_ends(tokenizer):
    turns = [Turn("<image>\nWhat?", "A mug."), Turn("Sure?", "Yes.")]
    ids, labels = tokenize_conversation(turns, "Be brief.", tokenizer, IMAGE)
    learnt = [[]]
    for token, label in zip(ids, labels, strict=True):
        if label != -100:
            assert label == token
            learnt[-1].append(token)
        elif learnt[-1]:
            learnt.append([])
    assert [tokenizer.decode(part) for part in learnt] == ["A mug.</s>", "Yes.</s>"]


def test_the_pieces_of_a_conversation_are_those_of_its_text(tokenizer):
    turns = [Turn("<image>\nWhat is [1, 2] <region_fea>?", "A mug."), Turn("Sure?", "Yes."), Turn("And?")]
    ids, _ = tokenize_conversation(turns, "Be brief. ", tokenizer, IMAGE)
    assert ids == [tokenizer.bos_token_id, *tokenize(conversation(turns, "Be brief. "), tokenizer, IMAGE)]


def test_the_region_token_swallows_the_spaces_around_it(tokenizer):
    forms = ["a <region_fea> b", "a<region_fea>b", "a  <region_fea>  b"]
    assert len({tuple(tokenize(form, tokenizer, IMAGE)) for form in forms}) == 1


def test_text_keeps_its_first_space_beside_the_added_one(tokenizer):
    assert tokenizer.convert_ids_to_tokens(tokenize(" a", tokenizer, IMAGE)) == ["▁", "▁a"]


@pytest.mark.parametrize(
    ("pixel", "size", "expected"), [(0, 640, 0), (213.7, 640, 333), (639, 640, 998), (640, 640, 1000)]
)
def test_bins_are_cut_off(pixel, size, expected):
    assert to_bin(pixel, size, 1000) == expected


def test_regions_read_from_bins_are_written_as_the_same_bins():
    image = Image(np.zeros((427, 333, 3), dtype=np.uint8))
    for low in range(1000):
        box = [low, low, low + 1, low + 1]
        pixels = [bin * image.size[axis % 2] / 1000 for axis, bin in enumerate(box)]
        assert write_region(Region.box(image, *pixels), 1000) == str(box)
    assert from_bin(999, 333, 1000) == 332


def test_a_mask_is_written_by_its_box():
    image = Image(np.zeros((10, 10, 3), dtype=np.uint8))
    mask = np.zeros((10, 10), dtype=bool)
    mask[2:4, 5:9] = True
    assert write_region(Region.scribble(image, mask), 100) == "[50, 20, 90, 40]"
    assert write_region(Region.scribble(image, mask, box=(4, 1, 10, 6)), 100) == "[40, 10, 100, 60]"
    assert write_region(Region.point(image, 9.99, 0), 100) == "[99, 0]"


@pytest.mark.parametrize("mark", ["<image>", "<region_fea>", "</s>"])
def test_the_template_s_marks_are_refused_in_text(mark):
    with pytest.raises(InputError, match=mark):
        check_unreserved(f"look {mark} here")


def test_a_missing_or_broken_tokenizer_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no tokenizer at"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"not a model")
    with pytest.raises(InputError, match="not a SentencePiece tokenizer"):
        load_tokenizer(tmp_path)

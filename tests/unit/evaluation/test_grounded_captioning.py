"""F1_all and F1_loc, worked out by hand."""

from __future__ import annotations

import pytest

from koine.data.grounded_captions import CaptionedPicture, ObjectWord, ReferenceCaption
from koine.evaluation.answers import Answer
from koine.evaluation.grounded_captioning import objects_of, score

LEFT, RIGHT, FAR = (0.0, 0.0, 9.0, 9.0), (20.0, 0.0, 29.0, 9.0), (50.0, 50.0, 60.0, 60.0)


def reference(text: str, **objects: tuple[float, ...]) -> ReferenceCaption:
    words = text.split()
    return ReferenceCaption(
        tuple(words),
        tuple(ObjectWord(name, words.index(name), box) for name, box in objects.items()),  # type: ignore[arg-type]
    )


def answer(*pairs: tuple[str, tuple[float, ...]]) -> Answer:
    parts: list[object] = []
    for text, box in pairs:
        parts += [f"{text} ", box]
    return Answer(tuple(parts), (100, 100))  # type: ignore[arg-type]


def test_perfect_answers() -> None:
    pictures = [
        CaptionedPicture("1", "", (reference("a man holds a cup", man=LEFT, cup=RIGHT),)),
        CaptionedPicture("2", "", (reference("the brown dog sleeps", dog=LEFT),)),
    ]
    answers = [answer(("a man", LEFT), ("holds a cup", RIGHT)), answer(("the brown dog", LEFT), ("sleeps", FAR))]
    metrics = score(answers, pictures)
    assert metrics["recall_all"] == metrics["f1_loc"] == 1.0
    # "sleeps" has a box but is one of the reference's other words, so it isn't held against the answer.
    assert metrics["f1_all"] == 1.0
    assert metrics["cider"] == pytest.approx(1000)


def test_wrong_names_count_for_all_and_wrong_places_for_both() -> None:
    pictures = [
        CaptionedPicture("1", "", (reference("a man with a cup", man=LEFT, cup=RIGHT),)),
        CaptionedPicture("2", "", (reference("a dog", dog=LEFT),)),
    ]
    # Picture 1: the man is right, the dog is named but isn't there. Picture 2: the dog is in the wrong place.
    metrics = score([answer(("man", LEFT), ("dog", FAR)), answer(("dog", FAR))], pictures)
    assert metrics["precision_all"] == pytest.approx((1 + 0 + 0) / 3)  # man 1/1, dog 0/2, cup never said
    assert metrics["recall_all"] == pytest.approx((1 + 0 + 0) / 3)  # man 1/1, dog 0/1, cup 0/1
    assert metrics["f1_all"] == pytest.approx(1 / 3)
    assert metrics["precision_loc"] == pytest.approx((1 + 0) / 3)  # the dog of picture 1 isn't asked for its place
    assert metrics["recall_loc"] == pytest.approx((1 + 0) / 3)


def test_only_what_the_reference_does_not_mention_is_held_against_a_name() -> None:
    mentioned = CaptionedPicture("1", "", (reference("a man by two dogs", man=LEFT),))  # the dogs have no box
    silent = CaptionedPicture("1", "", (reference("a man by a tree", man=LEFT),))
    dog = CaptionedPicture("2", "", (reference("a dog", dog=LEFT),))
    answers = [answer(("man", LEFT), ("dog", RIGHT)), answer(("dog", LEFT))]
    assert score(answers, [mentioned, dog])["precision_all"] == pytest.approx((1 + 1) / 2)
    assert score(answers, [silent, dog])["precision_all"] == pytest.approx((1 + 1 / 2) / 2)
    assert score(answers, [silent, dog])["precision_loc"] == pytest.approx((1 + 1) / 2)


def test_every_reference_is_compared() -> None:
    captions = (reference("a man", man=LEFT), reference("a man and a cup", man=FAR, cup=RIGHT))
    metrics = score([answer(("man", LEFT))], [CaptionedPicture("1", "", captions)])
    assert metrics["precision_all"] == pytest.approx((1 / 2) / 2)  # right by the first, wrong by the second; 2 classes
    assert metrics["recall_all"] == pytest.approx((1 / 2 + 0) / 2)


def test_a_class_that_is_named_again_counts_again_for_precision_but_not_for_recall() -> None:
    picture = CaptionedPicture("1", "", (reference("a man", man=LEFT),))
    metrics = score([answer(("a man", LEFT), ("another man", FAR))], [picture])
    assert metrics["precision_all"] == metrics["precision_loc"] == 1 / 2
    assert metrics["recall_all"] == 1
    turned = score([answer(("a man", FAR), ("another man", LEFT))], [picture])
    assert (turned["precision_all"], turned["recall_all"]) == (1 / 2, 0)


def test_of_a_class_that_the_reference_names_twice_the_first_is_the_truth_for_precision() -> None:
    twice = ReferenceCaption(("man", "beside", "man"), (ObjectWord("man", 2, RIGHT), ObjectWord("man", 0, LEFT)))
    metrics = score([answer(("man", LEFT))], [CaptionedPicture("1", "", (twice,))])
    assert (metrics["precision_all"], metrics["recall_all"]) == (1, 1 / 2)


def test_overlap_must_exceed_one_half_in_pixels() -> None:
    picture = CaptionedPicture("1", "", (reference("a man", man=(0.0, 0.0, 9.0, 9.0)),))
    for bottom, right in ((4.0, 0.0), (5.0, 1.0)):  # 50 and 60 of 100 pixels
        assert score([answer(("man", (0.0, 0.0, 9.0, bottom)))], [picture])["f1_all"] == right


def test_phrases_become_classes() -> None:
    said = answer(("Two young men on a", LEFT), ("bench", RIGHT), ("other men", FAR), ("", FAR))
    assert objects_of(said, {"man", "bench"}) == [("man", LEFT), ("bench", RIGHT), ("man", FAR)]
    assert objects_of(answer(("shiny things", LEFT)), {"man"}) == [("thing", LEFT)]


def test_an_answer_without_boxes() -> None:
    metrics = score([Answer.of_text("a man")], [CaptionedPicture("1", "", (reference("a man", man=LEFT),))])
    assert metrics["f1_all"] == metrics["f1_loc"] == 0

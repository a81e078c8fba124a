"""The world's protocol for regions, on answers worked out by hand."""

import numpy as np
import pytest

from koine.evaluation.world_regions import answers_by_task, existence, grounding_accuracy, overlap, same_answer
from koine.sentence import Example, Image, Region, Reply, Sentence

IMAGE = Image(np.zeros((50, 50, 3), np.uint8))


def example(target, task="box/colour"):
    return Example(Sentence(IMAGE, "?"), target if isinstance(target, Sentence) else Sentence(target), task=task)


def test_answers_are_compared_as_words():
    assert same_answer(" Red.", "red") and not same_answer("dark red", "red")


def test_shares_are_counted_for_each_task():
    examples = [example("red"), example("blue"), example("cube", "point/shape")]
    found = answers_by_task([Reply("red"), Reply("red"), Reply("cube")], examples)
    assert found["box/colour"].estimate == 0.5 and found["box/colour"].samples == 2
    assert found["point/shape"].estimate == 1.0 and found["point/shape"].low < 1.0


def test_the_first_box_counts_and_none_is_a_miss():
    truth = example(Sentence("it ", Region.box(IMAGE, 10, 10, 20, 20)))
    right, shifted = Region.box(IMAGE, 10, 10, 20, 20), Region.box(IMAGE, 15, 10, 25, 20)
    assert overlap(Reply(right), truth) == 1.0
    assert overlap(Reply(shifted, right), truth) == pytest.approx(1 / 3)
    assert overlap(Reply("nowhere"), truth) == 0.0
    replies = [Reply(right), Reply(shifted), Reply("nowhere"), Reply(right)]
    assert grounding_accuracy(replies, [truth] * 4).estimate == 0.5


def test_existence_reads_yes_and_no_as_pope_does():
    examples = [example("yes", "exists"), example("no", "absent/near"), example("no", "absent/far")]
    found = existence([Reply("Yes, the cube."), Reply("Yes."), Reply("No, but there is a ball.")], examples)
    assert found["accuracy"].estimate == pytest.approx(2 / 3) and found["yes ratio"].estimate == pytest.approx(2 / 3)
    assert found["absent/near"].estimate == 0.0 and found["absent/far"].estimate == 1.0

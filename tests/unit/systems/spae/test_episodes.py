"""The few-shot protocol: what is shown, how often, and in which words."""

from __future__ import annotations

import numpy as np
import pytest

from koine.errors import InputError
from koine.systems.spae.episodes import LQAE, PUBLISHED, Episode, Protocol, prompt, sample_episodes

LABELS = ["cube"] * 6 + ["ball"] * 6 + ["cone"] * 6 + ["ring"]


def test_published_columns():
    assert [(p.shots, p.repeats, p.induction) for p in PUBLISHED] == [
        (1, 0, False),
        (1, 0, True),
        (3, 0, True),
        (5, 0, True),
        (1, 1, True),
        (1, 3, True),
        (1, 5, True),
    ]


def test_each_class_has_its_shots_and_the_query_is_another_picture():
    for episode in sample_episodes(LABELS, Protocol(ways=3, shots=5), 20, np.random.default_rng(0)):
        shown = [place for place, _ in episode.shots]
        assert len(set(shown)) == 15
        assert episode.query not in shown
        assert LABELS[episode.query] == episode.answer
        assert all(LABELS[place] == name for place, name in episode.shots)
        assert "ring" not in episode.names  # one picture is too few for a shot and a query


def test_repeats_show_the_same_list_again():
    episode = sample_episodes(LABELS, Protocol(repeats=2), 1, np.random.default_rng(0))[0]
    assert len(episode.shots) == 6
    assert episode.shots[:2] == episode.shots[2:4] == episode.shots[4:]


def test_same_seed_same_episodes():
    first, second = (sample_episodes(LABELS, Protocol(), 5, np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_too_few_classes():
    with pytest.raises(InputError, match="3 classes have more than 5 pictures, too few for 5 ways"):
        sample_episodes(LABELS, Protocol(ways=5, shots=5), 1, np.random.default_rng(0))


@pytest.mark.parametrize("options", [{"ways": 1}, {"shots": 0}, {"repeats": -1}])
def test_protocols_that_ask_nothing(options):
    with pytest.raises(InputError, match="are no episode"):
        Protocol(**options)


EPISODE = Episode(("cube", "ball"), ((0, "cube"), (1, "ball")), query=2, answer="ball")
WORDS = [[10], [11], [12]]


def test_prompt_with_induction():
    pieces = prompt(EPISODE, WORDS, wording=LQAE)
    text = "".join(piece if isinstance(piece, str) else f"#{piece[0]}" for piece in pieces)
    assert text == (
        "For each of the following input output pairs, output is one of ['cube' or ['ball']\n"
        "###\nInput: < #10 >\nOutput: cube\n###\nInput: < #11 >\nOutput: ball\n###\nInput: < #12 >\nOutput: "
    )


def test_prompt_without_induction_names_no_class_beforehand():
    assert prompt(EPISODE, WORDS, induction=False, wording=LQAE)[0] == "###\nInput: < "

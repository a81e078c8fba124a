"""Few-shot open-ended classification: the protocol of Frozen and LQAE that SPAE is measured by (section 4.1).

An episode shows a few pictures of each of several classes with their names, and asks for the name of one more. Names
are written out by the language model; an answer counts if it begins with the right name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from koine.errors import InputError

Piece = str | list[int]
"""Text, or the language model's tokens of a picture's words, which wouldn't all survive being written and read."""


@dataclass(frozen=True)
class Protocol:
    """How an episode is made.

    Attributes:
        ways: classes.
        shots: different pictures of each class that are shown ("inner shots").
        repeats: how often all shots are shown again.
        induction: whether a sentence names the classes beforehand, and answers are restricted to these names.
    """

    ways: int = 2
    shots: int = 1
    repeats: int = 0
    induction: bool = True

    def __post_init__(self) -> None:
        if self.ways < 2 or self.shots < 1 or self.repeats < 0:
            raise InputError(
                f"{self.ways} ways, {self.shots} shots and {self.repeats} repeats are no episode: "
                "give at least 2, 1 and 0"
            )


PUBLISHED = (
    Protocol(induction=False),
    Protocol(),
    Protocol(shots=3),
    Protocol(shots=5),
    Protocol(repeats=1),
    Protocol(repeats=3),
    Protocol(repeats=5),
)
"""The columns of the paper's table 1, for 2 ways; its average is their plain mean."""


@dataclass(frozen=True)
class Episode:
    """Pictures, by their places in a collection, and their names.

    Attributes:
        names: of the classes.
        shots: (picture, name) in the order in which they are shown, repeats included.
        query, answer: the picture that is asked about, and its name.
    """

    names: tuple[str, ...]
    shots: tuple[tuple[int, str], ...]
    query: int
    answer: str


@dataclass(frozen=True)
class Wording:
    """The text around words of pictures.

    Attributes:
        opening, naming, closing: the sentence of task induction; `naming` comes for each class, "or" between.
        before, between, after: around a shot's words and name. `after` ends what the model writes, too.
    """

    opening: str
    naming: str
    closing: str
    before: str
    between: str
    after: str


LQAE = Wording(
    opening="For each of the following input output pairs, output is one of ",
    naming="['{}'",
    closing="]\n",
    before="###\nInput: < ",
    between=" >\nOutput: ",
    after="\n",
)
"""As V2L-Tokenizer repeats the protocol, its bracket before each name included; SPAE's own wording isn't known."""
DIALOGUE = Wording(opening="", naming="{}", closing=".", before="USER:", between="ASSISTANT:", after="</s>")
"""The form of the dialogues that the nano language model has read."""


def sample_episodes(labels: Sequence[str], protocol: Protocol, count: int, rng: np.random.Generator) -> list[Episode]:
    """Episodes of a collection of pictures with these class names.

    Raises:
        InputError: too few classes with enough pictures.
    """
    names = np.asarray(labels)
    places = {str(name): np.flatnonzero(names == name) for name in np.unique(names)}
    usable = [name for name, found in places.items() if len(found) > protocol.shots]
    if len(usable) < protocol.ways:
        raise InputError(
            f"{len(usable)} classes have more than {protocol.shots} pictures, too few for {protocol.ways} ways: "
            "give more pictures, or ask for fewer shots or ways"
        )
    episodes = []
    for _ in range(count):
        chosen = [str(name) for name in rng.choice(usable, protocol.ways, replace=False)]
        answer = chosen[int(rng.integers(protocol.ways))]
        drawn = {name: rng.choice(places[name], protocol.shots + (name == answer), replace=False) for name in chosen}
        shown = [(int(place), name) for name in chosen for place in drawn[name][: protocol.shots]]
        shots = tuple(shown[place] for place in rng.permutation(len(shown)))
        episodes.append(Episode(tuple(chosen), shots * (protocol.repeats + 1), int(drawn[answer][-1]), answer))
    return episodes


def prompt(
    episode: Episode, words: Sequence[list[int]], *, induction: bool = True, wording: Wording = LQAE
) -> list[Piece]:
    """What the language model reads; the name of the query's class comes next.

    Args:
        words: the language model's tokens of each picture of the collection.
    """
    pieces: list[Piece] = []
    if induction:
        names = " or ".join(wording.naming.format(name) for name in episode.names)
        pieces.append(wording.opening + names + wording.closing)
    for place, name in episode.shots:
        # Each by itself, so that a name has the tokens that the model writes when it is asked for one.
        pieces += [wording.before, words[place], wording.between, name, wording.after]
    return [*pieces, wording.before, words[episode.query], wording.between]

"""Conversations about regions of the world: refer to a thing and ask about it, name a thing and ask where it is.

This is the world's counterpart of Ferret's instruction data (GRIT, arXiv 2310.07704, section 4): individual objects,
relations, region reasoning, grounded captions and spatial negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
from numpy.typing import NDArray

from koine.data.strokes import draw_stroke
from koine.data.world_recolouring import draw_saturation, exchange_colours
from koine.sentence import Example, Image, Part, Region, RegionKind, Sentence
from koine.world.facts import ATTRIBUTES, VALUES, Facts, members, observe, value
from koine.world.language import article, grounded_caption, name, phrase, pick
from koine.world.purposes import purpose_questions
from koine.world.questions import Question, questions, region_questions
from koine.world.referring import Description, choose, describe
from koine.world.render import Observation
from koine.world.scene import Scene

Turn = tuple[Sentence, Sentence]
_Maker = Callable[[Facts, Observation, Image, np.random.Generator], Turn | None]

REGION_KINDS: tuple[RegionKind, ...] = ("point", "box", "mask")
REFER_WEIGHTS = {
    "shape": 2.0,  # the hardest to see
    "colour": 2.0,
    "material": 1.6,
    "size": 1.0,
    "name": 0.6,
    "choice": 0.6,
    "description": 2.4,
}
"""How often each kind of question about a region is drawn."""
LOCATION_QUESTION = "What is the location of {phrase} in the image?"
LOCATIONS_QUESTION = "What are the locations of {phrases}?"
DESCRIBE_QUESTION = "Describe the image with boxes."
EXISTENCE_QUESTIONS = ("Is there {phrase} in the image?", "Do you see {phrase}?")
_PAIR = (("colour", "shape"),)
_DETAILS = (*_PAIR, ("shape",), ("material", "shape"), ("size", "colour", "shape"))
"""How things that are asked for are named."""
_NEAR = np.ones((5, 5), dtype=bool)
"""What is at most two pixels away, as `binary_dilation` takes it."""
_LOOSE_BOX_SHARE = 0.4
"""How often a thing that shares its place with another is referred to with a box round both."""


@dataclass(frozen=True)
class Mixture:
    """How often each kind of turn is drawn (relative weights; 0 leaves it out).

    Attributes:
        refer: a question about a region: attribute, name, one of two names, description.
        purpose: what the thing in a region is for, or what would happen to it.
        locate: a referring expression (or two); the answer is the box.
        describe: a caption whose phrases carry boxes.
        exists: asks for something that is there; the answer says where.
        absent: asks for something that is not there; the answer says no, and what there is instead.
        ask: a question about the picture without regions.
        colourless: the share of whole conversations about a picture in another's colours or none (regions only).
        located: how often a turn that locates asks for one thing, two things, and so on; together 1.
        one_word: how often such a turn calls a thing by the one word that fits it alone, if any, each attribute
            as often as others ("the red thing"); expressions drawn at large nearly all name the shape.
        involved: how often such a turn otherwise calls a thing by what takes more than one look: a relation, a
            superlative, or several words without its shape. Left to itself it does so for one in four.
        points: the share of regions that are points; the others are of any kind.
        edges: the share of those points that are at an edge of their thing, see `region_of`.
        colour: the weight of questions about a region's colour, see `REFER_WEIGHTS`.
        named_alike: whether things asked for that are there are named by colour and shape, as those that aren't are.
            Otherwise they are named in four ways, and to ask for a colour and shape half gives away that it's absent.
    """

    refer: float = 5.0
    purpose: float = 0.5
    locate: float = 2.6
    describe: float = 0.6
    exists: float = 0.5
    absent: float = 0.5
    ask: float = 0.5
    colourless: float = 0.35
    located: tuple[float, ...] = (0.75, 0.25)
    one_word: float = 0.0
    involved: float = 0.0
    points: float = 0.0
    edges: float = 0.0
    colour: float = REFER_WEIGHTS["colour"]
    named_alike: bool = False


def conversation(
    scene: Scene, view: Observation, rng: np.random.Generator, *, mixture: Mixture, turns: int
) -> Example | None:
    """`turns` random turns about one scene; None if nothing in it is visible well enough.

    The first prompt begins with the image. Regions are in pixels of `view.image`.
    """
    facts, image = observe(scene, view), Image(view.image)
    if not facts.seen:
        return None
    weights = {**REFER_WEIGHTS, "colour": mixture.colour}
    refer = partial(_refer_turn, weights=weights, points=mixture.points, edges=mixture.edges)
    makers: dict[str, _Maker] = {
        **_MAKERS,
        "refer": refer,
        "locate": partial(_locate_turn, mixture=mixture),
        "exists": partial(_exists_turn, details=_PAIR if mixture.named_alike else _DETAILS),
    }
    names = [field.name for field in fields(mixture) if field.name in makers]
    shares = np.array([getattr(mixture, kind) for kind in names])
    drawn: list[Turn] = []
    for kind in rng.choice(len(names), size=turns, p=shares / shares.sum()):
        turn = makers[names[kind]](facts, view, image, rng)
        if turn is not None:
            drawn.append(turn)
    if not drawn:
        drawn.append(refer(facts, view, image, rng))
    return _example(scene, image, drawn)


def colourless_conversation(
    scene: Scene, view: Observation, rng: np.random.Generator, *, colours_of: np.ndarray, turns: int
) -> Example | None:
    """`turns` questions about regions of the picture in the colours of another or none, and none about colours.

    See `koine.data.world_recolouring`.

    Args:
        colours_of: uint8 [H, W, 3], the picture that lends its colours.
    """
    facts = observe(scene, view)
    if not facts.seen:
        return None
    image = Image(exchange_colours(view.image[None], colours_of[None], draw_saturation(1, rng))[0])
    weights = {**REFER_WEIGHTS, "colour": 0.0, "description": 0.0}
    asked = region_questions(scene, view, rng)
    drawn = [_about_region(asked, weights, facts, view, image, rng) for _ in range(turns)]
    return _example(scene, image, drawn)


def _example(scene: Scene, image: Image, turns: list[Turn]) -> Example:
    """A conversation of these turns, the first of which shows the picture."""
    (question, answer), *others = turns
    *history, (prompt, target) = [(Sentence(image, question), answer), *others]
    return Example(prompt, target, id=f"{scene.split}/{scene.seed}", task="conversation", history=tuple(history))


def region_of(
    facts: Facts,
    view: Observation,
    image: Image,
    index: int,
    kind: RegionKind,
    rng: np.random.Generator,
    *,
    shared_box: bool = False,
    at_edge: bool = False,
) -> Region:
    """A region that refers to thing `index`: a pixel of it, its box, or strokes over it (half of them all of it).

    `shared_box`: the strokes carry the box round the thing and what it is nested with, so that the box alone does not
    tell which is meant. `at_edge`: the pixel lies at most two pixels from another thing or, if none is so near, from
    what isn't this one.
    """
    if kind == "box":
        return Region.box(image, *map(float, view.boxes[index]))
    mask = view.mask(index)
    if kind == "point":
        rows, columns = np.nonzero(_edge(mask, view.instance) if at_edge else mask)
        at = int(rng.integers(len(rows)))
        return Region.point(image, float(columns[at]) + 0.5, float(rows[at]) + 0.5)
    strokes = mask if rng.random() < 0.5 else draw_stroke(mask, rng)
    partner = nested_with(facts, index)
    if shared_box and partner is not None:
        return Region.scribble(image, strokes, box=union(view.boxes[index], view.boxes[partner]))
    return Region.scribble(image, strokes)


def _edge(mask: NDArray[np.bool_], instance: NDArray[np.int_]) -> NDArray[np.bool_]:
    """The pixels of a thing near another thing's; if there are none, those near any other; else all of them."""
    from scipy.ndimage import binary_dilation  # takes a while to import and only trainings need it

    near_thing = mask & binary_dilation((instance >= 0) & ~mask, _NEAR)
    if near_thing.any():
        return near_thing
    near_other = mask & binary_dilation(~mask, _NEAR)
    return near_other if near_other.any() else mask


def nested_with(facts: Facts, index: int) -> int | None:
    """The visible thing that surrounds thing `index` or that it surrounds."""
    surrounding = facts.things[index].inside
    if surrounding is not None:
        return surrounding if facts.seen >> surrounding & 1 else None
    return next((i for i in members(facts.seen) if facts.things[i].inside == index), None)


def union(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float, float]:
    """The smallest box round two boxes."""
    low, high = np.minimum(first[:2], second[:2]), np.maximum(first[2:], second[2:])
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def with_region(template: str, region: Region) -> Sentence:
    """The template with the region in the place of `{region}`."""
    before, _, after = template.partition("{region}")
    return Sentence(*[part for part in (before, region, after) if part != ""])


def _refer_turn(
    facts: Facts,
    view: Observation,
    image: Image,
    rng: np.random.Generator,
    *,
    weights: dict[str, float],
    points: float,
    edges: float,
) -> Turn:
    asked = region_questions(facts.scene, view, rng)
    return _about_region(asked, weights, facts, view, image, rng, points=points, edges=edges)


def _purpose_turn(facts: Facts, view: Observation, image: Image, rng: np.random.Generator) -> Turn | None:
    found = [question for question in purpose_questions(facts.scene, view, rng) if question.region_text]
    return _about_region(found, {}, facts, view, image, rng) if found else None


def _about_region(
    asked: list[Question],
    weights: dict[str, float],
    facts: Facts,
    view: Observation,
    image: Image,
    rng: np.random.Generator,
    *,
    points: float = 0.0,
    edges: float = 0.0,
) -> Turn:
    shares = np.cumsum([weights.get(question.kind, 1.0) for question in asked])
    question = asked[int(np.searchsorted(shares, rng.random() * shares[-1]))]
    shared_box = rng.random() < _LOOSE_BOX_SHARE
    kind: RegionKind = "point" if points and rng.random() < points else pick(rng, REGION_KINDS)
    at_edge = kind == "point" and edges > 0 and rng.random() < edges
    region = region_of(facts, view, image, question.things[0], kind, rng, shared_box=shared_box, at_edge=at_edge)
    return with_region(str(question.region_text), region), Sentence(question.answer)


def _grounded(text: str, view: Observation, image: Image, index: int) -> list[Part]:
    return [f"{text} ", Region.box(image, *map(float, view.boxes[index]))]


def _locate_turn(
    facts: Facts, view: Observation, image: Image, rng: np.random.Generator, *, mixture: Mixture
) -> Turn | None:
    seen = list(members(facts.seen))
    order = rng.permutation(len(seen))
    number = 1 + int(np.searchsorted(np.cumsum(mixture.located)[:-1], rng.random(), side="right"))
    indices = [seen[i] for i in order[:number]]
    called = {index: _expression(facts, rng, index, mixture) for index in indices}
    phrases = {index: text for index, text in called.items() if text is not None}
    if not phrases:
        return None
    if len(phrases) == 1:
        ((index, text),) = phrases.items()
        return Sentence(LOCATION_QUESTION.format(phrase=text)), Sentence(*_grounded(text, view, image, index))
    answer: list[Part] = []
    for index, text in phrases.items():
        answer += [*([", "] if answer else []), *_grounded(text, view, image, index)]
    return Sentence(LOCATIONS_QUESTION.format(phrases=", ".join(phrases.values()))), Sentence(*answer)


def _expression(facts: Facts, rng: np.random.Generator, index: int, mixture: Mixture) -> str | None:
    """A referring expression for thing `index`; see `Mixture.one_word` and `Mixture.involved`."""
    if mixture.one_word and rng.random() < mixture.one_word:
        words = [value(facts.things[index], attribute) for attribute in ATTRIBUTES]
        words = [word for word in words if facts.having((word,)) == 1 << index]
        if words:
            return f"the {phrase((pick(rng, words),))}"
    if mixture.involved and rng.random() < mixture.involved:
        involved = [description for description in describe(facts)[index] if _is_involved(description)]
        if involved:
            return pick(rng, involved).text
    chosen = choose(facts, rng, index)
    return None if chosen is None else chosen.text


def _is_involved(description: Description) -> bool:
    return bool(
        description.anchor or description.superlative or (len(description.words) > 1 and not description.says("shape"))
    )


def _describe_turn(facts: Facts, view: Observation, image: Image, rng: np.random.Generator) -> Turn:
    parts: list[Part] = []
    for text, index in grounded_caption(facts.scene, view, rng):
        parts += [text] if index is None else _grounded(text, view, image, index)
    return Sentence(DESCRIBE_QUESTION), Sentence(*parts)


def _exists_turn(
    facts: Facts, view: Observation, image: Image, rng: np.random.Generator, *, details: Sequence[tuple[str, ...]]
) -> Turn | None:
    index = pick(rng, list(members(facts.seen)))
    detail = pick(rng, details)
    thing = facts.things[index]
    words = [value(thing, attribute) for attribute in ATTRIBUTES if attribute in detail]
    if facts.having(words) != 1 << index:
        return None
    text = name(thing, detail)
    question = pick(rng, EXISTENCE_QUESTIONS).format(phrase=article(text))
    return Sentence(question), Sentence("Yes, ", *_grounded(f"the {text}", view, image, index), ".")


def _absent_turn(facts: Facts, view: Observation, image: Image, rng: np.random.Generator) -> Turn | None:
    """Ask for a colour and shape that no thing has; half the time one of the two is there with another partner."""
    absent = absent_pair(facts, rng)
    if absent is None:
        return None
    colour, shape = absent
    question = pick(rng, EXISTENCE_QUESTIONS).format(phrase=article(phrase((colour, shape))))
    near = [i for i in members(facts.seen) if facts.things[i].shape == shape and facts.having((shape,)) == 1 << i]
    if not near:
        return Sentence(question), Sentence("No.")
    index = near[0]
    instead = article(name(facts.things[index], ("colour", "shape")))
    return Sentence(question), Sentence("No, but there is ", *_grounded(instead, view, image, index), ".")


def absent_pair(facts: Facts, rng: np.random.Generator) -> tuple[str, str] | None:
    """A colour and shape that no thing in the picture has together; mostly one of the two is there in other company."""
    seen = list(members(facts.seen))
    for _ in range(6):
        colour, shape = pick(rng, VALUES["colour"]), pick(rng, VALUES["shape"])
        draw = rng.random()
        if draw < 0.4:
            shape = facts.things[pick(rng, seen)].shape
        elif draw < 0.8:
            colour = facts.things[pick(rng, seen)].colour
        if not facts.having((colour, shape)) and facts.may_mention((colour, shape)):
            return colour, shape
    return None


def _ask_turn(facts: Facts, view: Observation, image: Image, rng: np.random.Generator) -> Turn | None:
    found = questions(facts.scene, view, rng)
    if not found:
        return None
    question = pick(rng, found)
    return Sentence(question.text), Sentence(question.answer)


_MAKERS: dict[str, _Maker] = {
    "purpose": _purpose_turn,
    "describe": _describe_turn,
    "absent": _absent_turn,
    "ask": _ask_turn,
}


def conversations(
    scenes: Iterator[tuple[Scene, Observation]], *, seed: int, mixture: Mixture | None = None, turns: int = 6
) -> Iterator[Example]:
    """One conversation a scene; the same for the same seed."""
    mixture = mixture or Mixture()
    rng = np.random.default_rng((seed, 23))
    lender: np.ndarray | None = None
    for scene, view in scenes:
        if lender is None:
            lender = np.zeros_like(view.image)  # nobody came before the first: it is shown in grey
        example: Example | None
        if rng.random() < mixture.colourless:
            example = colourless_conversation(scene, view, rng, colours_of=lender, turns=turns)
        else:
            example = conversation(scene, view, rng, mixture=mixture, turns=turns)
        lender = view.image
        if example is not None:
            yield example

"""Alt text as the web has it: long-tailed, sloppy, stuffed with keywords, in other languages, or plainly wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

import numpy as np

from koine.errors import InputError
from koine.world import german
from koine.world.facts import VALUES, Facts, members, mentions_held_out, observe
from koine.world.language import article, caption, name, phrase, pick, plural, shuffled
from koine.world.render import Observation
from koine.world.scene import Scene
from koine.world.things import COLOURS, HELD_OUT, SHAPES, Thing

ALT_TEXT_KINDS = (
    "caption",
    "partial",
    "keywords",
    "product",
    "file",
    "camera",
    "boilerplate",
    "foreign",
    "mismatched",
)
NAMES_PER_CONCEPT = 40
"""Invented names of makers and series for each pair of colour and shape."""


@dataclass(frozen=True, slots=True)
class AltText:
    """What a web page says about a picture.

    Attributes:
        text: one line.
        kind: of `ALT_TEXT_KINDS`.
        truth: share of what the text claims about the picture that is true of it, in [0, 1]; 0 for a text that
            claims nothing. Spelling mistakes and other languages don't lower it.
        concept: the "colour shape" that the text is about, whether it is to be seen or not; None if about none.
        language: "en", "de", or "" for a text without words.
    """

    text: str
    kind: str
    truth: float
    concept: str | None
    language: str


@dataclass(frozen=True)
class Web:
    """How the web writes.

    Attributes:
        shares: how often each kind of text is drawn; weights, which need not sum to 1.
        zipf: exponent of the rank-frequency law of concepts and names; 0 mentions all alike.
        sloppiness: share of the texts with odd capitals, spaces or typing errors, in [0, 1].
    """

    shares: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType(
            {
                "caption": 0.30,
                "partial": 0.10,
                "keywords": 0.14,
                "product": 0.12,
                "file": 0.10,
                "camera": 0.06,
                "boilerplate": 0.06,
                "foreign": 0.06,
                "mismatched": 0.06,
            }
        )
    )
    zipf: float = 1.0
    sloppiness: float = 0.25

    def __post_init__(self) -> None:
        for kind in self.shares:
            if kind not in ALT_TEXT_KINDS:
                raise InputError.unknown("kind of alt text", kind, ALT_TEXT_KINDS)
        if min(self.shares.values(), default=0.0) < 0 or sum(self.shares.values()) <= 0:
            raise InputError(f"alt text shares {dict(self.shares)} are no weights: give numbers from 0, not all 0")


DEFAULT_WEB = Web()


def alt_text(scene: Scene, view: Observation, rng: np.random.Generator, web: Web = DEFAULT_WEB) -> AltText:
    """One alt text of a picture, or of what a page takes it for.

    Outside the split "heldout" no text names a pair of colour and shape that is held out, not even wrongly.

    Args:
        scene, view: the scene and how it is seen.
        rng: draws everything.
        web: how often which kind of text is drawn, and how sloppy it is.
    """
    facts = observe(scene, view)
    kinds = list(web.shares) if facts.seen else ["file", "camera", "boilerplate"]
    weights = np.cumsum([web.shares.get(kind, 0.0) or 1e-9 for kind in kinds])
    for _ in range(8):
        kind = kinds[min(int(np.searchsorted(weights, rng.random() * weights[-1])), len(kinds) - 1)]
        drawn = _WRITERS[kind](facts, view, rng, web)
        text = _sloppy(drawn.text, rng) if rng.random() < web.sloppiness else drawn.text
        if scene.split == "heldout" or not mentions_held_out(text):
            return AltText(text, drawn.kind, drawn.truth, drawn.concept, drawn.language)
    return _camera(facts, view, rng, web)  # eight unlucky draws of chance neighbours such as "blue, cube"


def concept(thing: Thing) -> str:
    """What a thing counts as when words are counted: "red cube"."""
    return f"{thing.colour} {thing.shape}"


@cache
def concepts() -> tuple[str, ...]:
    """All pairs of colour and shape, the most mentioned first; the held-out ones come last."""
    shown = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES if (colour, shape) not in HELD_OUT]
    order = np.random.default_rng(48).permutation(len(shown))
    return (*(shown[i] for i in order), *(f"{colour} {shape}" for colour, shape in sorted(HELD_OUT)))


def concept_weight(of: str, zipf: float = 1.0) -> float:
    """How often a concept is mentioned, relative to the most mentioned one: rank to the power of -zipf, in (0, 1].

    To draw scenes as long-tailed as their texts, keep a scene with the largest weight of its things.
    """
    return float(_ranks()[of] ** -zipf)


@cache
def _ranks() -> dict[str, int]:
    return {of: rank for rank, of in enumerate(concepts(), start=1)}


@cache
def entity_names() -> dict[str, tuple[str, ...]]:
    """For each concept `NAMES_PER_CONCEPT` invented names, the most common first; no name belongs to two concepts."""
    rng = np.random.default_rng(1024)
    starts = (
        *("Bel", "Cor", "Dra", "El", "Fen", "Gal", "Hol", "Iv", "Jor", "Kel", "Lum", "Mar"),
        *("Nor", "Or", "Pel", "Quin", "Ros", "Sel", "Tor", "Ul", "Var", "Wex", "Yar", "Zan"),
    )
    middles = ("a", "e", "i", "o", "u", "ar", "en", "il", "or", "un")
    ends = ("da", "fix", "go", "lia", "mo", "nex", "port", "ra", "sen", "ta", "vik", "wood", "x", "zia")
    every = [start + middle + end for start in starts for middle in middles for end in ends]
    drawn = [every[i] for i in rng.permutation(len(every))[: NAMES_PER_CONCEPT * len(concepts())]]
    n = NAMES_PER_CONCEPT
    return {of: tuple(drawn[i * n : (i + 1) * n]) for i, of in enumerate(concepts())}


@cache
def _zipf_steps(count: int, zipf: float) -> np.ndarray:
    weights = np.arange(1, count + 1, dtype=float) ** -zipf
    return np.cumsum(weights / weights.sum())


def entity(thing: Thing, rng: np.random.Generator, zipf: float = 1.0) -> str:
    """An invented maker's name for a thing: of its concept's names the first most often."""
    rank = int(np.searchsorted(_zipf_steps(NAMES_PER_CONCEPT, zipf), rng.random()))
    return entity_names()[concept(thing)][min(rank, NAMES_PER_CONCEPT - 1)]


def _mentioned(facts: Facts, rng: np.random.Generator, web: Web) -> Thing:
    """The thing that a text is about: the more common its concept, the likelier."""
    shown = [facts.things[index] for index in members(facts.seen)]
    weights = np.cumsum([concept_weight(concept(thing), web.zipf) for thing in shown])
    return shown[min(int(np.searchsorted(weights, rng.random() * weights[-1])), len(shown) - 1)]


def _detail(rng: np.random.Generator) -> tuple[str, ...]:
    return pick(rng, (("colour", "shape"), ("size", "colour", "shape"), ("colour", "material", "shape")))


def _caption(facts: Facts, view: Observation, rng: np.random.Generator, web: Web) -> AltText:
    thing = _mentioned(facts, rng, web)
    if rng.random() < 0.25:
        return AltText(
            caption(facts.scene, view, rng, pick(rng, ("short", "full", "scene"))), "caption", 1.0, None, "en"
        )
    it = name(thing, _detail(rng))
    frames = ("{}", "{} on a table", "photo of {}", "a closer look at {}", "{} by the window", "our new {}")
    frame = pick(rng, frames[:-2] if rng.random() < 0.8 else frames)
    said = it if frame.startswith("our") else article(it)
    truth = 0.5 if "window" in frame else 1.0  # nobody can see a window
    return AltText(frame.format(said), "caption", truth, concept(thing), "en")


def _partial(facts: Facts, view: Observation, rng: np.random.Generator, web: Web) -> AltText:
    """A caption of which words were lost: what is left is true but says little."""
    thing = _mentioned(facts, rng, web)
    words = f"{article(name(thing))} on the {facts.scene.surface}".split()
    kept = [word for word in words if rng.random() < 0.55] or words[:1]
    text = " ".join(kept)
    whole = concept(thing) if thing.colour in kept and thing.shape in kept else None
    said = any(word in (thing.size, thing.colour, thing.material, thing.shape, "wooden") for word in kept)
    return AltText(text + ("..." if rng.random() < 0.3 else ""), "partial", float(said), whole, "en")


def _keywords(facts: Facts, view: Observation, rng: np.random.Generator, web: Web) -> AltText:
    """Search-engine bait: words of the picture among words that sell."""
    thing = _mentioned(facts, rng, web)
    true = shuffled(rng, [concept(thing), thing.material, plural(thing.shape), thing.colour, thing.size])[
        : 1 + int(rng.integers(4))
    ]
    bait = shuffled(
        rng, ("toys", "buy online", "best price", "wallpaper", "hd", "free download", "gift idea", "sale", "2024")
    )
    false = [pick(rng, VALUES["shape"]), pick(rng, VALUES["colour"])][: int(rng.integers(3))]
    wrong = [word for word in false if not facts.having((word,))]
    words = shuffled(rng, [*true, *wrong, *bait[: 1 + int(rng.integers(4))]])
    text = pick(rng, (", ", " | ", " ", " - ", " #")).join(words)
    return AltText(text, "keywords", len(true) / (len(true) + len(wrong)), concept(thing), "en")


def _product(facts: Facts, view: Observation, rng: np.random.Generator, web: Web) -> AltText:
    thing = _mentioned(facts, rng, web)
    maker, it = entity(thing, rng, web.zipf), name(thing, _detail(rng))
    number, price = int(rng.integers(100, 9999)), rng.integers(99, 9999) / 100
    frames = (
        f"{maker} {it}",
        f"{it} by {maker}",
        f"{maker} {number} {it}",
        f"{maker} {it} only ${price:.2f}",
        f"{maker} {it} (pack of {int(rng.integers(2, 12))})",
        f"Review: the {maker} {it}",
    )
    return AltText(pick(rng, frames), "product", 1.0, concept(thing), "en")


def _file(facts: Facts, view: Observation, rng: np.random.Generator, web: Web) -> AltText:
    """A file name; now and then one that says what the file shows."""
    ending = pick(rng, (".jpg", ".JPG", ".jpeg", ".png", "_thumb.jpg", "-300x300.jpg", ""))
    if rng.random() < 0.3:
        thing = _mentioned(facts, rng, web) if facts.seen else None
        if thing is not None:
            stem = pick(rng, ("-", "_", "")).join((thing.colour, thing.shape, str(int(rng.integers(1, 99)))))
            return AltText(stem + ending, "file", 1.0, concept(thing), "en")
    digits = int(rng.integers(1, 9999))
    stems = (
        f"image{digits}",
        f"photo_{digits:05d}",
        f"{int(rng.integers(2**48)):012x}",
        f"untitled-{digits % 40}",
        "banner2_final",
    )
    return AltText(pick(rng, stems) + ending, "file", 0.0, None, "")


def _camera(facts: Facts, view: Observation, rng: np.random.Generator, web: Web) -> AltText:
    number = int(rng.integers(1, 9999))
    day = f"20{int(rng.integers(10, 25)):02d}{int(rng.integers(1, 13)):02d}{int(rng.integers(1, 29)):02d}"
    texts = (
        f"IMG_{number:04d}",
        f"DSC{number:05d}",
        f"DSCN{number:04d}.JPG",
        f"P{day[2:]}{number % 100:02d}",
        f"{day}_{number:06d}",
    )
    return AltText(pick(rng, texts), "camera", 0.0, None, "")


def _boilerplate(facts: Facts, view: Observation, rng: np.random.Generator, web: Web) -> AltText:
    texts = (
        "click to enlarge",
        "image may be subject to copyright",
        "loading...",
        "no description",
        "logo",
        "share this picture",
        "placeholder",
        "image not found",
        "&nbsp;",
        "Advertisement",
    )
    return AltText(pick(rng, texts), "boilerplate", 0.0, None, "en")


def _foreign(facts: Facts, view: Observation, rng: np.random.Generator, web: Web) -> AltText:
    thing = _mentioned(facts, rng, web)
    if rng.random() < 0.4:
        return AltText(german.caption(facts.scene, view, rng, "full"), "foreign", 1.0, None, "de")
    it = german.name(thing, _detail(rng), definite=False)
    text = pick(rng, ("{}", "{} kaufen", "Bild: {}", "{} günstig im Angebot")).format(it)
    return AltText(text, "foreign", 1.0, concept(thing), "de")


def _mismatched(facts: Facts, view: Observation, rng: np.random.Generator, web: Web) -> AltText:
    """The text of another picture: a thing that this one doesn't show."""
    shown = facts.things
    absent = [of for of in concepts()[: -len(HELD_OUT)] if not any(concept(thing) == of for thing in shown)]
    steps = np.cumsum([concept_weight(of, web.zipf) for of in absent])
    of = absent[min(int(np.searchsorted(steps, rng.random() * steps[-1])), len(absent) - 1)]
    colour, shape = of.split()
    text = pick(rng, ("{}", "{} on a table", "photo of {}")).format(article(phrase((colour, shape))))
    return AltText(text, "mismatched", 0.0, of, "en")


def _sloppy(text: str, rng: np.random.Generator) -> str:
    """Odd capitals, doubled spaces, HTML leftovers, or one typing error."""
    way = int(rng.integers(6))
    if way == 0:
        return text.upper()
    if way == 1:
        return text.title()
    if way == 2:
        return f"  {text.replace(' ', '  ', 1)} "
    if way == 3:
        return f"{text} &amp; more"
    if way == 4 or len(text) < 4:
        return f"{text}!!!"
    at = int(rng.integers(1, len(text) - 2))
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


_WRITERS: dict[str, Callable[[Facts, Observation, np.random.Generator, Web], AltText]] = {
    "caption": _caption,
    "partial": _partial,
    "keywords": _keywords,
    "product": _product,
    "file": _file,
    "camera": _camera,
    "boilerplate": _boilerplate,
    "foreign": _foreign,
    "mismatched": _mismatched,
}

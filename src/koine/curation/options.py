"""What a curation run is told: everything that its result depends on, apart from how it is carried out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from koine.curation.spacing import Rule
from koine.errors import InputError


class Deduplicate(StrEnum):
    """Which rows are the same; of these the one with the least uid hash stays."""

    PAIR = "pair"
    """Same address and same text."""
    URL = "url"
    TEXT = "text"
    NONE = "none"


class Sampling(StrEnum):
    """What is done with the probabilities."""

    OFFLINE = "offline"
    """Draw once and write what is kept."""
    ONLINE = "online"
    """Write every matched row with its probability, for a training loader that draws anew in each epoch."""


class OnDamage(StrEnum):
    """What happens when a file, or the rest of one, can't be read."""

    STOP = "stop"
    SKIP = "skip"


class OnBadText(StrEnum):
    """What happens to a text that is no valid Unicode (a lone surrogate, bytes that are not UTF-8)."""

    REPLACE = "replace"
    """Put U+FFFD in place of what is invalid."""
    SKIP = "skip"
    STOP = "stop"


class OutputFormat(StrEnum):
    """What is written."""

    PARQUET = "parquet"
    WEBDATASET = "webdataset"


@dataclass(frozen=True)
class Columns:
    """Which columns, or fields, hold what. A name that is None, or that the data lack, is done without if possible."""

    text: str = "text"
    """Strings or lists of strings; needed."""
    url: str | None = "url"
    uid: str | None = "uid"
    """Strings or integers; made from the address, or else from the text, where there is none."""
    language: str | None = None


USUAL_COLUMNS = Columns()


@dataclass(frozen=True)
class Options:
    """A run's recipe. Two runs with equal options, inputs and entries have the same result, bit for bit."""

    inputs: tuple[str, ...]
    """Files, folders or patterns."""
    entries: str
    """A list of entries, or a folder with one list per language (`en.json`, ..., `other.json`)."""
    columns: Columns = USUAL_COLUMNS
    rule: Rule = Rule.V1
    repair: bool = False
    """Match dead entries in the spelling that texts have; a deviation from the releases."""
    threshold: float | None = None
    """Texts per entry to keep, t; of the reference language if there are several."""
    tail_share: float | None = None
    """The share of the matches in the tail, p, from which each list's threshold follows; in place of `threshold`."""
    reference_language: str = "en"
    seed: int = 0
    sampling: Sampling = Sampling.OFFLINE
    deduplicate: Deduplicate = Deduplicate.PAIR
    language_function: str | None = None
    """`module:function`, from an Arrow array of texts to their languages' codes."""
    language_map: str | None = None
    """A JSON object from those codes to the lists' names."""
    on_damage: OnDamage = OnDamage.STOP
    on_bad_text: OnBadText = OnBadText.REPLACE
    rows_per_shard: int = 250_000
    output_format: OutputFormat = OutputFormat.PARQUET
    with_entries: bool = False
    """Add a column with the entries that each row matches."""

    def __post_init__(self) -> None:
        if (self.threshold is None) == (self.tail_share is None):
            raise InputError("give either a threshold (texts per entry, say 20000) or a tail share (say 0.06)")
        if self.threshold is not None and not self.threshold > 0:
            raise InputError(
                f"a threshold of {self.threshold} keeps nothing: give a positive number of texts per entry"
            )
        if self.threshold is not None and math.isinf(self.threshold):
            raise InputError(
                "an infinite threshold can't be written into the card's JSON: to keep every match, give one that no "
                "count reaches, say 1e18"
            )
        if self.tail_share is not None and not 0 <= self.tail_share <= 1:
            raise InputError(f"a tail share of {self.tail_share} is not between 0 and 1: give for example 0.06")
        if self.rows_per_shard < 1:
            raise InputError(f"{self.rows_per_shard} rows per shard are too few: give a positive number")
        if not 0 <= self.seed < 2**64:
            raise InputError(f"a seed of {self.seed} is out of range: give a number from 0 to 2^64 - 1")

    def as_json(self) -> dict[str, Any]:
        """All options as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Options:
        """The inverse of `as_json`."""
        return cls(
            **{
                **values,
                "inputs": tuple(values["inputs"]),
                "columns": Columns(**values["columns"]),
                "rule": Rule(values["rule"]),
                "sampling": Sampling(values["sampling"]),
                "deduplicate": Deduplicate(values["deduplicate"]),
                "on_damage": OnDamage(values["on_damage"]),
                "on_bad_text": OnBadText(values["on_bad_text"]),
                "output_format": OutputFormat(values["output_format"]),
            }
        )

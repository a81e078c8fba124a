"""One list of entries per language: which are there, and which a row belongs to."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from koine.curation.matching import Matcher
from koine.curation.metadata import Metadata
from koine.curation.spacing import Rule
from koine.errors import InputError

OTHER = "other"
"""The list for rows whose language has none of its own, if there is one by this name."""
NONE = -1
"""The language of a row that no list is for."""
_ENDINGS = (".json", ".parquet", ".txt")


def find_lists(entries: Path) -> dict[str, Path]:
    """The lists by language: all in a folder, or the one that is given, under the name "".

    Raises:
        InputError: there is none.
    """
    if not entries.is_dir():
        return {"": entries}
    found = {path.stem: path for path in sorted(entries.iterdir()) if path.suffix in _ENDINGS}
    if not found:
        raise InputError(f"the folder {entries} has no lists of entries: put one there per language, such as en.json")
    return found


def compile_lists(entries: Path, folder: Path, rule: Rule, *, repair: bool) -> dict[str, str]:
    """Compiles the lists that `find_lists` finds and saves them in `folder`, where they are not there already.

    Returns:
        Each language's fingerprint.
    """
    fingerprints = {}
    for language, path in find_lists(entries).items():
        matcher = Matcher.build(Metadata.load(path).entries, rule=rule, repair=repair)
        fingerprints[language] = matcher.fingerprint
        matcher.save(folder / _file_name(language))
    return fingerprints


@dataclass(frozen=True)
class Lists:
    """The compiled lists of a run, mapped when they are first needed."""

    folder: Path
    languages: tuple[str, ...]
    """In their order; a row's language is a place in here."""
    language_map: dict[str, str]
    """From the codes that rows have to the lists' names; codes that it lacks stand for themselves."""

    def matcher(self, language: int) -> Matcher:
        """The compiled list of a language."""
        if language not in self._matchers:
            self._matchers[language] = Matcher.load(self.folder / _file_name(self.languages[language]))
        return self._matchers[language]

    def languages_of(self, codes: pa.Array | None, rows: int) -> npt.NDArray[np.int16]:
        """[rows], which list each row belongs to; NONE if there is none.

        Args:
            codes: the rows' codes, or None, which is right only if there is a single list for all.
        """
        if self.languages == ("",):
            return np.zeros(rows, np.int16)
        if codes is None:
            raise InputError(
                "there is a list of entries per language, but the rows say no language: name its column (--language), "
                "or a function that finds it (--language-function)"
            )
        encoded = codes.cast(pa.string()).dictionary_encode()
        place = {language: number for number, language in enumerate(self.languages)}
        of_code = [place.get(self._name(code), place.get(OTHER, NONE)) for code in encoded.dictionary.to_pylist()]
        indices = pc.fill_null(encoded.indices, len(of_code)).to_numpy(zero_copy_only=False)
        return np.array([*of_code, place.get(OTHER, NONE)], np.int16)[indices]

    @cached_property
    def _matchers(self) -> dict[int, Matcher]:
        return {}

    def _name(self, code: str) -> str:
        name = self.language_map.get(code, code)
        return OTHER if name == "N/A" else name


def load_map(path: str | None) -> dict[str, str]:
    """Reads a language map: a JSON object of strings, such as the releases' table from language ids to Wikipedia codes.

    Raises:
        InputError: the file holds something else.
    """
    if path is None:
        return {}
    try:
        content = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the language map {path} can't be read: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise InputError(f"the language map {path} is no JSON object of strings: give for example {{'eng': 'en'}}")
    return content


def load_function(name: str | None) -> Callable[[pa.Array], pa.Array] | None:
    """Imports `module:function`, which takes an Arrow array of texts and gives an array, or list, of codes.

    Raises:
        InputError: there is no such function.
    """
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"there is no function {name!r} ({error}): write module:function") from error
    return lambda texts: pa.array(found(texts), pa.string())


def _file_name(language: str) -> str:
    return f"{language or 'all'}.index"

"""Entries from WordNet: the synsets' names, and other languages' lemmas.

The dictionary's files are read as wndb(5WN) documents them. NLTK's reader gives the same names (compared once, all
117,659), but reads only NLTK's own copy of the dictionary: it asks for files that distributions leave out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from koine.errors import InputError

_PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
_FIRST_WORD = 4
# Where an adjective must stand, as in "galore(ip)".
_SYNTACTIC_MARKER = re.compile(r"\((?:a|p|ip)\)$")


def synset_names(dictionary: Path) -> Iterator[str]:
    """The name of each synset, up to its first dot, with spaces for underscores: its head word in lower case.

    Args:
        dictionary: a folder with WordNet's files `data.*`; Debian's package wordnet-base puts one at
            /usr/share/wordnet.

    Raises:
        InputError: a file is missing, or is something else.
    """
    for part in _PARTS_OF_SPEECH:
        path = dictionary / f"data.{part}"
        try:
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    if not line.startswith(" "):  # the licence
                        word = _SYNTACTIC_MARKER.sub("", line.split(" ", _FIRST_WORD + 1)[_FIRST_WORD])
                        yield word.lower().split(".")[0].replace("_", " ")
        except (OSError, UnicodeDecodeError, IndexError) as error:
            raise InputError(f"{path} can't be read as a file of WordNet's dictionary: {error}") from error


def lemmas(path: Path) -> Iterator[str]:
    """The lemmas of an Open Multilingual WordNet file (`wn-data-fra.tab`): tab-separated synset, relation, text.

    Raises:
        InputError: the file can't be read.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                fields = line.rstrip("\n").split("\t")
                if not line.startswith("#") and len(fields) >= 3 and fields[1].endswith("lemma"):
                    yield fields[-1]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the WordNet file {path} can't be read: {error}") from error

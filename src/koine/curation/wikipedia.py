"""Running text of Wikipedia's articles, streamed from an XML dump."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from xml.etree.ElementTree import ParseError, iterparse

from koine.curation.compressed import BROKEN, open_compressed
from koine.errors import InputError

_REDIRECT = re.compile(r"\s*#\w+\s*:?\s*\[\[", re.IGNORECASE)
_NOTES = re.compile(
    r"<!--.*?-->|<(ref|math|gallery|timeline|syntaxhighlight|code|nowiki)\b[^>]*?(/>|>.*?</\1\s*>)",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(r"</?\w[^<>]*>")
_LINK = re.compile(r"\[\[([^\[\]|]*)(?:\|([^\[\]]*))?\]\]")
_OUTSIDE = re.compile(r"\[(?:https?:)?//\S+(?:\s+([^\[\]]*))?\]")
_INNERMOST = re.compile(r"\{\{[^{}]*\}\}|\{\|(?:(?!\{\||\|\}).)*\|\}", re.DOTALL)
_QUOTES = re.compile(r"'{2,}")
_LINE_START = re.compile(r"^[ \t]*(?:[*#:;]+|=+)[ \t]*|[ \t]*=+[ \t]*$", re.MULTILINE)
_DEEPEST = 20


def articles(path: Path) -> Iterator[str]:
    """The text of each article in a dump: `pages-articles.xml`, also .bz2; or the JSON lines that wikiextractor writes.

    Memory does not grow with the dump. Redirects and pages outside of the main name space are left out.

    Raises:
        InputError: the file is missing, cut short, or something else.
    """
    try:
        with open_compressed(path) as content:
            if path.suffixes[-2:-1] == [".xml"] or path.suffix == ".xml":
                yield from _pages(content)
            else:
                for line in content:
                    yield str(json.loads(line)["text"])
    except (*BROKEN, ParseError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} can't be read as Wikipedia's articles: {type(error).__name__}: {error}") from error


def plain_text(wikitext: str) -> str:
    """What a reader sees of an article's running text: no templates, tables, files, notes or markup.

    Templates are dropped, not expanded, as counts of words need no more.
    """
    text = _NOTES.sub(" ", wikitext)
    for _ in range(_DEEPEST):  # from the innermost outwards, since templates and tables nest
        text, found = _INNERMOST.subn(" ", text)
        if not found:
            break
    for _ in range(_DEEPEST):  # a caption has links of its own
        text, found = _LINK.subn(_link_text, text)
        if not found:
            break
    text = _OUTSIDE.sub(lambda link: link[1] or "", text)
    text = _LINE_START.sub("", _QUOTES.sub("", _TAG.sub("", text)))
    return html.unescape(text).strip()


def _pages(content: IO[bytes]) -> Iterator[str]:
    space, parents = "", []
    for event, element in iterparse(content, events=("start", "end")):
        if event == "start":
            parents.append(element)
            continue
        parents.pop()
        name = element.tag.rpartition("}")[2]
        if name == "ns":
            space = element.text or ""
        elif name == "text" and space == "0" and element.text and not _REDIRECT.match(element.text):
            yield plain_text(element.text)
        elif name == "page":
            space = ""
            # iterparse keeps what it has read unless it is taken away from its parent.
            parents[-1].clear()


def _link_text(link: re.Match[str]) -> str:
    target, shown = link[1], link[2]
    if shown is None:
        return "" if ":" in target else target
    # "[[File:a.jpg|thumb|a cat]]" is a picture, "[[:Category:Cats|cats]]" and "[[cat|cats]]" are links.
    if ":" in target.lstrip(":") and not target.startswith(":"):
        return ""
    return shown.rpartition("|")[2]

"""Images and their texts out of Common Crawl's WAT (metadata) and WARC (page) files, as MetaCLIP reads them.

The two differ in one detail that changes texts: in WAT a line break becomes a space, in WARC it disappears. Relative
addresses are resolved and kept (others drop them, and lose about two fifths of the images with them).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urljoin

from koine.curation.spacing import Rule
from koine.errors import InputError

ATTRIBUTES = ("alt", "title", "data-image-title")
"""The attributes of an image that hold a text, in the order in which WAT's are taken."""


@dataclass(frozen=True)
class Link:
    """One image of a page with its texts."""

    uid: str
    url: str
    texts: tuple[tuple[str, str], ...]
    """(attribute, text), each text stripped and not empty; at least one."""


def uid_of(url: str, rule: Rule = Rule.V1) -> str:
    """96 bits of SHA-224 of the address, in hexadecimal digits; v2 first removes spaces and tabs."""
    if rule is Rule.V2:
        url = url.replace("\t", "").replace(" ", "")
    return hashlib.sha224(url.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def read_wat(lines: Iterable[bytes], rule: Rule = Rule.V1) -> Iterator[Link]:
    """The images of a WAT file's lines, in their order.

    The first line after an address that begins with "{" is that page's; lines that are not UTF-8 or hold no JSON of the
    expected form are passed over, and so are links without an address or a text.
    """
    base: str | None = None
    for line in lines:
        if line.startswith(b"WARC-Target-URI: "):
            base = _decoded(line[len(b"WARC-Target-URI: ") :])
        elif line.startswith(b"{") and base is not None:
            yield from _wat_links(_decoded(line), base, rule)
            base = None


def read_html(
    html: str | bytes, base: str, rule: Rule = Rule.V1, accept: Callable[[str], bool] = lambda text: True
) -> Iterator[Link]:
    """The images of a page, in their order, with those texts that `accept` takes (the original takes English ones).

    Raises:
        InputError: selectolax is not installed.
    """
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError as error:
        raise InputError("pages can't be read without selectolax: pip install selectolax") from error

    for image in LexborHTMLParser(html).css("img"):
        attributes = {name: value or "" for name, value in image.attributes.items()}
        texts = []
        for name, value in attributes.items():
            if name in ATTRIBUTES:
                text = value.replace("\n", "").replace("\r", "").strip()
                if text and accept(text):
                    texts.append((name, text))
        if attributes.get("src") and texts:
            yield from _link(attributes["src"], base, tuple(texts), rule)


def read_warc(
    stream: IO[bytes], rule: Rule = Rule.V1, accept: Callable[[str], bool] = lambda text: True
) -> Iterator[Link]:
    """The images of the pages (HTML responses) in a WARC file.

    Args:
        stream: the file, unpacked (`compressed.open_compressed`), so that it shows if it is cut short.

    Raises:
        InputError: warcio or selectolax is not installed.
        OSError: the file is damaged.
    """
    try:
        from warcio.archiveiterator import ArchiveIterator
        from warcio.exceptions import ArchiveLoadFailed
    except ImportError as error:
        raise InputError("WARC files can't be read without warcio: pip install warcio") from error

    try:
        for record in ArchiveIterator(_Whole(stream)):
            if record.rec_type != "response" or record.http_headers is None:
                continue
            kind = record.http_headers.get_header("Content-Type", "")
            base = record.rec_headers.get_header("WARC-Target-URI")
            if base and "html" in kind.lower():
                yield from read_html(record.content_stream().read(), base, rule, accept)
    except ArchiveLoadFailed as error:
        raise OSError(str(error)[:120]) from error


class _Whole:
    """A stream that is an error where it ends within a gzip member; warcio takes that for the end of the file."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except EOFError as error:
            raise OSError("the file is cut short") from error


def without_repetitions(links: Iterable[Link]) -> Iterator[Link]:
    """Drops a text that the same image had before, and images left without one; remembers all that it saw."""
    seen: set[tuple[str, str]] = set()
    for link in links:
        texts = []
        for attribute, text in link.texts:
            if (link.uid, text) not in seen:
                seen.add((link.uid, text))
                texts.append((attribute, text))
        if texts:
            yield Link(link.uid, link.url, tuple(texts))


def _decoded(line: bytes) -> str:
    try:
        return line.decode().strip()
    except UnicodeDecodeError:
        return ""


def _wat_links(line: str, base: str, rule: Rule) -> Iterator[Link]:
    try:
        content: Any = json.loads(line)
        for level in ("Envelope", "Payload-Metadata", "HTTP-Response-Metadata", "HTML-Metadata", "Links"):
            content = content[level]
    except (ValueError, KeyError, TypeError):
        return
    for link in content if isinstance(content, list) else ():
        if not isinstance(link, dict) or not str(link.get("path") or "").startswith("IMG@/src"):
            continue
        texts = []
        for attribute in ATTRIBUTES:
            text = link.get(attribute)
            if isinstance(text, str) and (text := text.replace("\n", " ").replace("\r", " ").strip()):
                texts.append((attribute, text))
        if texts and isinstance(link.get("url"), str):
            yield from _link(link["url"], base, tuple(texts), rule)


def _link(url: str, base: str, texts: tuple[tuple[str, str], ...], rule: Rule) -> Iterator[Link]:
    try:
        whole = urljoin(base, url)
    except ValueError:  # "http://[bad" is no address
        return
    yield Link(uid_of(whole, rule), whole, texts)

"""Images and texts out of Common Crawl's files; the golden cases (tests/parity) hold the details."""

from __future__ import annotations

import io
import json

from koine.curation.common_crawl import read_html, read_warc, read_wat, without_repetitions


def wat(links: object) -> list[bytes]:
    page = {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": {"Links": links}}}}}
    return [b"WARC-Target-URI: http://a.com/b/c.html\r\n", b"\r\n", json.dumps(page).encode()]


def test_only_the_first_json_after_an_address_is_a_page() -> None:
    links = [{"path": "IMG@/src", "url": "d.jpg", "alt": "a cube"}]
    lines = [*wat(links), wat(links)[2], b"{broken", *wat(links)]
    assert [link.url for link in read_wat(lines)] == ["http://a.com/b/d.jpg"] * 2


def test_pages_of_an_unexpected_form_are_passed_over() -> None:
    for links in (None, {}, "text", [1, "x"], [{"path": 3, "url": "x", "alt": "y"}], [{"path": "IMG@/src", "url": 1}]):
        assert list(read_wat(wat(links))) == []
    assert list(read_wat([b"WARC-Target-URI: http://a.com\n", b"{}\n", b"WARC-Target-URI: \xff\n", b"{broken\n"])) == []


def test_line_breaks_become_spaces_in_metadata_and_vanish_in_pages() -> None:
    assert next(read_wat(wat([{"path": "IMG@/src", "url": "d", "alt": "a\nb"}]))).texts == (("alt", "a b"),)
    assert next(read_html('<img src="d" alt="a\nb">', "http://a.com")).texts == (("alt", "ab"),)


def test_pages_of_an_archive() -> None:
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    archive = io.BytesIO()
    writer = WARCWriter(archive, gzip=False)
    for kind, body in (
        ("text/html; charset=utf-8", b'<img src="1.jpg" alt="a cube">'),
        ("image/png", b"<img src=2 alt=x>"),
    ):
        headers = StatusAndHeaders("200 OK", [("Content-Type", kind)], protocol="HTTP/1.0")
        writer.write_record(
            writer.create_warc_record("http://a.com/x/", "response", payload=io.BytesIO(body), http_headers=headers)
        )
    archive.seek(0)
    assert [(link.url, link.texts) for link in read_warc(archive)] == [("http://a.com/x/1.jpg", (("alt", "a cube"),))]


def test_a_text_counts_once_per_image() -> None:
    page = '<img src="1" alt="a" title="a"><img src="1" alt="a"><img src="2" alt="a"><img src="1" alt="b">'
    found = [
        (link.url[-1], [text for _, text in link.texts]) for link in without_repetitions(read_html(page, "http://a"))
    ]
    assert found == [("1", ["a"]), ("2", ["a"]), ("1", ["b"])]

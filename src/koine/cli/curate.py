"""`koine curate`: from image-text pairs of the web to a balanced training set, as MetaCLIP does it."""

from __future__ import annotations

import os
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Curate image-text pairs as MetaCLIP does: match texts to a list of entries and balance by it.")

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...", help="Files, folders or patterns: .parquet, .jsonl(.gz), .tar, .wat.gz, .warc.gz."
    ),
]
Entries = Annotated[
    Path,
    typer.Option(metavar="LIST", help=".txt, .json or .parquet; or a folder with one list per language (en.json)."),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Where to write: a new folder, or the same run's to go on.")]
Text = Annotated[str, typer.Option(help="Column of the texts.")]
Url = Annotated[str, typer.Option(help="Column of the pictures' addresses.")]
Uid = Annotated[str, typer.Option(help="Column of the rows' ids; made from the address where there is none.")]
Rule = Annotated[str, typer.Option(help="Which release's matching: v1, or v2 (scripts without spaces).")]
Repair = Annotated[
    bool,
    typer.Option(
        "--repair", help='Match entries such as "U.S.", which can\'t match as published, as texts spell them.'
    ),
]
Threshold = Annotated[float | None, typer.Option(help="Texts to keep per entry, t; published: 20000 of 1.6 billion.")]
TailShare = Annotated[
    float | None, typer.Option(help="In place of t: the share of matches in the tail; published: 0.06.")
]
Seed = Annotated[int, typer.Option(help="Of the draws.")]
OnDamage = Annotated[str, typer.Option(help="When a file, or the rest of one, can't be read: stop, or skip and count.")]
OnBadText = Annotated[str, typer.Option(help="When a text is no valid Unicode: replace, skip or stop.")]


@app.command()
def run(
    inputs: Inputs,
    entries: Entries,
    out: Out,
    threshold: Threshold = None,
    tail_share: TailShare = None,
    text: Text = "text",
    url: Url = "url",
    uid: Uid = "uid",
    language: Annotated[str | None, typer.Option(help="Column of the languages, if there is a list for each.")] = None,
    language_function: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="Finds the languages of an Arrow array of texts.")
    ] = None,
    language_map: Annotated[
        str | None, typer.Option(metavar="FILE", help="A JSON object from languages to the names of lists.")
    ] = None,
    reference_language: Annotated[str, typer.Option(help="The language that --threshold is meant for.")] = "en",
    rule: Rule = "v1",
    repair: Repair = False,
    seed: Seed = 0,
    sampling: Annotated[
        str, typer.Option(help="offline: draw and write what is kept; online: write all matches with probabilities.")
    ] = "offline",
    deduplicate: Annotated[
        str, typer.Option(help="Rows are equal by pair (address and text), url, text or none.")
    ] = "pair",
    on_damage: OnDamage = "stop",
    on_bad_text: OnBadText = "replace",
    output_format: Annotated[str, typer.Option("--format", help="parquet or webdataset.")] = "parquet",
    with_entries: Annotated[bool, typer.Option("--with-entries", help="Add a column of each row's entries.")] = False,
    rows_per_shard: Annotated[
        int, typer.Option(help="Large parquet files are cut into pieces of about so many rows.")
    ] = 250_000,
    engine: Annotated[str, typer.Option(help="local (processes) or daft (one machine or a cluster).")] = "local",
    workers: Annotated[int, typer.Option(help="Processes; 0 for one per core.")] = 0,
    memory: Annotated[int, typer.Option(help="Megabytes for finding equal rows, over all workers.")] = 512,
    keep_work: Annotated[bool, typer.Option("--keep-work", help="Leave what each step found in DIR/work.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Do it all: match, drop equal rows, count, balance, write, and describe the result in a data card.

    A run that was stopped, even killed, goes on where it was when the same command is given again.
    """
    from koine.curation.engines import EngineName
    from koine.curation.options import Columns, Deduplicate, Options, OutputFormat, Sampling
    from koine.curation.options import OnBadText as BadText
    from koine.curation.options import OnDamage as Damage
    from koine.curation.pipeline import Execution, curate

    options = Options(
        inputs=tuple(inputs),
        entries=str(entries),
        columns=Columns(text=text, url=url, uid=uid, language=language),
        rule=_rule(rule),
        repair=repair,
        threshold=threshold,
        tail_share=tail_share,
        reference_language=reference_language,
        seed=seed,
        sampling=_one_of(Sampling, "sampling", sampling),
        deduplicate=_one_of(Deduplicate, "way to find equal rows", deduplicate),
        language_function=language_function,
        language_map=language_map,
        on_damage=_one_of(Damage, "answer to damage", on_damage),
        on_bad_text=_one_of(BadText, "answer to invalid texts", on_bad_text),
        rows_per_shard=rows_per_shard,
        output_format=_one_of(OutputFormat, "output format", output_format),
        with_entries=with_entries,
    )
    execution = Execution(
        engine=_one_of(EngineName, "engine", engine),
        workers=workers or os.cpu_count() or 1,
        memory=memory << 20,
        keep_work=keep_work,
        quiet=quiet,
    )
    manifest = curate(options, out, execution)
    _show(out / "card.json")
    print(manifest.parent)


@app.command()
def metadata(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The list to write: .txt, .json or .parquet.")],
    wordnet: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="WordNet's dictionary folder (v1), or an Open Multilingual WordNet .tab (v2)."
        ),
    ] = None,
    wikipedia: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A dump (.xml, .xml.bz2) or wikiextractor's lines; repeatable."),
    ] = None,
    page_views: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="An hourly dump of page views; repeatable.")
    ] = None,
    rule: Annotated[
        str, typer.Option(help="Whose recipe: v1 (English, 500,000 entries) or v2 (a list per language).")
    ] = "v1",
    language: Annotated[str, typer.Option(help="Wikipedia's code of the language (v2).")] = "en",
    scratch: Annotated[Path | None, typer.Option(metavar="DIR", help="Where counts that exceed memory go.")] = None,
) -> None:
    """Build a list of entries from WordNet and Wikipedia."""
    from koine.curation.sources import Sources, build
    from koine.errors import InputError

    if not (wordnet or wikipedia or page_views):
        raise InputError("there is nothing to build a list from: give --wordnet, --wikipedia or --page-views")
    sources = Sources(wordnet, tuple(wikipedia or ()), tuple(page_views or ()))
    listed = build(sources, rule=_rule(rule), language=language, scratch=scratch)
    listed.save(out)
    _report(listed, _rule(rule))
    print(out)


@app.command()
def match(
    inputs: Inputs,
    entries: Entries,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="A new folder for the rows that match, with their entry_ids.")
    ],
    text: Text = "text",
    url: Url = "url",
    uid: Uid = "uid",
    rule: Rule = "v1",
    repair: Repair = False,
    on_damage: OnDamage = "stop",
    on_bad_text: OnBadText = "replace",
) -> None:
    """The first step alone: find each row's entries."""
    from koine.curation.options import Columns
    from koine.curation.options import OnBadText as BadText
    from koine.curation.options import OnDamage as Damage
    from koine.curation.steps import match_files

    matcher = _matcher(entries, rule, repair)
    if len(matcher.dead) and not repair:
        _warn_of_dead(len(matcher.dead), matcher.entries.take(matcher.dead[:5]).to_pylist())
    tally = match_files(
        tuple(inputs),
        matcher,
        out,
        columns=Columns(text=text, url=url, uid=uid),
        on_damage=_one_of(Damage, "answer to damage", on_damage),
        on_bad_text=_one_of(BadText, "answer to invalid texts", on_bad_text),
    )
    print(f"{tally.written:,} of {tally.seen:,} rows match: {out}")


@app.command()
def count(
    matched: Annotated[Path, typer.Argument(metavar="DIR", help="What `koine curate match` wrote.")],
    entries: Entries,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The counts to write (.parquet).")],
    rule: Rule = "v1",
    repair: Repair = False,
) -> None:
    """The second step alone: how many rows match each entry."""
    from koine.curation.metadata import Metadata
    from koine.curation.steps import count_files, write_counts

    listed = Metadata.load(entries)
    counts = count_files(matched, listed, _matcher(entries, rule, repair))
    write_counts(out, listed, counts)
    order = counts.argsort()[::-1]
    print(f"{int(counts.sum()):,} matches; {int((counts == 0).sum()):,} of {len(counts):,} entries have none: {out}")
    for place in order[:10]:
        print(f"{int(counts[place]):12,}  {listed.entries[place]}")


@app.command()
def balance(
    matched: Annotated[Path, typer.Argument(metavar="DIR", help="What `koine curate match` wrote.")],
    entries: Entries,
    counts: Annotated[Path, typer.Option(metavar="FILE", help="What `koine curate count` wrote.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for the rows that are kept.")],
    threshold: Threshold = None,
    tail_share: TailShare = None,
    seed: Seed = 0,
    rule: Rule = "v1",
    repair: Repair = False,
) -> None:
    """The third step alone: draw which rows to keep."""
    from koine.curation.metadata import Metadata
    from koine.curation.steps import balance_files, choose_threshold, read_counts

    counted = read_counts(counts, Metadata.load(entries))
    chosen, share = choose_threshold(counted, threshold, tail_share)
    tally = balance_files(matched, _matcher(entries, rule, repair), counted, out, threshold=chosen, seed=seed)
    print(f"t = {chosen:,.6g}, tail share {share:.1%}; {tally.written:,} of {tally.seen:,} rows are kept: {out}")


@app.command()
def card(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `koine curate run` wrote.")],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the web page anew.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Show a run's data card."""
    from koine.curation.card import render
    from koine.files import write_atomically

    content = _read_card(folder / "card.json")
    if html is not None:
        with write_atomically(html) as path:
            path.write_text(render(content), "utf-8")
    if json_output:
        print((folder / "card.json").read_text("utf-8"))
    else:
        _show(folder / "card.json")


def _rule(name: str) -> Any:
    from koine.curation.spacing import Rule as Rules

    return _one_of(Rules, "rule", name)


def _one_of(kind: Any, what: str, value: str) -> Any:
    """The member of an enumeration by its value."""
    from koine.errors import InputError

    if value not in [member.value for member in kind]:
        raise InputError.unknown(what, value, [member.value for member in kind])
    return kind(value)


def _matcher(entries: Path, rule: str, repair: bool) -> Any:
    from koine.curation.matching import Matcher
    from koine.curation.metadata import Metadata

    return Matcher.build(Metadata.load(entries).entries, rule=_rule(rule), repair=repair)


def _report(listed: Any, rule: Any) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    report = listed.report(rule)
    console.print(
        f"{report['entries']:,} entries:", ", ".join(f"{name} {n:,}" for name, n in report["sources"].items())
    )
    if report["dead"]["count"]:
        _warn_of_dead(report["dead"]["count"], report["dead"]["examples"][:5])


def _warn_of_dead(count: int, examples: list[str]) -> None:
    """Says on stderr how many entries of a list no text can contain."""
    from rich.console import Console

    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(
        f"{count:,} entries can never match, because texts are spaced around punctuation and entries are not "
        f"({', '.join(map(repr, examples))}); --repair matches them nevertheless"
    )


def _read_card(path: Path) -> dict[str, Any]:
    import json

    from koine.errors import InputError

    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"there is no data card at {path} ({error}): name the folder of a run that has ended"
        ) from error
    return content


def _show(path: Path) -> None:
    """Prints the numbers of a card, and its head and tail side by side."""
    from rich.console import Console
    from rich.table import Table

    content = _read_card(path)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"read {content['rows']:,}, matched {content['matched']:,}, equal {content['equal']:,}, "
        f"kept {content['kept']:,} ({content['kept_share']:.1%})"
    )
    for reason, number in content["skipped"].items():
        console.print(f"left out: {number:,} {reason}")
    for listed in content["languages"]:
        name = f"{listed['language']}: " if listed["language"] else ""
        dead = "repaired" if listed["repaired"] else "dead"
        console.print(
            f"{name}{listed['matched_entries']:,} of {listed['entries']:,} entries match ({listed['dead']:,} {dead}); "
            f"t = {listed['threshold']:,.6g}, {listed['head_entries']:,} head entries with {listed['head_share']:.0%} "
            "of the matches"
        )
        table = Table("head", "before", "after", "tail", "before", "after", box=None)
        for head, tail in zip_longest(listed["head"], listed["tail"]):
            table.add_row(*_cells(head), *_cells(tail))
        console.print(table)


def _cells(one: dict[str, Any] | None) -> tuple[str, str, str]:
    return (one["entry"], f"{one['before']:,}", f"{one['after']:,}") if one else ("", "", "")

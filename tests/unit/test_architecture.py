"""The arrows of docs/architecture.md, read off the imports; and its links, and those of every other page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "koine"
SYSTEMS = sorted(folder.name for folder in (PACKAGE / "systems").iterdir() if (folder / "system.py").exists())
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *PACKAGE.rglob("*.md")])

GROUND = {"errors", "files", "images", "messages", "quiet_loading", "sentence", "settings", "signals", "sounds"}
USES = {
    **{module: GROUND for module in sorted(GROUND)},
    "registry": GROUND,
    "world": GROUND,
    "parts": GROUND,
    "training": GROUND,
    "curation": GROUND,
    "data": GROUND | {"world", "evaluation"},
    "evaluation": GROUND | {"world", "data"},
    "foundations": GROUND | {"world", "data", "evaluation", "training", "parts"},
}
"""What each room may use beside itself. Systems, report, cli and what else stands on top may use all of these."""


def imported(file: Path) -> Iterator[str]:
    """The modules of the package that a file imports anywhere in it, such as "world.scene"."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names = [f"{node.module}.{name.name}" for name in node.names]
        else:
            continue
        yield from (name.removeprefix("koine.") for name in names if name.startswith("koine."))


def files_of(room: str) -> list[Path]:
    folder = PACKAGE / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


@pytest.mark.parametrize("room", USES)
def test_arrows_run_downward_only(room):
    rooms = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    for file in files_of(room):
        used = {name.partition(".")[0] for name in imported(file)} & rooms
        assert used <= USES[room] | {room, "__init__"}, f"{file.relative_to(ROOT)} uses {sorted(used - USES[room])}"


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_knows_no_other_one_and_neither_cli_nor_report(system):
    for file in files_of(f"systems/{system}"):
        for name in imported(file):
            assert not name.startswith(("cli", "report", "studio")), f"{file.relative_to(ROOT)} uses {name}"
            assert not name.startswith("systems.") or name.split(".")[1] == system, f"{file.relative_to(ROOT)}: {name}"


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_in_use_knows_nothing_of_the_world(system):
    """Recipes and claims know it, and what only these use; the others and all that they lead to don't."""
    folder = PACKAGE / "systems" / system
    waiting = [folder / f"{room}.py" for room in ("config", "model", "processor", "system", "weights")]
    seen: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in seen or not file.exists():
            continue
        seen.add(file)
        known = [name for name in imported(file) if name.startswith(("world", "data.world_"))]
        assert not known, f"{file.relative_to(ROOT)} uses {known}"
        rooms = [name.split(".")[2] for name in imported(file) if name.startswith(f"systems.{system}.")]
        waiting += [folder / f"{room}.py" for room in rooms]
    assert len(seen) >= 3


@pytest.mark.parametrize("system", SYSTEMS)
def test_networks_see_no_sentences_and_processors_no_weights(system):
    folder = PACKAGE / "systems" / system
    assert not [name for name in imported(folder / "model.py") if name.startswith("sentence")]
    rooms = tuple(f"systems.{system}.{room}" for room in ("model", "system"))
    assert not [name for name in imported(folder / "processor.py") if name.startswith(rooms)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for address in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        path, _, heading = address.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), address
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, address


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page):
    """Paths in backticks that begin with a folder of the repository and have no place to be filled in."""
    for path in re.findall(r"`((?:src|tests|benchmarks|docs)/[\w./-]+)(?![\w./<*-])", page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


def test_the_table_of_rooms_is_complete():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("| room |")[2].partition("\n\n")[0]
    folders = [path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))]
    missing = [name for name in folders if f"`{name}/" not in table]
    assert folders and not missing
    assert not [name for name in GROUND | {"registry"} if f"`{name}.py`" not in table]

"""The README's commands and code do what they say."""

import re
import shlex
from pathlib import Path

import pytest

from koine.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Trainings and what needs files of others: here it is only checked that every option exists.
LONG = ("train", "claims", "convert", "curate")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Every `koine` command, in code blocks and in the running text."""
    lines = [line for block in blocks("sh") for line in block.splitlines()] + re.findall(r"`(koine [^`]+)`", README)
    words = [shlex.split(line, comments=True) for line in lines]
    return [command[1:] for command in words if command[:1] == ["koine"] and len(command) > 1]


def test_the_commands_work_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in commands():
        print(*command)  # shown by pytest if it fails
        if command[0] in LONG or "--data" in command:
            assert main([command[0], "--help"]) == 0
            shown = capsys.readouterr().out
            assert all(word in shown for word in command if word.startswith("--")), command
        else:
            assert main(command) == 0, command
            assert capsys.readouterr().out.strip(), command
            if "--out" in command:
                assert (tmp_path / command[command.index("--out") + 1]).exists(), command


@pytest.mark.parametrize("code", blocks("python"))
def test_the_code_runs(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [scene] = [command for command in commands() if command[:2] == ["world", "show"]]
    assert main(scene) == 0
    capsys.readouterr()
    exec(compile(code, "README.md", "exec"), {})
    text, *found = capsys.readouterr().out.splitlines()
    assert text.strip() and found


def test_make_has_the_targets_that_are_named():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("address", re.findall(r"\]\((?!https?:)([^)]+)\)", README))
def test_every_file_that_is_linked_exists(address):
    assert (ROOT / address).exists()

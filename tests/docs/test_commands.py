"""Every command that a page names exists, with its arguments: `ddr …`, `make …` and others, in docs/ and beside it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddr.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "certs").glob("*.md")])
FENCED = re.compile(r"^```\w*(?: \w+)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:^|[|;&(] *|/bin/)ddr((?: +[^\s`|;&>#)]+)+)")
MAKE = re.compile(r"^make ([a-z][a-z-]+)")


def code(page: Path) -> Iterator[str]:
    """Pieces of code of a page: fenced, indented, between backticks; lines that go on are joined."""
    text = page.read_text().replace("\\\n", " ")
    yield from (line for block in FENCED.findall(text) for line in block.splitlines())
    text = FENCED.sub("", text)
    yield from re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    yield from (piece.replace("\n", " ") for piece in re.findall(r"`([^`]+)`", text))


HELP: dict[tuple[str, ...], str] = {}  # what was asked before: pages name the same commands over and over


def helped(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `--help` says of a command; empty when there is none of that name."""
    if tuple(words) not in HELP:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--help"])
        told = capsys.readouterr().out
        HELP[tuple(words)] = told if ended.value.code == 0 else ""
    return HELP[tuple(words)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if page.name == "CHANGELOG.md":
        return  # history
    for piece in code(page):
        for found in COMMAND.findall(piece):
            check(found.split(), capsys)


def check(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The subcommands and options of one command line exist."""
    if "--recorder" in words:  # which may stand anywhere
        at = words.index("--recorder")
        words = words[:at] + words[at + 2 :]
    command: list[str] = []
    told = helped([], capsys)
    while re.search(r"^usage:.*(?:\n .*)* \.\.\.$", told, re.MULTILINE) and len(command) < len(words):
        word = words[len(command)]
        if not re.fullmatch(r"[a-z][a-z-]+", word):
            break
        command.append(word)
        assert re.search(rf"^    {word}\b", told, re.MULTILINE), f"no command: ddr {' '.join(words)}"
        told = helped(command, capsys)
    for option in (word.partition("=")[0] for word in words if word.startswith("--") and word != "--help"):
        assert re.search(rf"{option}\b", told), f"ddr {' '.join(words)}: no option {option}"


@pytest.mark.parametrize("line", ["patient frobnicate", "nonsense", "patient find --colour", "keys rotate --force"])
def test_what_does_not_exist_is_found(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError, match=r"no command|no option"):
        check(line.split(), capsys)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_takes_a_setting_from_a_shell(page: Path) -> None:
    """Settings stand in files; a shell of an operator's has none, unless the page has exported it."""
    text = page.read_text()
    taken = {name for piece in code(page) for name in re.findall(r"\$\{?(DDR_[A-Z_]+)\b(?!:-)", piece)}
    assert [name for name in taken if f"export {name}=" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for piece in code(page) for name in MAKE.findall(piece)}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_project_is_installed_from_files(page: Path) -> None:
    """A package index has nothing of ours under this name; what it has would be installed in its place."""
    installs = [words.split() for piece in code(page) for words in re.findall(r"pip install (.*)", piece)]
    assert [
        one for one in installs if any(re.match(r"['\"]?ddr\b(?!-)", word) for word in one) and "--no-index" not in one
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_chosen_by_a_word_exist(page: Path) -> None:
    for piece in code(page):
        for file, word in re.findall(r"pytest (tests/\S+\.py) -k (\w+)", piece):
            assert re.search(rf"^(async )?def test_\w*{word}", (ROOT / file).read_text(), re.MULTILINE), piece


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files and headings that a page links to exist."""
    for target, heading in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        file = (page.parent / target) if target else page
        assert file.exists(), f"{page.name}: {target}"
        if heading and file.suffix == ".md":
            assert heading in anchors(file), f"{page.name}: {target}#{heading}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_source_archive_has_what_its_pages_link_to(page: Path) -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = told["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    has = {"README.md", "pyproject.toml", *told["project"]["license-files"], *(name.strip("/") for name in included)}
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text())
    wanted = {(page.parent / target).resolve().relative_to(ROOT).parts[0] for target in links}
    assert {page.relative_to(ROOT).parts[0], "Makefile", *wanted} <= has


def test_every_page_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in readme] == []


def anchors(file: Path) -> set[str]:
    """The headings of a page as links name them; a comment in a piece of code is none."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", file.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

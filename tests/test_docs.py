"""The documentation against the program: links, commands, options, variables, exit codes, tables."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from r1.app import app
from r1.chat.slash_commands import COMMANDS
from r1.serve.web.access import API_KEY
from r1.settings import NAMES
from r1_quantize.errors import ExitStatus
from tests.conftest import Run
from tests.fakes.paths import ROOT
from tests.test_house import FLOORS, floor, sources

README = ROOT / "README.md"
SCRIPTING = ROOT / "docs" / "scripting.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "scripts" / "golden" / "README.md",
    ROOT / "tests" / "data" / "README.md",
    ROOT / "quantize" / "r1_quantize" / "store" / "tiny" / "README.md",
]

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)(?: {4}.*\n|\n(?= {4}))+)")
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_COMMAND = re.compile(r"(?<![\w./~-])r1((?: +[^#|<>;&()\n]+)?)")
_MODULE = re.compile(r"`(r1(?:_quantize)?(?:\.[a-z_]+)+)`")
_PATH = re.compile(r"(?<![\w./-])(?:cli|docs|quantize|scripts|tests)/[\w./-]+")
_VARIABLE = re.compile(r"\bR1_[A-Z_]+\b")

OF_OTHER_PROGRAMS = {
    "--no-cache-dir",
    "--extra-index-url",
    "--no-deps",
    "--force-reinstall",
    "--install-completion",
    "--",
}
"""Options that the pages name and that are not in r1's own help; Typer itself adds the last but one."""

FREE = {"tensors", "vocabulary", "special_tokens", "made_with", "memory_bytes"}
"""Objects whose keys are names of tensors, tokens, packages or context lengths."""


def code_of(text: str) -> Iterator[str]:
    """Every line of a code block, and every code span."""
    blocks = [*_FENCE.findall(text), *_INDENTED.findall(text)]
    for block in blocks:
        yield from block.splitlines()
        text = text.replace(block, "\n")
    for span in _SPAN.findall(text):
        yield " ".join(span.split())


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def options_of(command: typer.core.TyperCommand) -> set[str]:
    names = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    return {name for name in names if name.startswith("-")} | {"-h", "--help"}


def all_commands() -> dict[tuple[str, ...], set[str]]:
    """("history", "list") → its options."""
    found: dict[tuple[str, ...], set[str]] = {}

    def visit(path: tuple[str, ...], command: object) -> None:
        found[path] = options_of(command)  # type: ignore[arg-type]
        for name, child in getattr(command, "commands", {}).items():
            visit((*path, name), child)

    visit((), typer.main.get_command(app))
    return found


KNOWN = all_commands()
EVERY_OPTION = set().union(*KNOWN.values()) | OF_OTHER_PROGRAMS


def split(words: str) -> list[str]:
    """As a shell would, as far as quotes close."""
    try:
        return shlex.split(words)
    except ValueError:
        return words.split()


def unknown_in(words: list[str]) -> list[str]:
    """What of an `r1 …` line the command line does not know."""
    path: tuple[str, ...] = ()
    while words and (*path, words[0]) in KNOWN:
        path = (*path, words.pop(0))
    if not path and words and re.fullmatch(r"[a-z]+", words[0]):
        return [words[0]]
    options = [word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)]
    known = KNOWN[path] if path else KNOWN[()] | KNOWN["run",] | KNOWN["chat",]  # `r1 "A question"`, `r1 --continue`
    return [option for option in options if option not in known | OF_OTHER_PROGRAMS]


def is_a_command_line(code: str) -> bool:
    """Not a table row or a file name that merely begins with r1."""
    return not code.lstrip().startswith(("r1:", "r1  "))


def keys_of(value: object) -> set[str]:
    """Every key of a JSON value, except under keys whose content depends on the model or the machine."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if not isinstance(value, dict):
        return set()
    inner = (keys_of(child) for key, child in value.items() if key not in FREE)
    return set(value).union(*inner)


def transcripts(page: Path) -> list[tuple[str, str]]:
    """Every `$ r1 run -m tiny …` of a page, and the lines below it."""
    found = re.findall(
        r"^ {4}\$ (r1 run -m tiny .*)\n((?: {4}.*\n|\n(?= {4}))+)", page.read_text(encoding="utf-8"), re.M
    )
    return [(command, textwrap.dedent(printed)) for command, printed in found]


def table_under(text: str, heading: str) -> list[str]:
    """The first cells of the first table after a heading, without their header."""
    below = text[text.index(heading) :]
    table = below[below.index("\n|") + 1 :].partition("\n\n")[0]
    return [row.split(" | ")[0].removeprefix("| ") for row in table.splitlines()[2:]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestEveryPage:
    """Nothing on it leads nowhere."""

    def test_relative_links_and_anchors_exist(self, page: Path) -> None:
        for link in _LINK.findall(page.read_text(encoding="utf-8")):
            if "://" in link:
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{link} does not exist"
            if anchor:
                headings = _HEADING.findall(target.read_text(encoding="utf-8"))
                assert anchor in map(slug, headings), f"{link}: no such heading"

    def test_commands_and_options_exist(self, page: Path) -> None:
        for code in filter(is_a_command_line, code_of(page.read_text(encoding="utf-8"))):
            for words in _COMMAND.findall(code):
                assert not unknown_in(split(words)), code
            if code.startswith("--"):
                assert split(code)[0].partition("=")[0] in EVERY_OPTION, code

    def test_modules_exist(self, page: Path) -> None:
        named = set(_MODULE.findall(page.read_text(encoding="utf-8")))
        assert named <= sources().keys()

    def test_paths_exist(self, page: Path) -> None:
        for path in _PATH.findall(page.read_text(encoding="utf-8")):
            assert (ROOT / path.rstrip(".")).exists(), path

    def test_variables_exist(self, page: Path) -> None:
        settings = {f"R1_{name.upper()}" for name in NAMES}
        known = settings | {"R1_HOME", "R1_DEBUG", API_KEY}
        assert set(_VARIABLE.findall(page.read_text(encoding="utf-8"))) <= known


class TestTheCheckItself:
    """Reads a line as the command line would."""

    @pytest.mark.parametrize(
        ("line", "unknown"),
        [
            ("run -m tiny --json hello", []),
            ("run --jsn hello", ["--jsn"]),
            ("history search --thinking", ["--thinking"]),
            ("history show 3 --thinking", []),
            ("bnch -m tiny", ["bnch"]),
            ('run "an --unclosed quote', ["--unclosed"]),
        ],
    )
    def test_finds_what_does_not_exist(self, line: str, unknown: list[str]) -> None:
        assert unknown_in(split(line)) == unknown

    def test_reads_blocks_and_spans(self) -> None:
        text = "Use `r1 list`:\n\n    $ r1 run -q\n    42\n\n```\nr1 rm x\n```\n\n- a point\n    goes on\n"
        assert [*code_of(text)] == ["```", "r1 rm x", "```", "    $ r1 run -q", "    42", "r1 list"]

    @pytest.mark.parametrize("pattern", [_LINK, _PATH, _MODULE, _VARIABLE], ids=lambda pattern: pattern.pattern)
    def test_finds_what_it_looks_for(self, pattern: re.Pattern[str]) -> None:
        assert any(pattern.search(page.read_text(encoding="utf-8")) for page in PAGES)

    def test_makes_anchors_as_github_does(self) -> None:
        assert slug("`--json` and `--jsonl`, etc.") == "--json-and---jsonl-etc"


class TestReadme:
    """One page that is read to its end."""

    def test_has_at_most_150_lines(self) -> None:
        assert len(README.read_text(encoding="utf-8").splitlines()) <= 150

    @pytest.mark.parametrize(("command", "printed"), transcripts(README), ids=lambda text: text)
    def test_shows_what_the_built_in_model_says(self, r1: Run, command: str, printed: str) -> None:
        """stderr, the gap, stdout and, after `; echo $?`, the exit code."""
        line, _, asks_for_status = command.partition("; ")
        done = r1(*split(line)[1:], "--no-stdin", R1_THINKING="show", R1_TEMP="0")
        lines = [*done.stderr.decode().split("\n"), *done.stdout.decode().split("\n")]
        status = [str(done.returncode)] if asks_for_status else []
        assert [*filter(None, lines), *status] == [*filter(None, printed.split("\n"))]

    def test_links_every_page_of_docs(self) -> None:
        linked = set(_LINK.findall(README.read_text(encoding="utf-8")))
        assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked


class TestScripting:
    """The contract is complete."""

    text = SCRIPTING.read_text(encoding="utf-8")

    def test_lists_every_exit_code(self) -> None:
        assert [int(code) for code in table_under(self.text, "## Exit codes")] == [int(code) for code in ExitStatus]

    def test_lists_every_setting(self) -> None:
        keys = set(NAMES)
        section = self.text[self.text.index("## Configuration") :]
        assert keys <= set(_SPAN.findall(section))
        assert {f"R1_{key.upper()}" for key in keys} <= set(_VARIABLE.findall(section))

    @pytest.mark.parametrize(
        "arguments",
        [
            ["run", "-m", "tiny", "--no-stdin", "--json", "--max-tokens", "8", "hi"],
            ["list", "--json"],
            ["show", "tiny", "--json"],
            ["verify", "tiny", "--json"],
            ["quantize", "tiny", "--list-types", "--json"],
            ["doctor", "--json"],
            ["bench", "-m", "tiny", "--json", "-p", "8", "-n", "2", "-r", "1", "--depths", "0"],
        ],
        ids=" ".join,
    )
    def test_lists_every_key_of_json(self, r1: Run, arguments: list[str]) -> None:
        printed = json.loads(r1(*arguments).stdout)
        listed = {word for code in code_of(self.text) for word in re.findall(r"\w+", code)}
        assert keys_of(printed) <= listed

    def test_names_every_command_that_speaks_json(self) -> None:
        named = {span.removeprefix("r1 ") for span in _SPAN.findall(self.text)}
        speaks = {" ".join(path) for path, options in KNOWN.items() if "--json" in options}
        assert speaks - {"run", "history list", "history show"} <= named


class TestChat:
    """The page about the chat says what /help says."""

    def test_lists_every_slash_command(self) -> None:
        text = (ROOT / "docs" / "chat.md").read_text(encoding="utf-8").replace("\\|", "|")
        rows = [tuple(row.strip("| ").split(" | ")) for row in text.splitlines() if row.startswith("| `/")]
        assert rows == [(f"`{command.usage}`", command.help) for command in COMMANDS]


class TestArchitecture:
    """The table of folders is the tree."""

    def test_lists_every_package(self) -> None:
        folders_listed = table_under((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), "## Folders")
        roots = (ROOT / "cli", ROOT / "quantize")
        folders = {file.parent.relative_to(ROOT) for root in roots for file in root.rglob("__init__.py")}
        assert {folder.strip("`") for folder in folders_listed} == {folder.as_posix() for folder in folders}

    def test_shows_the_direction_of_imports(self) -> None:
        text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
        (drawn,) = re.findall(r"^ +(app → .*)$", text, re.MULTILINE)
        names = [name if "r1_" in name else f"r1.{name}" for step in drawn.split(" → ") for name in step.split(", ")]
        floors = [floor(name) for name in names]
        assert set(names) <= {name for names in FLOORS for name in names}
        assert floors == sorted(floors)


class TestContributing:
    """The tables of dependencies are those of pyproject.toml."""

    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    def named(self, heading: str) -> set[str]:
        return {name for row in table_under(self.text, heading) for name in row.split(", ")}

    def required(self, lines: list[str]) -> set[str]:
        return {re.match(r"[\w-]+", line)[0] for line in lines}  # type: ignore[index]

    def test_lists_every_dependency(self) -> None:
        assert self.named("## Dependencies") == self.required(self.project["project"]["dependencies"])

    def test_lists_every_test_tool(self) -> None:
        assert self.named("For tests and checks only") == self.required(self.project["dependency-groups"]["test"])

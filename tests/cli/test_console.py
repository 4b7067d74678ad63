"""`r1.console`: what a pipe gets and what a terminal gets."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path

import pytest

from r1.console import Column, abandon, printable
from r1_quantize.errors import UsageError
from tests.fakes.consoles import console, written

HOSTILE = "a\x1b[31mred\x1b]0;title\x07 \x9b2J\rb\x08\x7f\n\tc"


class TestStdout:
    """A pipe gets the text unchanged, a terminal gets it without control codes."""

    def test_a_pipe_gets_every_character(self) -> None:
        made = console()
        made.out(HOSTILE)
        assert written(made.stdout) == HOSTILE

    def test_a_terminal_gets_no_control_characters(self) -> None:
        made = console(stdout_is_terminal=True)
        made.out(HOSTILE)
        assert written(made.stdout) == "a[31mred]0;title 2Jb\n\tc"

    def test_other_scripts_are_printable(self) -> None:
        assert printable("naïve 日本語 😀 עברית\n") == "naïve 日本語 😀 עברית\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_abandoning_a_stream_needs_no_free_descriptor(tmp_path: Path) -> None:
    """It happens at the end of a command, where an error would hide the one that ended it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (tmp_path / "out").open("w", encoding="utf-8") as stream:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            abandon(stream)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="consoles of Windows have streams of their own")
def test_a_long_line_on_a_full_stderr_is_complete_where_libraries_are_kept_quiet() -> None:
    """The pipe does not block: a plain stream would lose what does not fit."""
    line = "x" * 300_000
    program = (
        "import os, sys; os.set_blocking(2, False)\n"
        "from r1 import streams; streams.adopt()\n"
        "from r1.console import Console, keep_libraries_quiet; keep_libraries_quiet()\n"
        "os.write(2, b'from a library')\n"
        "Console.of_process().warn('x' * 300_000)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        select.select([process.stderr], [], [], 300)  # one write has filled the pipe
        _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors.decode()) == (0, f"r1: {line}\n")


class TestStderr:
    """Notes are for terminals, warnings for scripts too."""

    def test_only_a_terminal_gets_a_note(self) -> None:
        script, person = console(), console(stderr_is_terminal=True, environ={"TERM": "xterm"})
        for made in (script, person):
            made.note("hello")
        assert written(script.stderr) == ""
        assert written(person.stderr) == "\x1b[2mr1: hello\n\x1b[22m"

    def test_a_quiet_console_prints_neither_notes_nor_status_lines_but_warnings(self) -> None:
        made = console(stderr_is_terminal=True, environ={"TERM": "xterm"})
        made.quiet = True
        made.note("hello")
        made.rewrite("loading")
        made.warn("bad")
        assert written(made.stderr) == "r1: bad\n"

    def test_a_warning_is_one_line(self) -> None:
        made = console()
        made.warn("first\nsecond")
        assert written(made.stderr) == "r1: first second\n"

    @pytest.mark.parametrize("environ", [{"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}])
    def test_dim_text_is_plain_without_style(self, environ: dict[str, str]) -> None:
        made = console(stderr_is_terminal=True, environ=environ)
        made.err("trace", dim=True)
        assert written(made.stderr) == "trace"

    def test_style_never_reaches_a_pipe(self) -> None:
        made = console(environ={"TERM": "xterm"})
        made.err("trace", dim=True)
        assert written(made.stderr) == "trace"


class TestJson:
    """JSON that every parser accepts."""

    def test_is_indented_and_keeps_other_scripts_readable(self) -> None:
        made = console()
        made.json({"name": "日本語"})
        assert written(made.stdout) == '{\n  "name": "日本語"\n}\n'

    def test_can_be_one_line(self) -> None:
        made = console()
        made.json({"text": "a\nb", "numbers": [1, 2]}, one_line=True)
        assert written(made.stdout).count("\n") == 1
        assert json.loads(written(made.stdout)) == {"text": "a\nb", "numbers": [1, 2]}

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_refuses_numbers_that_json_does_not_have(self, value: float) -> None:
        made = console()
        with pytest.raises(ValueError, match="JSON compliant"):
            made.json([value])
        assert written(made.stdout) == ""


class TestTable:
    """Aligned for people, tab-separated for scripts."""

    HEADER = (Column("name"), Column("size", number=True))
    ROWS = (("qwen-7b", 4_683_073_184), ("tiny", 12))

    def test_a_pipe_gets_rows_with_tabs_and_no_header(self) -> None:
        made = console()
        made.table(self.HEADER, self.ROWS)
        assert written(made.stdout) == "qwen-7b\t4683073184\ntiny\t12\n"

    def test_a_terminal_gets_aligned_columns_under_a_header(self) -> None:
        made = console(stdout_is_terminal=True)
        made.table(self.HEADER, self.ROWS)
        lines = [line.rstrip() for line in written(made.stdout).splitlines()]
        assert lines == ["name           size", "qwen-7b  4683073184", "tiny             12"]

    def test_a_terminal_can_get_other_rows(self) -> None:
        script, person = console(), console(stdout_is_terminal=True)
        for made in (script, person):
            made.table(self.HEADER, self.ROWS, shown=[("qwen-7b", "4.68 GB")])
        assert "4.68 GB" not in written(script.stdout)
        assert [line.split() for line in written(person.stdout).splitlines()] == [
            ["name", "size"],
            ["qwen-7b", "4.68", "GB"],
        ]

    @pytest.mark.parametrize("terminal", [True, False])
    def test_without_rows_nothing_is_printed(self, terminal: bool) -> None:
        made = console(stdout_is_terminal=terminal)
        made.table(self.HEADER, [])
        assert written(made.stdout) == ""

    def test_markup_and_control_codes_are_shown_literally(self) -> None:
        made = console(stdout_is_terminal=True)
        made.table((Column("name"),), [("[bold]x[/bold]\x1b[2J",)])
        assert "[bold]x[/bold][2J" in written(made.stdout)
        assert "\x1b" not in written(made.stdout)

    def test_a_long_word_is_wrapped_rather_than_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "40")
        made = console(stdout_is_terminal=True)
        made.table(self.HEADER, [("n" * 50, 12_345)])
        _, *lines = written(made.stdout).splitlines()
        assert sum(line.count("n") for line in lines) == 50
        assert lines[0].rstrip().endswith("12345")


class TestConfirm:
    """Only a person at a terminal can confirm."""

    def test_a_long_question_is_broken_between_words(self) -> None:
        made = console(stderr_is_terminal=True, environ={"COLUMNS": "40"})
        made.confirm("Remove the KV caches of chats and prompts? It frees 3 kB.")
        assert written(made.stderr) == "Remove the KV caches of chats and\nprompts? It frees 3 kB. [y/N] "

    @pytest.mark.parametrize(
        ("answer", "confirmed"), [(b"y\n", True), (b" YES \n", True), (b"\n", False), (b"", False), (b"yep\n", False)]
    )
    def test_only_y_and_yes_confirm(self, answer: bytes, confirmed: bool) -> None:
        made = console(answer, stderr_is_terminal=True)
        made.stdin_is_terminal = True
        assert made.confirm("Remove it?") is confirmed
        assert written(made.stderr) == "Remove it? [y/N] "

    @pytest.mark.parametrize(("stdin", "stderr"), [(True, False), (False, True)])
    def test_without_a_terminal_it_is_an_error_that_names_the_option(self, stdin: bool, stderr: bool) -> None:
        made = console(b"y\n", stderr_is_terminal=stderr)
        made.stdin_is_terminal = stdin
        with pytest.raises(UsageError, match=r"not a terminal; pass -y to confirm: Remove it\?"):
            made.confirm("Remove it?")

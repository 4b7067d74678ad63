"""Where a prompt comes from, in a real shell: loops that read stdin, endless input, little memory."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.conftest import R1

pytestmark = pytest.mark.skipif(os.name == "nt", reason="these are lines for a POSIX shell")

ANSWERS = [rf"\({sum_} = \boxed{{{result}}}\)" for sum_, result in (("17 + 25", 42), ("9 + 8", 17), ("50 + 5", 55))]


@pytest.fixture
def environ(environ: dict[str, str], own_home: Path) -> dict[str, str]:
    """With a home of its own, because some of these lines write chats."""
    return {**environ, "R1_HOME": str(own_home)}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    file = tmp_path / "questions"
    file.write_text("What is 17 + 25?\nWhat is 9 + 8?\nWhat is 50 + 5?\n", encoding="utf-8")
    return file


def shell(line: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a line in which R1 stands for the program."""
    script = line.replace("R1", shlex.join(R1))
    return subprocess.run(
        ["sh", "-c", script],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


class TestLoops:
    """`while read` gives the program the file that it reads itself."""

    def test_the_rest_of_the_file_is_read_with_a_warning(self, environ: dict[str, str], questions: Path) -> None:
        done = shell(f'while read -r q; do R1 run --max-tokens 1 "$q"; done < {questions}', environ)
        warnings = [line for line in done.stderr.splitlines() if "stdin" in line]
        assert warnings == [
            "r1: read 31 bytes of stdin after the words, the rest of a file that another program had begun to read; "
            "in a loop, use --no-stdin or < /dev/null"
        ]

    @pytest.mark.parametrize("remedy", ["--no-stdin", "< /dev/null"])
    def test_what_the_warning_advises_answers_every_line(
        self, environ: dict[str, str], questions: Path, remedy: str
    ) -> None:
        done = shell(f'while read -r q; do R1 run --temp 0 "$q" {remedy}; done < {questions}', environ)
        assert (done.stdout.splitlines(), done.stderr) == (ANSWERS, "")


class TestPipe:
    """A pipe into the program without a command is answered as by `run`."""

    def test_is_answered_and_not_kept_as_a_chat(self, environ: dict[str, str]) -> None:
        done = shell("echo 'What is 17 + 25?' | R1 --temp 0; echo $?; R1 history --json", environ)
        assert done.stdout == f"{ANSWERS[0]}\n0\n[]\n"


class TestEndlessInput:
    """Refused while it is read: one line with both numbers, and bounded memory."""

    @pytest.mark.parametrize(
        "line", ["yes | R1 run", "yes | R1 run 'Sum up:'", "yes | R1", "yes | R1 chat", "R1 run -f /dev/zero hi"]
    )
    def test_is_a_usage_error(self, environ: dict[str, str], line: str) -> None:
        done = shell(f"ulimit -v 1000000 2> /dev/null; {line}", environ)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "the prompt has more than 16.4 kB, and 2,048 tokens of context hold at most 16.4 kB" in done.stderr

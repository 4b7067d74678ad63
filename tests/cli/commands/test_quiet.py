"""-q: no notes and no progress; results on stdout, warnings and errors stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.chats import write_three_chats
from tests.fakes.in_process import run_here

QUIET = {
    "run": "run -m tiny --no-stdin --thinking hide 17+25?",
    "run without a model": "run --no-stdin --thinking hide 17+25?",
    "run json": "run -m tiny --no-stdin --json 17+25?",
    "list": "list",
    "show": "show tiny",
    "verify": "verify tiny",
    "bench": "bench tiny -p 8 -n 2 -r 1 -d 0",
    "quantize": "quantize tiny -t Q4_K_M",
    "rm": "rm -y tiny",
    "history": "history",
    "search": "history search wood",
    "search for nothing": "history search nosuchword",
    "show a chat": "history show 1",
    "export": "history export 1 {folder}/a.md",
    "delete": "history delete -y 1",
}


@pytest.fixture
def own_environ(own_home: Path, environ: dict[str, str]) -> dict[str, str]:
    write_three_chats(own_home / "history.db")
    return {**environ, "R1_HOME": str(own_home)}


@pytest.mark.parametrize("name", QUIET)
def test_a_terminal_gets_the_result_and_nothing_on_stderr(
    own_environ: dict[str, str], tmp_path: Path, name: str
) -> None:
    command = QUIET[name].format(folder=tmp_path).split()
    done = run_here(*command, "-q", environ=own_environ, stderr_is_terminal=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert bool(done.stdout) is (name not in {"search for nothing", "export"})


@pytest.mark.parametrize("name", ["run without a model", "search for nothing", "export", "quantize"])
def test_without_it_there_are_notes_or_progress(own_environ: dict[str, str], tmp_path: Path, name: str) -> None:
    command = QUIET[name].format(folder=tmp_path).split()
    assert run_here(*command, environ=own_environ, stderr_is_terminal=True).stderr


@pytest.mark.parametrize(
    ("command", "status", "line"),
    [
        ("run -q -m nosuch --no-stdin x", 4, b"r1: no model is called"),
        ("run -q -m tiny --no-stdin --max-tokens 2 x", 3, b"--max-tokens"),
        ("list -q --nosuch", 2, b"r1: no such option: --nosuch"),
        ("history -q show 99", 4, b"r1: no chat 99"),
    ],
)
def test_warnings_and_errors_stay(own_environ: dict[str, str], command: str, status: int, line: bytes) -> None:
    done = run_here(*command.split(), environ=own_environ, stderr_is_terminal=True)
    assert done.returncode == status
    assert line in done.stderr

"""`r1 bench` in a pipe, in a terminal, and interrupted. No test asserts a speed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest

from tests.conftest import R1, Run
from tests.e2e.terminal import Terminal, without_style

BRIEF = ("bench", "-m", "tiny", "-p", "16", "-n", "4", "-r", "2", "--depths", "0,64")

PARALLEL = ("bench", "-m", "tiny", "-p", "16", "-n", "4", "-r", "2", "--parallel", "1,16")


class TestLines:
    """Lines to read, and to grep."""

    def test_a_row_for_each_test_and_depth(self, r1: Run) -> None:
        done = r1(*BRIEF)
        assert (done.returncode, done.stderr) == (0, b"")
        text = done.stdout.decode()
        found = re.findall(r"^(prefill|decode) +(\d+) +[\d.]+ ± [\d.]+$", text, re.MULTILINE)
        assert found == [("prefill", "0"), ("decode", "0"), ("prefill", "64"), ("decode", "64")]
        assert re.search(r"^memory +[\d.]+ MB at peak$", text, re.MULTILINE)
        assert "\x1b" not in text
        assert "█" not in text

    @pytest.mark.parametrize(
        ("columns", "command", "bars"),
        [(40, BRIEF, 4), (80, BRIEF, 4), (200, BRIEF, 4), (40, PARALLEL, 2), (200, PARALLEL, 2)],
    )
    def test_bars_fit_the_terminal(
        self, environ: dict[str, str], columns: int, command: tuple[str, ...], bars: int
    ) -> None:
        with Terminal([*R1, *command], {**environ, "COLUMNS": str(columns)}) as terminal:
            screen = re.sub(r"\r\x1b\[K[^\r\n]*(?=\r\x1b\[K)", "", terminal.read_to_end())
        lines = without_style(screen).replace("\x1b[K", "").splitlines()
        assert sum("█" in line for line in lines) == bars
        assert max(map(len, lines)) < columns

    def test_ascii_where_the_encoding_has_nothing_else(self, environ: dict[str, str]) -> None:
        with Terminal([*R1, *BRIEF], {**environ, "COLUMNS": "80", "PYTHONIOENCODING": "ascii"}) as terminal:
            screen = terminal.read_to_end()
        assert screen.isascii()
        assert "+-" in screen
        assert "####" in screen


class TestStopping:
    """Ctrl-C and SIGTERM print what was measured so far."""

    ANNOUNCED = (
        "import sys\n"
        "from r1.commands import bench\n"
        "from r1.__main__ import main\n"
        "def announced(measure):\n"
        "    def announce(*arguments):\n"
        "        print('measuring', file=sys.stderr, flush=True)\n"
        "        yield from measure(*arguments)\n"
        "    return announce\n"
        "bench.measure = announced(bench.measure)\n"
        "bench.measure_parallel = announced(bench.measure_parallel)\n"
        "main()\n"
    )
    """The program, except that it prints a line as it begins to measure."""

    @pytest.mark.parametrize(
        ("form", "sent", "status"),
        [
            (("--depths", "0,128,256,512"), signal.SIGINT, 130),
            (("--depths", "0,128,256,512", "--json"), signal.SIGTERM, 143),
            (("--parallel", "16,32", "--json"), signal.SIGINT, 130),
        ],
    )
    def test_in_the_middle(
        self, environ: dict[str, str], form: tuple[str, ...], sent: signal.Signals, status: int
    ) -> None:
        options = ("-m", "tiny", "-p", "16", "-n", "4", "-r", "1000", *form)
        command = [sys.executable, "-c", self.ANNOUNCED, "bench", *options]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                assert process.stderr is not None
                assert process.stderr.readline() == b"measuring\n"
                process.send_signal(sent)
                stdout, stderr = process.communicate(timeout=300)
            finally:
                process.kill()
        assert (process.returncode, stderr) == (status, b"")
        if "--json" in form:
            facts = json.loads(stdout)
            assert facts["complete"] is False
        else:
            assert stdout.startswith(b"model")
            assert b"at peak" in stdout

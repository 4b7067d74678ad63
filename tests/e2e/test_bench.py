"""`r1 bench` from end to end. No test asserts a speed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import R1, Run, Start
from tests.e2e.terminal import Terminal, without_style

BRIEF = ("bench", "-m", "tiny", "-p", "16", "-n", "4", "-r", "2", "--depths", "0,64")


class TestLines:
    """Lines to read, and to grep."""

    def test_a_row_for_each_test_and_depth(self, r1: Run) -> None:
        done = r1(*BRIEF)
        assert (done.returncode, done.stderr) == (0, b"")
        text = done.stdout.decode()
        found = re.findall(r"^(prefill|decode) +(\d+) +[\d.]+ ± [\d.]+$", text, re.MULTILINE)
        assert found == [("prefill", "0"), ("decode", "0"), ("prefill", "64"), ("decode", "64")]
        assert re.search(r"^memory +[\d.]+ MB at most$", text, re.MULTILINE)
        assert "\x1b" not in text
        assert "█" not in text

    @pytest.mark.parametrize("columns", [40, 80, 200])
    def test_bars_fit_the_terminal(self, environ: dict[str, str], columns: int) -> None:
        with Terminal([*R1, *BRIEF], {**environ, "COLUMNS": str(columns)}) as terminal:
            screen = re.sub(r"\r\x1b\[2K[^\r\n]*(?=\r\x1b\[2K)", "", terminal.read_to_end())
        lines = without_style(screen).splitlines()
        assert sum("█" in line for line in lines) == 4
        assert max(map(len, lines)) < columns

    def test_ascii_where_the_encoding_has_nothing_else(self, environ: dict[str, str]) -> None:
        with Terminal([*R1, *BRIEF], {**environ, "COLUMNS": "80", "PYTHONIOENCODING": "ascii"}) as terminal:
            screen = terminal.read_to_end()
        assert screen.isascii()
        assert "+-" in screen
        assert "####" in screen


class TestJson:
    """One object with the same facts."""

    def test_has_everything(self, r1: Run, tiny_path: Path) -> None:
        done = r1(*BRIEF, "--json", "--threads", "1")
        assert (done.returncode, done.stderr) == (0, b"")
        facts = json.loads(done.stdout)
        assert (facts["model"], facts["bytes"]) == ("tiny:Q8_0", tiny_path.stat().st_size)
        assert facts["threads"] == {"decode": 1, "prefill": 1}
        assert (facts["kv_type"], facts["gpu_layers"], facts["complete"]) == ("f16", 0, True)
        assert set(facts["versions"]) == {"r1", "llama_cpp_python", "ggml"}
        assert facts["first_token"]["prompt_tokens"] > 20
        assert facts["peak_memory_bytes"] > tiny_path.stat().st_size
        rows = facts["rows"]
        assert [row["depth"] for row in rows] == [0, 0, 64, 64]
        assert [row["tokens"] for row in rows] == [16, 4, 16, 4]
        for row in rows:
            rates = [row["tokens"] / seconds for seconds in row["seconds"]]
            assert len(rates) == 2
            assert row["mean_tps"] == pytest.approx(sum(rates) / 2, rel=0.05)

    def test_a_short_measurement_still_has_room_for_the_prompt(self, r1: Run) -> None:
        done = r1("bench", "-m", "tiny", "-p", "0", "-n", "1", "-r", "1", "--depths", "0", "--json")
        assert [row["test"] for row in json.loads(done.stdout)["rows"]] == ["decode"]


class TestStopping:
    """Ctrl-C prints what was measured so far."""

    @pytest.mark.parametrize("form", [(), ("--json",)])
    def test_in_the_middle(self, start: Start, form: tuple[str, ...]) -> None:
        process = start("bench", "-m", "tiny", "-p", "16", "-n", "4", "-r", "1000", "--depths", "0,128,256,512", *form)
        assert process.stdout is not None
        assert process.stderr is not None
        first = b"" if form else process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1.0 if form else 0.1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
        assert (process.returncode, stderr) == (130, b"")
        if form:
            facts = json.loads(stdout)
            assert facts["complete"] is False
        else:
            assert first.startswith(b"model")
            assert b"at most" in stdout


class TestRefusals:
    """What cannot be measured is refused in one line."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--depths", "a"), b"not a list of whole numbers"),
            (("--depths", "-3"), b"not a list of whole numbers"),
            (("--depths", "99999"), b"exceeds the context of"),
            (("--ctx", "256"), b"use a smaller --prompt and --gen"),
            (("-p", "0", "-n", "0"), b"nothing to measure"),
            (("--tune", "--threads", "2"), b"leave one of them out"),
        ],
    )
    def test_with_exit_code_2(self, r1: Run, options: tuple[str, ...], message: bytes) -> None:
        done = r1("bench", "-m", "tiny", *options)
        assert (done.returncode, done.stdout) == (2, b"")
        assert message in done.stderr
        assert done.stderr.count(b"\n") == 1

    def test_no_such_model(self, r1: Run) -> None:
        assert r1("bench", "-m", "qwen-7b").returncode == 4


def test_tuning_reports_the_fastest_and_saves_what_beats_the_default(r1: Run, tmp_path: Path, tiny_path: Path) -> None:
    done = r1("bench", "-m", tiny_path, "--tune", "--json", R1_HOME=str(tmp_path / "own"))
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert {trial["test"] for trial in found["trials"]} == {"prefill", "decode"}
    assert set(found["threads"]) == set(found["default"]) == {"decode", "prefill"}
    kept = tmp_path / "own" / "tuned.json"
    assert kept.exists() is found["remembered"] is (found["threads"] != found["default"])
    assert done.stderr.startswith(b"r1: R1_THREADS or config.toml sets 1 threads")

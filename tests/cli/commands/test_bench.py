"""`r1 bench`: its JSON, its refusals, and tuning. No test asserts a speed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from r1.commands import bench as module
from r1.commands.bench import read_depths, read_parallel
from r1.fit import planner
from r1.machine.cores import Threads
from r1.machine.memory import Memory
from r1_quantize.errors import UsageError
from tests.conftest import Run

BRIEF = ("bench", "-m", "tiny", "-p", "16", "-n", "4", "-r", "2", "--depths", "0,64")


class TestReadDepths:
    """`--depths`."""

    def test_is_a_list_of_tokens(self) -> None:
        assert read_depths("0,2048, 8192") == (0, 2048, 8192)

    @pytest.mark.parametrize("text", ["", ",", "a", "1,,2", "-3", "1.5"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="not a list of whole numbers"):
            read_depths(text)


class TestReadParallel:
    """`--parallel`."""

    def test_is_a_list_of_numbers_of_sequences(self) -> None:
        assert read_parallel("1,8, 64") == (1, 8, 64)

    @pytest.mark.parametrize("text", ["", ",", "a", "1,,2", "0", "1,65", "-3", "1.5"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="is not a list of whole numbers from 1 to 64, such as"):
            read_parallel(text)


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
            rates = [row["tokens"] / seconds for seconds in row["runs_s"]]
            assert len(rates) == 2
            assert row["mean_tps"] == pytest.approx(sum(rates) / 2, rel=0.05)

    def test_a_short_measurement_still_has_room_for_the_prompt(self, r1: Run) -> None:
        done = r1("bench", "-m", "tiny", "-p", "0", "-n", "1", "-r", "1", "--depths", "0", "--json")
        assert [row["test"] for row in json.loads(done.stdout)["rows"]] == ["decode"]


class TestParallel:
    """`--parallel`: the same tests with several sequences at once."""

    @pytest.mark.parametrize("shared", [False, True])
    def test_json_has_a_row_for_each_test_and_number(self, r1: Run, shared: bool) -> None:
        options = ("--parallel", "3,1", "-p", "16", "-n", "4", "-r", "2", *(["--shared"] if shared else []))
        done = r1("bench", "-m", "tiny", *options, "--json", R1_PARALLEL="7", R1_CTX="300")
        assert (done.returncode, done.stderr) == (0, b"")
        facts = json.loads(done.stdout)
        assert (facts["sequences"], facts["context"], facts["complete"]) == (3, 256, True)
        assert facts["cells"] >= (16 + 3 * 4 if shared else 3 * (16 + 4))
        rows = facts["rows"]
        assert {row["shared"] for row in rows} == {shared}
        assert [(row["test"], row["sequences"], row["tokens"]) for row in rows] == [
            *(("prefill", 1, 16), ("decode", 1, 4), ("prefill", 3, 16 if shared else 48), ("decode", 3, 12)),
        ]
        for row in rows:
            rates = [row["tokens"] / seconds for seconds in row["runs_s"]]
            assert row["mean_tps"] == pytest.approx(sum(rates) / 2, rel=0.05)
            divisor = 1 if shared and row["test"] == "prefill" else row["sequences"]
            assert row["per_sequence_tps"] == pytest.approx(row["mean_tps"] / divisor, abs=0.01)

    def test_lines_have_a_row_for_each_test_and_number(self, r1: Run) -> None:
        done = r1("bench", "-m", "tiny", "--parallel", "1,3", "-p", "16", "-n", "4", "-r", "2")
        text = done.stdout.decode()
        found = re.findall(r"^(prefill|decode) +(\d+) +[\d.]+ +[\d.]+ ± [\d.]+$", text, re.MULTILINE)
        assert found == [("prefill", "1"), ("decode", "1"), ("prefill", "3"), ("decode", "3")]

    @pytest.mark.parametrize("shared", [False, True])
    def test_takes_the_memory_that_the_sequences_need_or_refuses(
        self, r1: Run, monkeypatch: pytest.MonkeyPatch, shared: bool
    ) -> None:
        """In 132 MB: 64 prompts of 1,900 tokens take 249 MB (132 MB in Q8_0), and one that all share takes 4 MB."""
        monkeypatch.setattr(planner, "memory", lambda: Memory(total=10**9, free=132_000_000))
        options = ("--parallel", "64", "-p", "1900", "-n", "2", "-r", "1", *(["--shared"] if shared else []))
        done = r1("bench", "-m", "tiny", *options)
        if shared:
            assert (done.returncode, done.stderr) == (0, b"")
        else:
            assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (5, b"", 1)
            assert b"64 sequences of 1,902 tokens do not fit" in done.stderr


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
            (("--parallel", "0"), b"not a list of whole numbers"),
            (("--parallel", "4", "--depths", "0"), b"leave one of them out"),
            (("--parallel", "4", "--tune"), b"leave one of them out"),
            (("--parallel", "4", "-p", "0", "-n", "0"), b"nothing to measure"),
            (("--parallel", "4", "-p", "99999"), b"exceed the context of"),
            (("--parallel", "4", "--ctx", "100"), b"exceed the context of 100 tokens"),
            (("--shared",), b"add --parallel 1,4,16"),
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
    assert done.stderr.startswith(b"r1: R1_THREADS or config.toml sets 1 thread,")


def test_a_result_that_cannot_be_saved_is_still_printed(
    r1: Run, tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "tune", lambda *_: iter([Threads(decode=77, prefill=78)]))
    (tmp_path / "file").write_text("")
    done = r1("bench", "-m", tiny_path, "--tune", "--json", R1_HOME=str(tmp_path / "file"))
    found = json.loads(done.stdout)
    assert (found["threads"], found["remembered"]) == ({"decode": 77, "prefill": 78}, False)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert done.stderr.startswith(b"r1: not remembered: ")

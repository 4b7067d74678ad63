"""`r1.evaluate.sample_log`: real files that are cut off, changed, locked, full, or something else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from r1.evaluate import sample_log
from r1.evaluate.sample_log import Cache, SampleLog, SampleRecord
from r1_quantize.errors import Busy, NotEnoughSpace, R1Error, UsageError

FACTS = {"r1": "0.1.0", "model": "tiny:Q8_0", "problem_file": "sha256:abab", "temp": 0.6, "instruction": None}


def record(line: int, sample: int = 0, **values: Any) -> SampleRecord:
    fields: dict[str, Any] = {
        "line": line,
        "id": f"line {line}",
        "sample": sample,
        "seed": 7,
        "final": "42",
        "correct": True,
        "how": "number",
        "finish_reason": "stop",
        "thinking_end": "natural",
        "thinking_tokens": 20,
        "answer_tokens": 5,
        "discarded_tokens": 0,
        "wall_s": 0.25,
        **values,
    }
    return SampleRecord(**fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "samples.jsonl"


def write(path: Path, *records: SampleRecord, facts: dict[str, Any] = FACTS) -> None:
    with SampleLog.open(path, facts) as log:
        for each in records:
            log.add(each, r"\(\boxed{42}\)", "17 + 25: 42")


def earlier(path: Path, facts: dict[str, Any] = FACTS) -> list[SampleRecord]:
    with SampleLog.open(path, facts) as log:
        assert log.renewed is None
        return log.earlier


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


class TestContent:
    """A first line with what the samples were made with, then a line for each."""

    def test_a_sample_has_its_text_and_comes_back(self, path: Path) -> None:
        unusual = record(2, 1, final=None, correct=False, thinking_end=None, finish_reason="length", id="π")
        write(path, record(1), unusual)
        first, *samples = lines(path)
        assert first == {"r1_eval": 1, **FACTS, "context": None}
        assert [sample["answer"] for sample in samples] == [r"\(\boxed{42}\)"] * 2
        assert [(sample["line"], sample["sample"]) for sample in samples] == [(1, 0), (2, 1)]
        assert earlier(path) == [record(1), unusual]

    def test_what_memory_decided_comes_back(self, path: Path) -> None:
        with SampleLog.open(path, FACTS) as log:
            assert log.cache is None
            log.cache = Cache(2048, "q8_0")
            log.add(record(1), "a", "b")
        assert lines(path)[0]["context"] == {"tokens": 2048, "kv_type": "q8_0"}
        with SampleLog.open(path, FACTS) as log:
            assert log.cache == Cache(2048, "q8_0")

    @pytest.mark.parametrize(
        "value",
        [
            None,
            5,
            {},
            {"tokens": "5", "kv_type": "f16"},
            {"tokens": -5, "kv_type": "f16"},
            {"tokens": 5},
            {"tokens": 5, "kv_type": ["f16"]},
        ],
    )
    def test_what_memory_cannot_have_decided_is_none(self, value: object) -> None:
        assert Cache.from_json(value) is None

    def test_without_a_sample_the_file_stays_empty_and_may_be_for_other_settings(self, path: Path) -> None:
        write(path)
        assert path.read_bytes() == b""
        path.write_bytes(json.dumps({"r1_eval": 1, **FACTS, "temp": 2.0}).encode() + b"\n")
        write(path, record(1))
        assert earlier(path) == [record(1)]
        assert [each.name for each in path.parent.iterdir()] == [path.name]

    def test_is_there_as_soon_as_it_is_added(self, path: Path) -> None:
        with SampleLog.open(path, FACTS) as log:
            log.add(record(1), "a", "b")
            assert len(lines(path)) == 2

    def test_half_a_surrogate_pair_is_no_reason_to_fail(self, path: Path) -> None:
        with SampleLog.open(path, FACTS) as log:
            log.add(record(1), "\ud800", "")
        assert len(earlier(path)) == 1

    def test_without_a_file_nothing_is_kept(self) -> None:
        with SampleLog.none() as log:
            log.add(record(1), "a", "b")
            assert log.earlier == []


class TestGoingOn:
    """What a killed process leaves."""

    @pytest.mark.parametrize("cut", [1, 2, 30, 100])
    def test_a_line_that_was_cut_off_is_dropped_and_written_again(self, path: Path, cut: int) -> None:
        write(path, record(1), record(2))
        whole = path.read_bytes()
        path.write_bytes(whole[:-cut])
        assert earlier(path) == [record(1)]
        write(path, record(2))
        assert path.read_bytes() == whole

    def test_wherever_it_is_cut_each_whole_line_is_kept(self, path: Path) -> None:
        write(path, *(record(number) for number in range(1, 4)))
        whole = path.read_bytes()
        for size in range(0, len(whole), 7):
            path.write_bytes(whole[:size])
            kept = max(whole[:size].count(b"\n") - 1, 0)
            assert earlier(path) == [record(number) for number in range(1, kept + 1)]
            assert path.read_bytes().count(b"\n") == (kept + 1 if kept else 0)

    def test_the_first_of_two_lines_for_a_sample_counts(self, path: Path) -> None:
        write(path, record(1), record(1, final="43"))
        assert earlier(path) == [record(1)]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(("wall_s", float("nan")), ("wall_s", float("inf")), ("wall_s", 10**400), ("thinking_tokens", -1)),
            *(("line", True), ("correct", 1), ("correct", None), ("final", 5), ("answer_tokens", 2.5)),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_values_that_no_sample_has_make_a_line_none(self, path: Path, name: str, value: object) -> None:
        write(path, record(1), record(2))
        *before, last = lines(path)
        path.write_text("".join(json.dumps(each) + "\n" for each in [*before, {**last, name: value}]), encoding="utf-8")
        with SampleLog.open(path, FACTS) as log:
            assert (log.earlier, log.damaged) == ([record(1)], 1)

    @pytest.mark.parametrize(
        "line", [b"{", b"[]", b'{"line": 1}', b"\xff", b"", b"[" * 100_000, b'{"line": "1", "sample": 0}']
    )
    def test_lines_that_are_no_samples_are_counted(self, path: Path, line: bytes) -> None:
        write(path, record(1))
        path.write_bytes(path.read_bytes() + line + b"\n")
        with SampleLog.open(path, FACTS) as log:
            assert (log.earlier, log.damaged) == ([record(1)], 1)
            log.add(record(2), "", "")
        assert earlier(path) == [record(1), record(2)]


class TestStartingOver:
    """Samples that were made with something else are kept, but not mixed."""

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"model": "qwen-7b:Q4_K_M"}, "another model, tiny:Q8_0 instead of qwen-7b:Q4_K_M"),
            ({"temp": 1.0}, "another temp, 0.6 instead of 1.0"),
            ({"instruction": "Think."}, "another instruction, not given instead of Think."),
            ({"problem_file": "sha256:cdcd"}, "another problem file, sha256:abab instead of sha256:cdcd"),
        ],
        ids=str,
    )
    def test_says_what_is_another_and_loses_nothing(self, path: Path, change: dict[str, Any], says: str) -> None:
        write(path, record(1))
        before = path.read_bytes()
        with SampleLog.open(path, {**FACTS, **change}) as log:
            assert log.renewed is not None
            assert says in log.renewed
            assert log.earlier == []
            log.add(record(1, final="43"), "", "")
        assert path.with_name("samples.old.jsonl").read_bytes() == before
        assert earlier(path, {**FACTS, **change}) == [record(1, final="43")]

    @pytest.mark.skipif(sys.platform == "win32", reason="makes links for administrators only")
    def test_of_a_link_the_file_that_it_leads_to_is_kept_beside_the_new_one(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        target = tmp_path / "disk" / "other.jsonl"
        path.symlink_to(target)
        write(path, record(1))
        write(path, record(1), facts={**FACTS, "temp": 1.0})
        assert path.is_symlink()
        assert [lines(each)[0]["temp"] for each in (target, target.with_name("other.old.jsonl"))] == [1.0, 0.6]

    def test_a_second_time_the_first_ones_stay(self, path: Path) -> None:
        for temp in (0.1, 0.2, 0.3, 0.4):
            write(path, record(1), facts={**FACTS, "temp": temp})
        kept = [path.with_name(f"samples.old{number}.jsonl") for number in ("", "2", "3")]
        assert [lines(each)[0]["temp"] for each in kept] == [0.1, 0.2, 0.3]


class TestRefused:
    """Nothing of the user's is overwritten."""

    @pytest.mark.parametrize(
        "content",
        [b"notes", b'{"question": "1+1?", "answer": 2}\n', b"\n", b'{"r1_eval": 2}\n', b"\0" * 100, b'{"r1_ev": '],
    )
    def test_a_file_with_something_else(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(UsageError, match="has something else than samples of r1 eval; give --output another file"):
            SampleLog.open(path, FACTS)
        assert path.read_bytes() == content

    def test_a_line_that_is_too_long_for_a_sample(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What stands behind it would be cut off."""
        write(path, record(1))
        before = path.read_bytes() + b"x" * (3 << 20)
        path.write_bytes(before)
        monkeypatch.setattr(sample_log, "_LONGEST", 1 << 20)
        with pytest.raises(UsageError, match="has a line of more than"):
            SampleLog.open(path, FACTS)
        assert path.read_bytes() == before

    def test_an_empty_file_is_taken(self, path: Path) -> None:
        path.touch()
        write(path, record(1))
        assert earlier(path) == [record(1)]

    @pytest.mark.parametrize("place", [".", "missing/samples.jsonl"])
    def test_a_place_that_cannot_be_written(self, tmp_path: Path, place: str) -> None:
        with pytest.raises(UsageError, match="cannot be written"):
            SampleLog.open(tmp_path / place, FACTS)

    def test_a_file_that_another_process_writes(self, path: Path) -> None:
        with SampleLog.open(path, FACTS), pytest.raises(Busy, match="another r1 eval is writing this file"):
            SampleLog.open(path, FACTS)
        write(path, record(1))


@pytest.mark.skipif(sys.platform == "win32", reason="has no resource limits")
class TestFullDisk:
    """Nothing but whole lines, and an error that says how to go on."""

    def test_a_line_that_does_not_fit_is_taken_back(self, path: Path) -> None:
        import resource
        import signal

        write(path, record(1))
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write then fails as on a full disk
        try:
            with SampleLog.open(path, FACTS) as log:
                resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, limit[1]))
                with pytest.raises(NotEnoughSpace, match="run it again to resume"):
                    log.add(record(2), "answer", "thinking")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            signal.signal(signal.SIGXFSZ, before)
        assert path.read_bytes().endswith(b"\n")
        assert earlier(path) == [record(1)]

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
    def test_a_full_device_from_the_start(self) -> None:
        with SampleLog.open(Path("/dev/full"), FACTS) as log, pytest.raises((NotEnoughSpace, R1Error)):
            log.add(record(1), "a", "b")

    def test_a_device_is_written_and_not_read(self) -> None:
        with SampleLog.open(Path("/dev/null"), FACTS) as log:
            log.add(record(1), "a", "b")
            assert log.earlier == []

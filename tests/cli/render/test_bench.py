"""`r1.render.bench`: measurements as lines, bars and warnings."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from r1.engine.bench import LeftOut, Row, Step
from r1.engine.parallel_bench import ParallelPlan, ParallelRow, ParallelStep
from r1.engine.tune import Trial
from r1.machine.cores import Threads
from r1.render.bench import BenchView, Subject
from tests.fakes.consoles import console, written

STEADY = Row("decode", 0, tokens=100, seconds=(1.0, 1.0))
SUBJECT = Subject(
    model="tiny:Q8_0", path="/tiny.gguf", size=2_709_408, device="CPU", processor="CPU",
    threads=Threads(decode=1, prefill=1), gpu_layers=0, kv_type="f16", context=256, chunk=512, sequences=1, cells=256,
)  # fmt: skip


def shown(view: BenchView) -> list[str]:
    return written(view.console.stdout).splitlines()


class TestSubject:
    """The model, and where and how it computes."""

    @pytest.mark.parametrize(
        ("threads", "expected"),
        [
            (Threads(decode=1, prefill=1), "1 thread"),
            (Threads(decode=4, prefill=4), "4 threads"),
            (Threads(decode=2, prefill=1), "1 thread to prefill, 2 to decode"),
            (Threads(decode=1, prefill=2), "2 threads to prefill, 1 to decode"),
        ],
    )
    def test_names_the_threads(self, threads: Threads, expected: str) -> None:
        view = BenchView(console())
        view.subject(replace(SUBJECT, threads=threads))
        assert shown(view)[1] == f"on           CPU, {expected}"

    @pytest.mark.parametrize(
        ("sequences", "cells", "expected"),
        [(1, 256, "f16, 256 tokens"), (16, 2560, "f16, 2560 tokens for 16 sequences")],
    )
    def test_has_the_size_of_the_cache(self, sequences: int, cells: int, expected: str) -> None:
        view = BenchView(console())
        view.subject(replace(SUBJECT, sequences=sequences, cells=cells))
        assert shown(view)[2] == f"cache        {expected}"


class TestRows:
    """A line per measurement."""

    def test_without_any_that_is_said(self) -> None:
        view = BenchView(console())
        view.header()
        view.end(peak=10**6)
        assert shown(view)[2] == "nothing measured yet"

    def test_have_the_mean_and_the_standard_deviation(self) -> None:
        view = BenchView(console())
        view.row(Row("prefill", 2048, tokens=100, seconds=(1.0, 2.0)), repetitions=2)
        assert shown(view) == ["prefill   2048      75.00 ± 35.36"]

    def test_with_fewer_runs_than_wanted_say_so(self) -> None:
        view = BenchView(console())
        view.row(STEADY, repetitions=3)
        assert shown(view) == ["decode       0     100.00 ± 0.00 (2 of 3 runs)"]

    def test_a_skipped_depth_names_the_option_that_measures_it(self) -> None:
        view = BenchView(console())
        view.left_out(LeftOut(depth=8192, seconds=600))
        (line,) = shown(view)
        assert line.startswith("depth 8192 skipped: ")
        assert line.endswith("--depths 8192)")

    def test_silent_prints_none(self) -> None:
        view = BenchView(console(), silent=True)
        view.row(STEADY, repetitions=2)
        view.end(1_000_000)
        assert shown(view) == []

    def test_ascii_replaces_the_plus_minus_sign(self) -> None:
        made = console()
        made.stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
        view = BenchView(made)
        view.row(STEADY, repetitions=2)
        made.stdout.seek(0)
        assert made.stdout.read() == "decode       0     100.00 +- 0.00\n"


class TestParallelRows:
    """A line per measurement with several sequences: what each gets, and the total."""

    def test_have_both_rates(self) -> None:
        view = BenchView(console())
        view.row(ParallelRow("decode", 16, tokens=160, seconds=(4.0, 4.0)), repetitions=2)
        assert shown(view) == ["decode    16     2.50    40.00 ± 0.00"]

    @pytest.mark.parametrize(
        ("plan", "expected"),
        [
            (ParallelPlan((1,), 128, 32), "a prompt for each, 128 tokens; then 32 tokens of each"),
            (ParallelPlan((1,), 128, 32, is_shared=True), "one prompt for all, 128 tokens; then 32 tokens of each"),
            (ParallelPlan((1,), 128, 0), "a prompt for each, 128 tokens"),
            (ParallelPlan((1,), 0, 32), "32 tokens of each"),
        ],
    )
    def test_stand_below_what_is_measured(self, plan: ParallelPlan, expected: str) -> None:
        view = BenchView(console())
        view.parallel_header(plan)
        assert shown(view) == [f"sequences    {expected}", "", "test    seqs     each    total tok/s"]

    @pytest.mark.parametrize("rate", [1.234, 12.34, 123.4, 1234.0, 12340.0])
    def test_fit_forty_columns(self, rate: float) -> None:
        view = BenchView(console())
        view.row(ParallelRow("prefill", 64, tokens=1000, seconds=(1000 / rate, 1001 / rate)), repetitions=2)
        assert max(map(len, shown(view))) < 40

    def test_status_has_the_number_of_sequences(self) -> None:
        view = BenchView(console(stderr_is_terminal=True, environ={"TERM": "xterm"}))
        view.step(ParallelStep("decode", 16, 1, 3))
        assert "decode, 16 sequences: 1 of 3 runs" in written(view.console.stderr)


class TestEnd:
    """Peak memory, and a warning of noise."""

    def test_has_the_peak_memory(self) -> None:
        view = BenchView(console())
        view.row(STEADY, repetitions=2)
        view.end(145_000_000)
        assert shown(view)[-1] == "memory       145 MB at peak"

    def test_warns_when_runs_differ_by_more_than_a_tenth(self) -> None:
        view = BenchView(console())
        view.row(Row("decode", 0, tokens=100, seconds=(1.0, 1.4)), repetitions=2)
        view.end(1_000_000)
        assert shown(view)[-1] == "noise        up to 24 %; close other programs and measure again"


class TestStatus:
    """One line on stderr that is erased again."""

    def test_is_for_terminals_only(self) -> None:
        view = BenchView(console())
        view.step(Step("decode", 0, 1, 3))
        assert written(view.console.stderr) == ""

    def test_is_erased_before_a_result(self) -> None:
        view = BenchView(console(stderr_is_terminal=True, environ={"TERM": "xterm"}))
        view.step(Step("filling", 2048, 128, 2048))
        view.row(STEADY, repetitions=2)
        assert written(view.console.stderr) == "\r\x1b[K\x1b[2mfilling the cache: 128 of 2048 tokens\x1b[22m\r\x1b[K"


class TestTuned:
    """The fastest number of threads."""

    def test_is_shown_with_the_file_it_is_saved_in(self) -> None:
        view = BenchView(console())
        view.tuned(Threads(decode=1, prefill=2), "/data/tuned.json")
        assert shown(view)[-1] == "best         prefill with 2 threads, decode with 1 thread; saved in /data/tuned.json"

    def test_a_trial_has_the_spread_of_its_ratios(self) -> None:
        view = BenchView(console())
        view.trial(Trial("decode", 2, rates=(10.0,) * 4, ratios=(1.1, 1.2, 1.3, 1.4)))
        assert shown(view) == ["decode         2      10.00  1.25 (1.10 to 1.40), better"]

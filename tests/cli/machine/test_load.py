"""`r1.machine.load`: processor time that other programs use. The files are laid out as proc(5) describes them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from r1.machine import load as module
from r1.machine.load import Sample, competing, online, preemptions, sample

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the files of Linux")


def at(moment: float, busy: float | None, own: float = 0.0, processors: int = 2) -> Sample:
    return Sample(moment, tuple(range(processors)), busy, own)


class TestOthersSince:
    """The difference of two samples."""

    def test_own_time_does_not_count(self) -> None:
        assert at(12.0, 103.5, own=11.0).others_since(at(10.0, 100.0, own=10.0)) == pytest.approx(1.25)

    def test_own_time_that_the_counters_do_not_show_yet_is_no_negative_load(self) -> None:
        assert at(10.1, 100.18, own=10.2).others_since(at(10.0, 100.0, own=10.0)) == 0

    @pytest.mark.parametrize(
        "after",
        [
            pytest.param(at(2.0, None), id="no counters"),
            pytest.param(at(2.0, 5.0, processors=1), id="a processor was switched off"),
            pytest.param(at(1.0, 5.0), id="no time has passed"),
            pytest.param(at(2.0, 0.0, own=2.0), id="counters that stand still while this process works"),
        ],
    )
    def test_unknown(self, after: Sample) -> None:
        assert after.others_since(at(1.0, 0.0)) is None


@LINUX
class TestLinux:
    """/proc/stat and /proc/loadavg."""

    STAT = (
        "cpu  9999 9999 9999 9999 9999 9999 9999 9999 9999 9999\n"
        "cpu0 100 20 30 4000 500 6 7 8 90 10\n"  # user nice system idle iowait irq softirq steal guest guest_nice
        "cpu1 1 2 3 4 5 6 7 8 0 0\n"
        "cpu3 1000 1000 1000 1000 1000 1000 1000 1000 0 0\n"
        "intr 1 2 3\n"
    )

    def proc(self, root: Path, **files: str) -> Path:
        (root / "proc").mkdir()
        for name, text in files.items():
            (root / "proc" / name).write_text(text)
        return root

    def test_counts_the_processors_that_this_process_may_use(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "online", lambda: (0, 1))
        found = sample(self.proc(tmp_path, stat=self.STAT))
        assert found.processors == (0, 1)
        assert found.busy == pytest.approx(
            ((100 + 20 + 30 + 6 + 7 + 8) + (1 + 2 + 3 + 6 + 7 + 8)) / os.sysconf("SC_CLK_TCK")
        )

    @pytest.mark.parametrize("text", ["", "cpu0 1 2 3 4 5 6 7 8 9 0\n", "cpu0 1\ncpu1 2\n", "cpu0 a b c d e f g h\n"])
    def test_incomplete_counters_are_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setattr(module, "online", lambda: (0, 1))
        assert sample(self.proc(tmp_path, stat=text)).busy is None

    def test_android_refuses_to_open_it(self, tmp_path: Path) -> None:
        assert sample(tmp_path).busy is None
        assert competing(tmp_path) is None

    @pytest.mark.parametrize(
        ("text", "others"),
        [("0.20 0.18 0.12 1/80 11206\n", 0), ("3.1 2 1 5/80 11206\n", 4), ("0.2 0.1 0.1 0/80 9\n", 0), ("0.2\n", None)],
    )
    def test_tasks_that_compete(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, others: float | None
    ) -> None:
        monkeypatch.setattr(module.os, "cpu_count", lambda: len(online()))
        assert competing(self.proc(tmp_path, loadavg=text)) == others

    def test_tasks_compete_for_all_processors_of_the_machine(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module.os, "cpu_count", lambda: 4 * len(online()))
        assert competing(self.proc(tmp_path, loadavg="9 9 9 9/80 1\n")) == 2

    def test_the_counters_of_this_machine_agree_with_psutil(self) -> None:
        if set(online()) != set(range(os.cpu_count() or 1)) or sample().busy is None:
            pytest.skip("only some of the processors are counted")
        before, times, after = sample(), psutil.cpu_times(), sample()
        busy = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
        assert (before.busy or 0) - 0.5 <= busy <= (after.busy or 0) + 0.5


class TestElsewhere:
    """macOS and Windows, by psutil."""

    def test_counts_all_processors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module.sys, "platform", "darwin")
        monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(user=3.0, system=1.5, nice=0.5, idle=9.0))
        assert sample().busy == 5.0

    def test_without_counters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused() -> None:
            raise PermissionError

        monkeypatch.setattr(module.sys, "platform", "darwin")
        monkeypatch.setattr(psutil, "cpu_times", refused)
        assert sample().busy is None


def test_preemptions_are_counted_where_the_system_does() -> None:
    assert (preemptions() is None) == (sys.platform == "win32")

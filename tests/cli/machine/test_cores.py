"""`r1.machine.cores`: cores and the default number of threads. The /sys trees are those of real machines, cut down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from r1.machine import cores as module
from r1.machine.cores import Cores, Threads, busy_share, cores, default_threads

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the files of Linux")


def machine(root: Path, siblings: list[str], **files: str) -> Path:
    """Writes a /sys where each processor shares its core with its `siblings`; in a file's name `__` stands for `/`."""
    for cpu, text in enumerate(siblings):
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "core_cpus_list").write_text(text + "\n")
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def capacities(*values: int) -> dict[str, str]:
    """The scheduler's capacity files of an ARM machine, one per processor."""
    return {f"sys__devices__system__cpu__cpu{cpu}__cpu_capacity": str(value) for cpu, value in enumerate(values)}


@LINUX
class TestLinux:
    """Cores from sysfs, quotas from control groups."""

    @pytest.fixture(autouse=True)
    def _all_allowed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def allowed() -> tuple[int, ...]:
            return tuple(sorted(int(path.name[3:]) for path in (tmp_path / "sys/devices/system/cpu").glob("cpu*")))

        monkeypatch.setattr(module, "online", allowed)

    def test_hyper_threads_of_a_core_count_once(self, tmp_path: Path) -> None:
        found = cores(machine(tmp_path, ["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"]))
        assert found == Cores(logical=8, physical=4, fast=4)
        assert found.threads == Threads(4, 4)

    def test_small_cores_of_a_phone_do_not_count_as_fast(self, tmp_path: Path) -> None:
        # Snapdragon 8 Gen 2: one core of capacity 1024, four of about 850, three small ones
        sizes = capacities(340, 340, 340, 800, 800, 870, 870, 1024)
        found = cores(machine(tmp_path, [str(cpu) for cpu in range(8)], **sizes))
        assert (found.logical, found.physical, found.fast) == (8, 8, 5)
        assert str(found) == "8 cores, 5 of them fast"

    def test_efficient_cores_of_intel_do_not_count_as_fast(self, tmp_path: Path) -> None:
        # i7-1260P: 4 fast cores with two threads each, 8 efficient cores
        siblings = ["0-1", "0-1", "2-3", "2-3", "4-5", "4-5", "6-7", "6-7", *(str(cpu) for cpu in range(8, 16))]
        found = cores(machine(tmp_path, siblings, sys__devices__cpu_atom__cpus="8-15"))
        assert found == Cores(logical=16, physical=12, fast=4)
        assert str(found) == "12 cores, 4 of them fast, 16 threads"

    def test_without_capacities_the_top_clock_speeds_decide(self, tmp_path: Path) -> None:
        speeds = {
            f"sys__devices__system__cpu__cpu{cpu}__cpufreq__cpuinfo_max_freq": speed
            for cpu, speed in enumerate(["1800000"] * 4 + ["1000000"] * 4)
        }
        assert cores(machine(tmp_path, [str(cpu) for cpu in range(8)], **speeds)).fast == 4

    def test_a_quota_limits_the_threads(self, tmp_path: Path) -> None:
        files = {"proc__self__cgroup": "0::/app", "sys__fs__cgroup__app__cpu.max": "250000 100000"}
        found = cores(machine(tmp_path, [str(cpu) for cpu in range(8)], **files))
        assert found.quota == 2.5
        assert found.threads == Threads(2, 2)
        assert str(found) == "8 cores; a control group allows 2.5"

    def test_a_quota_below_one_still_allows_one_thread(self, tmp_path: Path) -> None:
        files = {
            "proc__self__cgroup": "1:cpu:/a",
            "sys__fs__cgroup__cpu__a__cpu.cfs_quota_us": "50000",
            "sys__fs__cgroup__cpu__a__cpu.cfs_period_us": "100000",
        }
        assert cores(machine(tmp_path, ["0", "1"], **files)).threads == Threads(1, 1)

    def test_a_group_without_a_limit_has_no_quota(self, tmp_path: Path) -> None:
        files = {
            "proc__self__cgroup": "1:cpu:/\n0::/",
            "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "-1",
            "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000",
            "sys__fs__cgroup__cpu.max": "max 100000",
        }
        assert cores(machine(tmp_path, ["0"], **files)).quota is None

    @pytest.mark.parametrize(
        "files",
        [
            {"sys__fs__cgroup__cpu.max": "100000 0"},
            {"sys__fs__cgroup__cpu.max": "x y"},
            {"sys__devices__system__cpu__cpu0__cpu_capacity": "<unknown>"},
            {"sys__devices__system__cpu__cpu0__cpufreq__cpuinfo_max_freq": "abc"},
            {"sys__devices__cpu_atom__cpus": "hello,0-x,0-10000000"},
            {"proc__self__cgroup": "nonsense"},
        ],
    )
    def test_invalid_files_are_ignored(self, files: dict[str, str], tmp_path: Path) -> None:
        found = cores(machine(tmp_path, ["0", "1"], **{"proc__self__cgroup": "0::/", **files}))
        assert found == Cores(logical=2, physical=2, fast=2)

    def test_a_core_counts_even_if_only_one_of_its_threads_is_allowed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = machine(tmp_path, ["0-1", "0-1", "2-3", "2-3"])
        monkeypatch.setattr(module, "online", lambda: (1, 2))
        assert cores(root) == Cores(logical=2, physical=2, fast=2)

    def test_without_topology_each_processor_counts_as_a_core(self, tmp_path: Path) -> None:
        (tmp_path / "sys/devices/system/cpu/cpu0").mkdir(parents=True)
        assert cores(tmp_path) == Cores(logical=1, physical=1, fast=1)


class TestThisMachine:
    """The machine that runs the tests."""

    def test_there_are_no_more_threads_than_cores(self) -> None:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = default_threads()
        assert 1 <= threads.decode <= min(psutil.cpu_count(logical=False) or allowed, allowed)
        assert threads.decode == threads.prefill

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
    def test_cpu_affinity_limits_the_threads(self) -> None:
        program = (
            "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
            "from r1.machine.cores import cores; found = cores(); print(found.logical, found.threads.decode)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
        assert done.stdout == "1 1\n"

    def test_the_busy_share_is_between_none_and_all(self) -> None:
        busy = busy_share()
        assert busy is None or 0 <= busy <= 1

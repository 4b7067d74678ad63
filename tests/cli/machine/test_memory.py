"""`r1.machine.memory`: how much main memory this process may still take, and its peak."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from r1.machine.memory import memory, peak_memory

ONLY_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has these limits")


def write(root: Path, files: dict[str, str]) -> Path:
    """Writes files of proc and sys below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def no_ulimit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the tests ran without `ulimit -v`."""
    resource = pytest.importorskip("resource")
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: unlimited)


def assert_agrees_with_psutil(root: Path) -> None:
    """Measures before and after: free memory changes all the time."""
    before = psutil.virtual_memory()
    found = memory(root)
    after = psutil.virtual_memory()
    least, most = sorted((before.available, after.available))
    assert (found.limit, found.total) == ("machine", before.total)
    assert 0.95 * least <= found.free <= 1.05 * most


class TestMemory:
    """The smallest of what the machine, its control groups and `ulimit -v` leave."""

    @pytest.mark.usefixtures("no_ulimit")
    def test_without_a_limit_all_memory_counts(self, tmp_path: Path) -> None:
        assert_agrees_with_psutil(tmp_path)

    @ONLY_LINUX
    @pytest.mark.usefixtures("no_ulimit")
    def test_proc_meminfo_agrees_with_psutil(self) -> None:
        if memory().limit != "machine":
            pytest.skip("the tests run in a control group with a limit")
        assert_agrees_with_psutil(Path("/"))

    @pytest.mark.usefixtures("no_ulimit")
    def test_linux_counts_in_kilobytes(self, tmp_path: Path) -> None:
        found = memory(write(tmp_path, {"proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\n"}))
        assert (found.total, found.free, found.limit) == (8_192_000_000, 6_144_000_000, "machine")

    @pytest.mark.usefixtures("no_ulimit")
    @pytest.mark.parametrize(
        "text", ["MemTotal: 8000000 kB\nMemFree: 1 kB\n", "MemTotal: 1 kB\nMemAvailable: 2 kB\n", "MemTotal:\n", "\0"]
    )
    def test_a_strange_meminfo_is_left_to_psutil(self, tmp_path: Path, text: str) -> None:
        found = memory(write(tmp_path, {"proc/meminfo": text}))
        assert (found.limit, found.total) == ("machine", psutil.virtual_memory().total)

    def test_a_version_2_group_leaves_its_limit_less_its_usage(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "0::/user/app\n",
            "sys/fs/cgroup/user/app/memory.max": "600000000\n",
            "sys/fs/cgroup/user/app/memory.current": "500000000\n",
            "sys/fs/cgroup/user/app/memory.stat": "anon 400000000\ninactive_file 50000000\n",
            "sys/fs/cgroup/user/memory.max": "max\n",
            "sys/fs/cgroup/user/memory.current": "900000000\n",
        }
        found = memory(write(tmp_path, files))
        assert (found.total, found.free, found.limit) == (600_000_000, 150_000_000, "cgroup")

    def test_cached_files_count_as_free_even_if_read_twice(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "8000000000\n",
            "sys/fs/cgroup/memory.current": "5200000000\n",
            "sys/fs/cgroup/memory.stat": "active_file 4700000000\ninactive_file 300000000\n",
        }
        assert memory(write(tmp_path, files)).free == 7_800_000_000

    def test_a_parent_group_may_have_the_lower_limit(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "0::/user/app\n",
            "sys/fs/cgroup/user/app/memory.max": "900000000\n",
            "sys/fs/cgroup/user/app/memory.current": "1000000\n",
            "sys/fs/cgroup/user/memory.max": "800000000\n",
            "sys/fs/cgroup/user/memory.current": "700000000\n",
        }
        found = memory(write(tmp_path, files))
        assert (found.total, found.free, found.limit) == (800_000_000, 100_000_000, "cgroup")

    def test_in_a_container_the_mount_is_the_group(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "700000000\n",
            "sys/fs/cgroup/memory.current": "100000000\n",
        }
        assert memory(write(tmp_path, files)).free == 600_000_000

    def test_a_version_1_group_leaves_its_limit_less_its_usage(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "3:cpu,cpuacct:/\n4:memory:/docker/abc\n",
            "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "500000000",
            "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": "450000000",
            "sys/fs/cgroup/memory/docker/abc/memory.stat": "inactive_file 1\ntotal_inactive_file 30000000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "5000000000",
        }
        found = memory(write(tmp_path, files))
        assert (found.total, found.free, found.limit) == (500_000_000, 80_000_000, "cgroup")

    def test_a_group_above_its_limit_leaves_nothing(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "100\n",
            "sys/fs/cgroup/memory.current": "200\n",
        }
        assert memory(write(tmp_path, files)).free == 0

    @pytest.mark.parametrize(
        "files",
        [
            {"proc/self/cgroup": "garbage\n\n0:\n::\n1:memory\n0::/\0\n"},
            {"sys/fs/cgroup/memory.max": "x", "sys/fs/cgroup/memory.current": "1"},
            {"sys/fs/cgroup/memory.max": "9" * 5000, "sys/fs/cgroup/memory.current": "1"},
            {"sys/fs/cgroup/memory.max": "-1", "sys/fs/cgroup/memory.current": "1"},
            {"sys/fs/cgroup/memory.max": "²", "sys/fs/cgroup/memory.current": "\0"},
        ],
    )
    @pytest.mark.usefixtures("no_ulimit")
    def test_invalid_files_set_no_limit(self, files: dict[str, str], tmp_path: Path) -> None:
        invalid = {"proc/self/cgroup": "0::/\n", **files}
        assert memory(write(tmp_path, invalid)).limit == "machine"

    def test_a_statistic_without_a_number_is_ignored(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "700\n",
            "sys/fs/cgroup/memory.current": "100\n",
            "sys/fs/cgroup/memory.stat": "inactive_file\nactive_file x\n",
        }
        assert memory(write(tmp_path, files)).free == 600

    @ONLY_LINUX
    def test_a_limit_on_address_space_subtracts_what_is_mapped(self) -> None:
        program = (
            "import resource; resource.setrlimit(resource.RLIMIT_AS, (600_000_000, -1))\n"
            "from r1.machine.memory import memory, peak_memory\n"
            "before = memory(); held = bytearray(200_000_000); after = memory()\n"
            "print(before.limit, before.total, before.free, before.free - after.free)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
        limit, total, free, taken = done.stdout.split()
        assert (limit, int(total)) == ("ulimit", 600_000_000)
        assert 400_000_000 < int(free) < 600_000_000
        assert int(taken) == pytest.approx(200_000_000, rel=0.01)


class TestPeakMemory:
    """The most main memory this process has had."""

    def test_grows_with_allocations_and_never_shrinks(self) -> None:
        before = peak_memory()
        taken = bytearray(before + 30_000_000)
        taken[::4096] = b"x" * len(taken[::4096])
        after = peak_memory()
        del taken
        assert after > before + 20_000_000
        assert peak_memory() > after - 5_000_000  # Linux counts in batches, a core at a time

"""`r1.fit.survey`: the memory this machine offers a model."""

from __future__ import annotations

import pytest

from r1.engine.devices import Device
from r1.fit.survey import alone, is_phone, survey
from r1.machine.cores import Threads
from r1.machine.memory import Memory

GB = 1_000_000_000
CARD = Device("CUDA0", "gpu", "A card", "CUDA", free=5 * GB, total=6 * GB)


@pytest.fixture(autouse=True)
def _no_phone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERMUX_VERSION", raising=False)


class TestSurvey:
    """The memory that is free, and the margin that stays free."""

    def test_keeps_a_quarter_of_a_gigabyte_free(self) -> None:
        found = survey((), Memory(16 * GB, 9 * GB))
        assert (found.free, found.margin, found.gpus, found.longest) == (9 * GB, 256_000_000, (), 32_768)
        assert found.usable == 9 * GB - 256_000_000

    def test_keeps_less_free_of_a_small_memory(self) -> None:
        assert survey((), Memory(320_000_000, 300_000_000, "cgroup")).margin == 20_000_000

    def test_a_limit_on_address_space_includes_the_threads_stacks(self) -> None:
        limited = Memory(2 * GB, 1 * GB, "ulimit", address_space=True)
        margins = [survey((), limited, Threads(1, threads)).margin for threads in (1, 2, 64)]
        assert margins[1] - margins[0] >= 8 << 20  # the usual ulimit -s
        assert margins[2] - margins[0] == 63 * (margins[1] - margins[0])
        assert survey((), limited._replace(address_space=False), Threads(1, 64)).margin < margins[0]

    def test_usable_memory_is_never_negative(self) -> None:
        assert survey((), Memory(8 * GB, 10)).usable == 0

    def test_a_phone_keeps_more_free_and_has_a_shorter_default_context(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERMUX_VERSION", "0.118.0")
        found = survey((), Memory(6 * GB, 3 * GB))
        assert (found.margin, found.longest) == (600_000_000, 16_384)

    def test_a_cards_driver_takes_some_of_its_memory(self) -> None:
        (gpu,) = survey([CARD], Memory(16 * GB, 9 * GB)).gpus
        assert (gpu.name, gpu.shared) == ("CUDA0", False)
        assert 4.5 * GB < gpu.free < 4.7 * GB

    def test_the_driver_takes_nothing_of_shared_memory(self) -> None:
        (gpu,) = survey([Device("Vulkan0", "igpu", "", "Vulkan", 4 * GB, 8 * GB)], Memory(16 * GB, 9 * GB)).gpus
        assert (gpu.free, gpu.shared) == (4 * GB, True)

    def test_a_device_that_reports_no_memory_has_plenty(self) -> None:
        (gpu,) = survey([Device("GPUOpenCL", "gpu")], Memory(16 * GB, 9 * GB)).gpus
        assert gpu.free > 1000 * GB


class TestTermux:
    """https://wiki.termux.com/wiki/Differences_from_Linux"""

    @pytest.mark.parametrize(
        ("environ", "platform", "expected"),
        [
            ({"TERMUX_VERSION": "0.118.1"}, "linux", True),
            ({"PREFIX": "/data/data/com.termux/files/usr"}, "linux", True),
            ({}, "android", True),
            ({"PREFIX": "/usr/local"}, "linux", False),
            ({}, "linux", False),
        ],
    )
    def test_is_recognised_by_its_environment(self, environ: dict[str, str], platform: str, expected: bool) -> None:
        assert is_phone(environ, platform) is expected


class TestAlone:
    """The memory available with other programs closed."""

    def test_the_system_keeps_a_tenth_and_at_least_a_gigabyte(self) -> None:
        assert alone((), Memory(8 * GB, 3 * GB)).free == 7 * GB
        assert alone((), Memory(64 * GB, 3 * GB)).free == int(57.6 * GB)

    def test_a_limit_contains_no_system(self) -> None:
        for limit in ("cgroup", "ulimit"):
            assert alone((), Memory(6 * GB, 3 * GB, limit)).free == 6 * GB  # type: ignore[arg-type]

    def test_free_memory_stays_free(self) -> None:
        assert alone((), Memory(8 * GB, int(7.5 * GB))).free == int(7.5 * GB)

    def test_a_card_is_empty(self) -> None:
        (gpu,) = alone([CARD._replace(free=1 * GB)], Memory(8 * GB, 3 * GB)).gpus
        assert gpu.free > 5.5 * GB

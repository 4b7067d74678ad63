"""`r1.fit.survey`: facts of this machine for the planner."""

from __future__ import annotations

from dataclasses import replace

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
    """What is free, and what of it stays so."""

    def test_leaves_a_quarter_of_a_gigabyte_to_others(self) -> None:
        found = survey((), Memory(16 * GB, 9 * GB))
        assert (found.free, found.margin, found.gpus, found.longest) == (9 * GB, 256_000_000, (), 32_768)
        assert found.usable == 9 * GB - 256_000_000

    def test_leaves_less_of_less(self) -> None:
        assert survey((), Memory(320_000_000, 300_000_000, "cgroup")).margin == 20_000_000

    def test_a_limit_on_address_space_holds_the_threads_stacks_too(self) -> None:
        limited = Memory(2 * GB, 1 * GB, "ulimit", address_space=True)
        margins = [survey((), limited, Threads(1, threads)).margin for threads in (1, 2, 64)]
        assert margins[1] - margins[0] >= 8 << 20  # the usual ulimit -s
        assert margins[2] - margins[0] == 63 * (margins[1] - margins[0])
        assert survey((), replace(limited, address_space=False), Threads(1, 64)).margin < margins[0]

    def test_what_is_free_is_never_below_nothing(self) -> None:
        assert survey((), Memory(8 * GB, 10)).usable == 0

    def test_a_phone_keeps_more_and_takes_a_shorter_context(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERMUX_VERSION", "0.118.0")
        found = survey((), Memory(6 * GB, 3 * GB))
        assert (found.margin, found.longest) == (600_000_000, 16_384)

    def test_a_card_keeps_something_for_its_driver(self) -> None:
        (room,) = survey([CARD], Memory(16 * GB, 9 * GB)).gpus
        assert (room.name, room.shared) == ("CUDA0", False)
        assert 4.5 * GB < room.free < 4.7 * GB

    def test_shared_memory_has_no_driver_of_its_own(self) -> None:
        (room,) = survey([Device("Vulkan0", "igpu", "", "Vulkan", 4 * GB, 8 * GB)], Memory(16 * GB, 9 * GB)).gpus
        assert (room.free, room.shared) == (4 * GB, True)

    def test_a_device_that_says_nothing_is_asked_by_trying(self) -> None:
        (room,) = survey([Device("GPUOpenCL", "gpu")], Memory(16 * GB, 9 * GB)).gpus
        assert room.free > 1000 * GB


class TestTermux:
    """https://wiki.termux.com/wiki/Differences_from_Linux"""

    @pytest.mark.parametrize(
        ("environ", "platform", "is_it"),
        [
            ({"TERMUX_VERSION": "0.118.1"}, "linux", True),
            ({"PREFIX": "/data/data/com.termux/files/usr"}, "linux", True),
            ({}, "android", True),
            ({"PREFIX": "/usr/local"}, "linux", False),
            ({}, "linux", False),
        ],
    )
    def test_is_recognised(self, environ: dict[str, str], platform: str, is_it: bool) -> None:
        assert is_phone(environ, platform) is is_it


class TestAlone:
    """What there would be if other programs were closed."""

    def test_the_system_keeps_a_tenth_and_at_least_a_gigabyte(self) -> None:
        assert alone((), Memory(8 * GB, 3 * GB)).free == 7 * GB
        assert alone((), Memory(64 * GB, 3 * GB)).free == int(57.6 * GB)

    def test_within_a_limit_there_is_no_system(self) -> None:
        for limit in ("cgroup", "ulimit"):
            assert alone((), Memory(6 * GB, 3 * GB, limit)).free == 6 * GB  # type: ignore[arg-type]

    def test_what_is_free_already_stays_so(self) -> None:
        assert alone((), Memory(8 * GB, int(7.5 * GB))).free == int(7.5 * GB)

    def test_a_card_is_empty_too(self) -> None:
        (room,) = alone([replace(CARD, free=1 * GB)], Memory(8 * GB, 3 * GB)).gpus
        assert room.free > 5.5 * GB

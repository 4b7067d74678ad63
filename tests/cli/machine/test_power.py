"""`r1.machine.power`: whether the machine runs on its battery."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from r1.machine import power as module
from r1.machine.power import Power, power
from tests.fakes.programs import write_program

# https://wiki.termux.com/wiki/Termux-battery-status
TERMUX = '{"health": "GOOD", "percentage": 84, "plugged": "%s", "status": "DISCHARGING", "temperature": 25.6}'


def sensors(percent: float, plugged: bool | None) -> Callable[[], object]:
    """A fake of psutil.sensors_battery (r1 never reads secsleft)."""
    return lambda: SimpleNamespace(percent=percent, secsleft=-1, power_plugged=plugged)


def phone(folder: Path, script: str) -> str:
    """Writes a fake of Termux's program; returns the PATH that finds it."""
    return write_program(folder, "termux-battery-status", script)


class TestSensors:
    """The battery as psutil reports it."""

    @pytest.mark.parametrize(("plugged", "on_battery"), [(True, False), (False, True), (None, None)])
    def test_tell_whether_it_is_plugged_in(self, plugged: bool | None, on_battery: bool | None) -> None:
        assert power(sensors=sensors(62.4, plugged)) == Power(on_battery, 62)

    def test_a_machine_without_a_battery_has_none(self) -> None:
        assert power(sensors=lambda: None) is None

    def test_a_system_that_hides_it_has_none(self) -> None:
        def forbidden() -> object:
            raise PermissionError

        assert power(sensors=forbidden) is None


@pytest.mark.skipif(sys.platform == "win32", reason="scripts are not executable on Windows")
class TestTermux:
    """Termux's own program, when it is installed."""

    @pytest.mark.parametrize(("plugged", "on_battery"), [("UNPLUGGED", True), ("PLUGGED_AC", False)])
    def test_its_json_is_read(self, tmp_path: Path, plugged: str, on_battery: bool) -> None:
        path = phone(tmp_path, f"print('{TERMUX % plugged}')")
        assert power(termux=True, path=path) == Power(on_battery, 84)

    def test_without_the_app_it_never_returns_and_times_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_TIMEOUT_S", 0.2)
        assert power(termux=True, path=phone(tmp_path, "import time; time.sleep(60)")) is None

    @pytest.mark.parametrize("said", ["", "[]", "{}", "termux-battery-status: not found"])
    def test_an_invalid_answer_is_none(self, tmp_path: Path, said: str) -> None:
        assert power(termux=True, path=phone(tmp_path, f"print({said!r})")) is None

    def test_without_the_program_the_sensors_are_read(self, tmp_path: Path) -> None:
        assert power(termux=True, path=str(tmp_path), sensors=sensors(50, plugged=False)) == Power(True, 50)

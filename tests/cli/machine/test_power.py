"""`r1.machine.power`: on battery or not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from r1.machine import power as module
from r1.machine.power import Power, power

# https://wiki.termux.com/wiki/Termux-battery-status
TERMUX = '{"health": "GOOD", "percentage": 84, "plugged": "%s", "status": "DISCHARGING", "temperature": 25.6}'


def sensors(percent: float, plugged: bool | None) -> Callable[[], object]:
    """What psutil.sensors_battery gives (secsleft is never asked for)."""
    return lambda: SimpleNamespace(percent=percent, secsleft=-1, power_plugged=plugged)


def phone(folder: Path, script: str) -> str:
    """A PATH on which Termux's program is, and does that."""
    program = folder / "termux-battery-status"
    program.write_text(f"#!{sys.executable}\n{script}\n")
    program.chmod(0o755)
    return str(folder)


class TestSensors:
    """psutil's, as far as they can be believed."""

    @pytest.mark.parametrize(("plugged", "on_battery"), [(True, False), (False, True), (None, None)])
    def test_say_whether_it_is_plugged_in(self, plugged: bool | None, on_battery: bool | None) -> None:
        assert power(sensors=sensors(62.4, plugged)) == Power(on_battery, 62)

    def test_a_machine_without_a_battery_has_no_power_to_tell_of(self) -> None:
        assert power(sensors=lambda: None) is None

    def test_a_system_that_tells_nobody_is_no_failure(self) -> None:
        def forbidden() -> object:
            raise PermissionError

        assert power(sensors=forbidden) is None


@pytest.mark.skipif(sys.platform == "win32", reason="a script is no program there")
class TestTermux:
    """A program of its own, when it is installed."""

    @pytest.mark.parametrize(("plugged", "on_battery"), [("UNPLUGGED", True), ("PLUGGED_AC", False)])
    def test_says_it_in_json(self, tmp_path: Path, plugged: str, on_battery: bool) -> None:
        path = phone(tmp_path, f"print('{TERMUX % plugged}')")
        assert power(termux=True, path=path) == Power(on_battery, 84)

    def test_without_the_app_it_waits_for_ever_and_is_not_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_PATIENCE", 0.2)
        assert power(termux=True, path=phone(tmp_path, "import time; time.sleep(60)")) is None

    @pytest.mark.parametrize("said", ["", "[]", "{}", "termux-battery-status: not found"])
    def test_what_is_no_answer_is_none(self, tmp_path: Path, said: str) -> None:
        assert power(termux=True, path=phone(tmp_path, f"print({said!r})")) is None

    def test_without_the_program_the_sensors_are_asked(self, tmp_path: Path) -> None:
        assert power(termux=True, path=str(tmp_path), sensors=sensors(50, plugged=False)) == Power(True, 50)

"""The battery: how full it is, and whether the machine runs on it, which slows the processor down."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TIMEOUT_S = 1.0  # without the Termux:API app, Termux's programs never return


@dataclass(frozen=True, slots=True)
class Power:
    """A battery: `percent` is how full it is; `on_battery` is None where the system does not say."""

    on_battery: bool | None
    percent: int


def power(*, termux: bool = False, sensors: Callable[[], Any] | None = None, path: str | None = None) -> Power | None:
    """None for a machine without a battery, or one that does not report it.

    `sensors` is called like `psutil.sensors_battery`; `path` is where programs are looked for (default: PATH).
    """
    if termux and (program := shutil.which("termux-battery-status", path=path)):
        return _read_termux(program)
    try:
        battery = (sensors or _sensors())()
    except (OSError, ValueError, AttributeError, RuntimeError, NotImplementedError):
        return None
    if battery is None or not 0 <= battery.percent <= 100:
        return None
    plugged = battery.power_plugged
    return Power(on_battery=None if plugged is None else not plugged, percent=round(battery.percent))


def _sensors() -> Callable[[], Any]:
    import psutil

    return psutil.sensors_battery


def _read_termux(program: str) -> Power | None:
    """https://wiki.termux.com/wiki/Termux-battery-status"""
    try:
        done = subprocess.run(
            [program], capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S, check=True, text=True
        )
        status = json.loads(done.stdout)
        return Power(on_battery=status["plugged"] == "UNPLUGGED", percent=round(status["percentage"]))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None

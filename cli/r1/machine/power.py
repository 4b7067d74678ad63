"""Whether the machine runs on its battery, and how full that is: on battery, processors are slowed down.

Knows: psutil's sensors, and Termux's battery. Does not know: what to say about it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PATIENCE = 1.0  # seconds; without the Termux:API app its programs wait for ever


@dataclass(frozen=True, slots=True)
class Power:
    """A battery: `percent` is how full it is; `on_battery` is None where nobody says whether it is plugged in."""

    on_battery: bool | None
    percent: int


def power(*, termux: bool = False, sensors: Callable[[], Any] | None = None, path: str | None = None) -> Power | None:
    """None for a machine without a battery, or one that tells nobody.

    `sensors` is as `psutil.sensors_battery`; `path` is where programs are looked for (default: PATH).
    """
    if termux and (program := shutil.which("termux-battery-status", path=path)):
        return _of_termux(program)
    try:
        found = (sensors or _sensors())()
    except (OSError, ValueError, AttributeError, RuntimeError, NotImplementedError):
        return None
    if found is None or not 0 <= found.percent <= 100:
        return None
    plugged = found.power_plugged
    return Power(None if plugged is None else not plugged, round(found.percent))


def _sensors() -> Callable[[], Any]:
    import psutil

    return psutil.sensors_battery


def _of_termux(program: str) -> Power | None:
    """https://wiki.termux.com/wiki/Termux-battery-status"""
    try:
        done = subprocess.run(
            [program], capture_output=True, stdin=subprocess.DEVNULL, timeout=_PATIENCE, check=True, text=True
        )
        said = json.loads(done.stdout)
        return Power(said["plugged"] == "UNPLUGGED", round(said["percentage"]))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None

"""`r1.commands.doctor`: the report, or JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from r1.commands import doctor as module
from r1.commands.doctor import doctor
from r1_quantize.errors import ExitStatus
from tests.fakes.consoles import console, written
from tests.fakes.diagnoses import HARDWARE, diagnosis, diagnosis_with


class TestDoctor:
    """Succeeds also when it has warnings."""

    def test_json_is_one_object(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "examine", lambda *_: diagnosis_with(busy=0.9))
        screen = console()
        assert doctor(screen, as_json=True) == ExitStatus.OK
        facts = json.loads(written(screen.stdout))
        assert [warning["about"] for warning in facts["warnings"]] == ["busy"]

    @pytest.mark.parametrize(("is_terminal", "longest"), [(True, 40), (False, 80)])
    def test_the_report_has_the_width_of_the_terminal_or_80_columns(
        self, monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, longest: int
    ) -> None:
        terminal = replace(HARDWARE.terminal, is_terminal=is_terminal, columns=40)
        monkeypatch.setattr(module, "examine", lambda *_: diagnosis_with(terminal=terminal))
        screen = console()
        assert doctor(screen, as_json=False) == ExitStatus.OK
        lines = written(screen.stdout).splitlines()
        assert longest - 20 < max(map(len, lines)) <= longest
        assert lines == [line.rstrip() for line in lines]

    def test_a_pipe_gets_no_escape_codes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "examine", lambda *_: diagnosis())
        screen = console()
        doctor(screen, as_json=False)
        assert "\x1b" not in written(screen.stdout)

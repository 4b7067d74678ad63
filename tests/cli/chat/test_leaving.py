"""`r1.chat.leaving`: a second Ctrl-C leaves only while the hint about it is shown."""

from __future__ import annotations

import pytest

from r1.chat.leaving import HINT_S, PressedTwice


@pytest.mark.parametrize(("seconds", "leaves"), [(0.1, True), (HINT_S - 0.1, True), (HINT_S, False), (60, False)])
def test_the_second_press_leaves_in_time(seconds: float, leaves: bool) -> None:
    now = [100.0]
    pressed = PressedTwice(lambda: now[0])
    assert not pressed()
    now[0] += seconds
    assert pressed() is leaves


def test_after_one_that_came_too_late_the_next_one_leaves() -> None:
    now = [100.0]
    pressed = PressedTwice(lambda: now[0])
    for pause, leaves in ((0, False), (5, False), (1, True)):
        now[0] += pause
        assert pressed() is leaves

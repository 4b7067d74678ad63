"""`r1.engine.llama`: a flag that C reads."""

from __future__ import annotations

import ctypes

from r1.engine.llama import Stop


def seen_by_c(stop: Stop) -> bool:
    """What llama.cpp sees: its callback is a `bool (*)(void *)`."""
    callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(stop.callback)
    return bool(callback(stop.data))


class TestStop:
    """Set, cleared, set again; Python and C agree."""

    def test_is_not_set_at_first(self) -> None:
        stop = Stop()
        assert (stop(), seen_by_c(stop)) == (False, False)

    def test_can_be_set_and_cleared_again_and_again(self) -> None:
        stop = Stop()
        for _ in range(3):
            stop.set()
            assert (stop(), seen_by_c(stop)) == (True, True)
            stop.clear()
            assert (stop(), seen_by_c(stop)) == (False, False)

    def test_is_one_of_many(self) -> None:
        one, other = Stop(), Stop()
        one.set()
        assert (seen_by_c(one), seen_by_c(other)) == (True, False)

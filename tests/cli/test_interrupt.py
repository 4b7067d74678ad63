"""`r1.interrupt`: Ctrl-C as a question."""

from __future__ import annotations

import signal
import threading

import pytest

from r1.interrupt import Interrupt


class TestInterrupt:
    """The first signal asks, the second one insists."""

    def test_a_signal_makes_it_true_and_raises_nothing(self) -> None:
        with Interrupt() as interrupt:
            assert not interrupt()
            signal.raise_signal(signal.SIGINT)
            assert interrupt()

    def test_the_second_signal_raises(self) -> None:
        with Interrupt():
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

    def test_the_handler_before_is_put_back(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        with Interrupt():
            assert signal.getsignal(signal.SIGINT) != before
        assert signal.getsignal(signal.SIGINT) == before

    def test_another_thread_may_use_it(self) -> None:
        states: list[bool] = []

        def work() -> None:
            with Interrupt() as interrupt:
                states.append(interrupt())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert states == [False]

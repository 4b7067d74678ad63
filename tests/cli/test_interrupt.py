"""`r1.interrupt`: Ctrl-C as a question."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from r1.interrupt import Interrupt


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class TestInterrupt:
    """A signal asks, and raises only where nothing could ask back."""

    def test_a_signal_makes_it_true_and_raises_nothing(self) -> None:
        with Interrupt() as interrupt:
            assert not interrupt()
            ctrl_c()
            assert interrupt()

    def test_after_the_second_one_the_third_kills(self) -> None:
        with Interrupt():
            ctrl_c()
            ctrl_c()
            assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL

    def test_while_something_waits_it_raises(self) -> None:
        with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt), interrupt.raising():
            ctrl_c()

    def test_one_that_came_before_the_wait_ends_it_too(self) -> None:
        with Interrupt() as interrupt:
            ctrl_c()
            with pytest.raises(KeyboardInterrupt), interrupt.raising():
                pytest.fail("the wait was begun")

    def test_after_the_wait_it_only_asks_again(self) -> None:
        with Interrupt() as interrupt:
            with interrupt.raising():
                pass
            ctrl_c()
            assert interrupt()

    @pytest.mark.skipif(sys.platform == "win32", reason="waits in a way of POSIX")
    def test_the_third_kills_although_python_is_waiting_in_c(self) -> None:
        program = (
            "import ctypes, sys\n"
            "from r1.interrupt import Interrupt\n"
            "lock, libc = ctypes.create_string_buffer(256), ctypes.CDLL(None)\n"
            "with Interrupt():\n"
            "    libc.pthread_mutex_lock(lock)\n"
            "    print('waiting', flush=True)\n"
            "    libc.pthread_mutex_lock(lock)  # for ever: a signal does not end this one\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"waiting\n"
            for _ in range(3):
                assert process.poll() is None
                process.send_signal(signal.SIGINT)
                time.sleep(0.1)
            assert process.wait(10) == 130

    def test_the_handler_before_is_put_back(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        with Interrupt():
            assert signal.getsignal(signal.SIGINT) != before
        assert signal.getsignal(signal.SIGINT) == before

    def test_what_is_ignored_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with Interrupt() as interrupt:
                ctrl_c()
                assert not interrupt()
        finally:
            signal.signal(signal.SIGINT, before)

    def test_another_thread_may_use_it(self) -> None:
        states: list[bool] = []

        def work() -> None:
            with Interrupt() as interrupt:
                states.append(interrupt())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert states == [False]

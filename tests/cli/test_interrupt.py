"""`r1.interrupt`: Ctrl-C as a flag."""

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
    """A signal sets the flag, and raises only in a block that waits."""

    def test_a_signal_sets_it_and_raises_nothing(self) -> None:
        with Interrupt() as interrupt:
            assert not interrupt()
            ctrl_c()
            assert interrupt()

    def test_after_the_second_signal_the_third_kills(self) -> None:
        with Interrupt():
            ctrl_c()
            ctrl_c()
            assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL

    def test_it_raises_in_a_waiting_block(self) -> None:
        with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt), interrupt.raising():
            ctrl_c()

    def test_a_signal_before_the_block_raises_too(self) -> None:
        with Interrupt() as interrupt:
            ctrl_c()
            with pytest.raises(KeyboardInterrupt), interrupt.raising():
                pytest.fail("the block was entered")

    def test_after_the_block_it_only_sets_the_flag(self) -> None:
        with Interrupt() as interrupt:
            with interrupt.raising():
                pass
            ctrl_c()
            assert interrupt()

    @pytest.mark.skipif(sys.platform == "win32", reason="uses a POSIX lock")
    def test_the_third_kills_even_while_c_code_blocks(self) -> None:
        program = (
            "import ctypes, sys\n"
            "from r1.interrupt import Interrupt\n"
            "lock, libc = ctypes.create_string_buffer(256), ctypes.CDLL(None)\n"
            "with Interrupt():\n"
            "    libc.pthread_mutex_lock(lock)\n"
            "    print('waiting', flush=True)\n"
            "    libc.pthread_mutex_lock(lock)  # forever: a signal does not interrupt it\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"waiting\n"
            for _ in range(3):
                assert process.poll() is None
                process.send_signal(signal.SIGINT)
                time.sleep(0.1)
            assert process.wait(10) == 130

    def test_the_previous_handler_is_restored(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        with Interrupt():
            assert signal.getsignal(signal.SIGINT) != before
        assert signal.getsignal(signal.SIGINT) == before

    def test_an_ignored_signal_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with Interrupt() as interrupt:
                ctrl_c()
                assert not interrupt()
        finally:
            signal.signal(signal.SIGINT, before)

    def test_it_does_nothing_in_another_thread(self) -> None:
        states: list[bool] = []

        def work() -> None:
            with Interrupt() as interrupt:
                states.append(interrupt())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert states == [False]

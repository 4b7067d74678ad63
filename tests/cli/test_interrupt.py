"""`r1.interrupt`: Ctrl-C, SIGTERM and SIGHUP as a flag or an exception."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from r1.interrupt import AnswerNow, Interrupt, Interrupted, exit_on_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGHUP is POSIX's")

STATUSES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""The exit status of a shell's job that each signal ended."""


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class TestInterrupt:
    """A signal sets the flag, and raises only in a block that waits."""

    def test_a_signal_sets_it_and_raises_nothing(self) -> None:
        with Interrupt() as interrupt:
            assert not interrupt()
            ctrl_c()
            assert interrupt()

    @pytest.mark.parametrize(("number", "status"), STATUSES.items())
    def test_it_knows_the_status_of_the_signal_that_came_first(self, number: signal.Signals, status: int) -> None:
        with Interrupt() as interrupt:
            assert interrupt.status == 130
            signal.raise_signal(number)
            assert interrupt()
            signal.raise_signal(signal.SIGINT)
            assert interrupt.status == status

    def test_after_the_second_signal_the_third_kills(self) -> None:
        with Interrupt():
            ctrl_c()
            ctrl_c()
            assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL

    @pytest.mark.parametrize("number", STATUSES)
    def test_it_raises_in_a_waiting_block(self, number: signal.Signals) -> None:
        with Interrupt() as interrupt, pytest.raises(Interrupted), interrupt.raising():
            signal.raise_signal(number)

    def test_a_pipe_that_breaks_after_a_signal_is_the_end_by_that_signal(self) -> None:
        def work() -> None:
            with Interrupt():
                signal.raise_signal(signal.SIGHUP)
                raise BrokenPipeError

        with pytest.raises(SystemExit) as end:
            work()
        assert end.value.code == 129

    def test_a_pipe_that_breaks_by_itself_stays_one(self) -> None:
        with pytest.raises(BrokenPipeError), Interrupt():
            raise BrokenPipeError

    def test_a_signal_before_the_block_raises_too(self) -> None:
        with Interrupt() as interrupt:
            ctrl_c()
            with pytest.raises(Interrupted), interrupt.raising():
                pytest.fail("the block was entered")

    def test_after_the_block_it_only_sets_the_flag(self) -> None:
        with Interrupt() as interrupt:
            with interrupt.raising():
                pass
            ctrl_c()
            assert interrupt()

    @pytest.mark.parametrize(("number", "status"), STATUSES.items())
    def test_the_third_kills_even_while_c_code_blocks(self, number: signal.Signals, status: int) -> None:
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
                process.send_signal(number)
                time.sleep(0.1)
            assert process.wait(10) == status

    @pytest.mark.parametrize("number", STATUSES)
    def test_the_previous_handler_is_restored(self, number: signal.Signals) -> None:
        before = signal.getsignal(number)
        with Interrupt():
            assert signal.getsignal(number) != before
        assert signal.getsignal(number) == before

    @pytest.mark.parametrize("number", STATUSES)
    def test_an_ignored_signal_stays_ignored(self, number: signal.Signals) -> None:
        before = signal.signal(number, signal.SIG_IGN)
        try:
            with Interrupt() as interrupt, exit_on_signals():
                signal.raise_signal(number)
                assert not interrupt()
        finally:
            signal.signal(number, before)

    def test_it_does_nothing_in_another_thread(self) -> None:
        states: list[bool] = []

        def work() -> None:
            with Interrupt() as interrupt:
                states.append(interrupt())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert states == [False]


class TestAnswerNow:
    """SIGUSR1 is for the replies under way, and sticks to them."""

    def test_it_is_for_those_that_have_begun(self) -> None:
        with AnswerNow() as answer_now:
            earlier = answer_now.from_now()
            assert not earlier()
            signal.raise_signal(signal.SIGUSR1)
            later = answer_now.from_now()
            assert [earlier(), earlier(), later()] == [True, True, False]
            signal.raise_signal(signal.SIGUSR1)
            assert later()

    def test_it_raises_nothing_and_neither_ends_nor_kills(self) -> None:
        with Interrupt() as interrupt, AnswerNow() as answer_now, interrupt.raising():
            asked = answer_now.from_now()
            for _ in range(5):
                signal.raise_signal(signal.SIGUSR1)
            assert asked()
            assert not interrupt()

    def test_one_that_comes_too_late_does_nothing(self) -> None:
        """To the end of the process: it gets one as its last function at the exit, and another after that."""
        program = (
            "import atexit, os, signal, sys\n"
            "from r1.interrupt import AnswerNow\n"
            "class Last:\n"
            "    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGUSR1):\n"
            "        kill(pid, number)\n"
            "sys.last = Last()\n"
            "atexit.register(signal.raise_signal, signal.SIGUSR1)\n"
            "for _ in range(2):\n"
            "    with AnswerNow() as answer_now:\n"
            "        asked = answer_now.from_now()\n"
            "        signal.raise_signal(signal.SIGUSR1)\n"
            "        assert asked()\n"
            "    signal.raise_signal(signal.SIGUSR1)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    def test_another_handler_is_restored(self) -> None:
        before = signal.signal(signal.SIGUSR1, lambda *_: None)
        try:
            own = signal.getsignal(signal.SIGUSR1)
            with AnswerNow():
                assert signal.getsignal(signal.SIGUSR1) != own
            assert signal.getsignal(signal.SIGUSR1) == own
        finally:
            signal.signal(signal.SIGUSR1, before)

    def test_an_ignored_signal_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        try:
            with AnswerNow() as answer_now:
                asked = answer_now.from_now()
                signal.raise_signal(signal.SIGUSR1)
                assert not asked()
        finally:
            signal.signal(signal.SIGUSR1, before)


class TestExitOnSignals:
    """Where nothing checks a flag, SIGTERM and SIGHUP end the work as an exception does."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_raises_and_the_second_leaves_the_end_alone(self, number: signal.Signals) -> None:
        handlers = []

        def work() -> None:
            try:
                signal.raise_signal(number)
            finally:
                signal.raise_signal(number)
                handlers.append(signal.getsignal(number))

        with pytest.raises(SystemExit) as end, exit_on_signals():
            work()
        assert end.value.code == STATUSES[number]
        assert handlers == [signal.SIG_DFL]  # so the third kills

    def test_inside_interrupt_the_flag_is_set_and_afterwards_it_raises_again(self) -> None:
        with exit_on_signals():
            with Interrupt() as interrupt:
                signal.raise_signal(signal.SIGTERM)
                assert interrupt()
            with pytest.raises(SystemExit):
                signal.raise_signal(signal.SIGTERM)

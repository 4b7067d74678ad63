"""`r1.jsonl.line_reader`: lines are read one ahead, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from queue import SimpleQueue

import pytest

from r1.jsonl.line_reader import LineReader
from r1.prompt_input import PromptLine
from r1_quantize.errors import UsageError


def line(number: int) -> PromptLine:
    return PromptLine(number, prompt=f"prompt {number}")


class Source:
    """Lines that arrive when a test says so; `asked` counts those that the reader has asked for."""

    def __init__(self) -> None:
        self.arriving: SimpleQueue[PromptLine | None] = SimpleQueue()
        self.asked = threading.Semaphore(0)

    def __iter__(self) -> Iterator[PromptLine]:
        while True:
            self.asked.release()
            arrived = self.arriving.get()
            if arrived is None:
                return
            yield arrived


class TestTake:
    """The next line, the end, or nothing yet."""

    def test_lines_come_in_order_and_then_the_end(self) -> None:
        reader = LineReader([line(1), line(2)])
        assert [reader.take(wait=True), reader.take(wait=True)] == [line(1), line(2)]
        assert reader.take(wait=True) is None
        assert reader.has_ended
        reader.raise_error()

    def test_without_waiting_it_says_that_there_is_none_yet(self) -> None:
        source = Source()
        reader = LineReader(source)
        assert reader.take(wait=False) is None
        assert not reader.has_ended
        source.arriving.put(line(1))
        assert reader.take(wait=True) == line(1)
        source.arriving.put(None)
        assert reader.take(wait=True) is None
        assert reader.has_ended

    def test_looking_for_a_line_does_not_take_it(self) -> None:
        reader = LineReader([line(1), line(2)])
        assert reader.has_line()
        assert reader.has_line()
        assert [reader.take(wait=False), reader.take(wait=True)] == [line(1), line(2)]
        assert not reader.has_line()

    def test_stop_ends_a_wait(self) -> None:
        stop = threading.Event()
        source = Source()
        reader = LineReader(source, stop.is_set)
        threading.Timer(0.01, stop.set).start()
        assert reader.take(wait=True) is None
        assert not reader.has_ended
        source.arriving.put(None)

    def test_an_error_comes_after_the_lines_before_it(self) -> None:
        def failing() -> Iterator[PromptLine]:
            yield line(1)
            raise UsageError("stdin cannot be read")

        reader = LineReader(failing())
        assert reader.take(wait=True) == line(1)
        reader.raise_error()
        assert reader.take(wait=True) is None
        with pytest.raises(UsageError, match="stdin cannot be read"):
            reader.raise_error()


def test_it_reads_one_line_ahead_and_no_further() -> None:
    """Of an endless source, too, it reads only what is taken."""
    source = Source()
    for number in range(1, 100):
        source.arriving.put(line(number))
    reader = LineReader(source)
    for number in range(1, 6):
        assert source.asked.acquire(timeout=60)
        assert not source.asked.acquire(timeout=0.005)
        assert reader.take(wait=True) == line(number)
    reader.close()


def test_the_thread_ends_when_it_is_closed() -> None:
    before = set(threading.enumerate())  # those of other tests may end meanwhile
    reader = LineReader(map(line, count(1)))
    (thread,) = set(threading.enumerate()) - before
    reader.take(wait=True)
    reader.close()
    thread.join(60)
    assert not thread.is_alive()

"""`r1.jsonl.answering`: the loop that answers lines, with an engine that needs no model."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from time import monotonic, sleep
from typing import Any

import pytest

from r1.console import Console
from r1.interrupt import AnswerNow
from r1.jsonl.answering import Answering, Reporting
from r1.jsonl.asking import Asked, Asking
from r1.jsonl.line_reader import LineReader
from r1.jsonl.results import Result, Results
from r1.prompt_input import PromptLine
from r1.render.lines_progress import LinesProgress
from r1.render.plain import PlainView
from r1.render.reply_text import Reply
from r1.settings import Settings
from r1_quantize.errors import ExitStatus, UsageError
from tests.fakes.consoles import console, written
from tests.fakes.engines import FakeEngine


def result(asked: Asked, reply: Reply, seed: int, load_s: float) -> Result:
    finished = reply.finished
    fields = {
        **{"answer": reply.answer, "finish_reason": finished.reason, "thinking_end": finished.thinking_end},
        **{"seed": seed, "load_s": load_s, "temp": asked.settings.temp},
    }
    return Result(fields, ExitStatus.OK if finished.reason == "stop" else ExitStatus.INCOMPLETE)


def lines_of(*prompts: str) -> Iterator[PromptLine]:
    return (PromptLine(number, prompt, size=10) for number, prompt in enumerate(prompts, start=1))


@dataclass(slots=True)
class Answered:
    """An engine, and what was printed."""

    engine: FakeEngine
    in_order: bool = True
    reporting: Reporting = field(default_factory=lambda: Reporting(result))
    asking: Asking = field(default_factory=lambda: Asking(Settings(), None, AnswerNow()))
    console: Console = field(default_factory=console)

    def run(
        self, lines: Iterable[PromptLine], interrupted: Callable[[], bool] = lambda: False, *, waits: bool = True
    ) -> list[dict[str, Any]]:
        progress = LinesProgress(self.console, None)
        results = Results(self.console, progress, in_order=self.in_order)
        reader = LineReader(lines, interrupted)
        try:
            answering = Answering(self.engine, reader, results, progress, self.asking, self.reporting)
            answering.run(interrupted, waits=waits)
        finally:
            reader.close()
        return self.printed

    @property
    def printed(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in written(self.console.stdout).splitlines()]


class TestOrder:
    """Several at once; a line begins as soon as another has ended."""

    def test_results_keep_the_order_of_the_lines(self) -> None:
        answered = Answered(FakeEngine(sequences=2))
        found = answered.run(lines_of("5 a", "1 b", "1 c", "2 d"))
        assert [(each["line"], each["answer"]) for each in found] == [(1, "5 A"), (2, "1 B"), (3, "1 C"), (4, "2 D")]
        assert answered.engine.log == [
            *("begin 5 a", "begin 1 b", "end 1 b", "begin 1 c", "end 1 c", "begin 2 d", "end 2 d", "end 5 a")
        ]
        assert answered.engine.steps == 5

    def test_unordered_they_come_as_they_end(self) -> None:
        found = Answered(FakeEngine(sequences=2), in_order=False).run(lines_of("5 a", "1 b", "1 c", "2 d"))
        assert [each["line"] for each in found] == [2, 3, 4, 1]

    def test_one_at_a_time(self) -> None:
        answered = Answered(FakeEngine(sequences=1))
        answered.run(lines_of("2 a", "1 b"))
        assert answered.engine.log == ["begin 2 a", "end 2 a", "begin 1 b", "end 1 b"]

    def test_a_result_has_the_labels_of_its_line_first(self) -> None:
        (found,) = Answered(FakeEngine()).run([PromptLine(3, "1 a", fields={"id": [1]}, size=10)])
        assert list(found)[:4] == ["id", "line", "prompt_sha256", "answer"]
        assert (found["id"], found["line"], found["seed"], found["load_s"]) == ([1], 3, 7, 0.25)


def test_waiting_for_the_next_line_does_not_hold_up_those_under_way() -> None:
    """The second line comes only when the first is answered."""
    engine = FakeEngine(sequences=2)

    def slow() -> Iterator[PromptLine]:
        yield PromptLine(1, "3 a", size=10)
        give_up = monotonic() + 60
        while "end 3 a" not in engine.log and monotonic() < give_up:
            sleep(0.001)
        yield PromptLine(2, "1 b", size=10)

    Answered(engine).run(slow(), waits=False)
    assert engine.log == ["begin 3 a", "end 3 a", "begin 1 b", "end 1 b"]


class TestBackpressure:
    """An endless input is read no faster than it is answered, and memory stays bounded."""

    @pytest.mark.parametrize("in_order", [True, False])
    def test_a_reply_that_does_not_end_holds_up_a_bounded_number(self, in_order: bool) -> None:
        read = count(1)
        endless = (PromptLine(number, "1 x" if number > 1 else "1000000 x", size=10) for number in read)
        engine = FakeEngine(sequences=4)
        answered = Answered(engine, in_order=in_order)
        answered.run(endless, lambda: engine.steps >= 500 and stop(engine))
        assert engine.most_at_once == 4
        printed = len(answered.printed)
        if in_order:  # line 1 is interrupted at the end, and those that waited for it are printed
            assert next(read) - 1 <= 4 * 64 + 4 + 1
            assert [each["line"] for each in answered.printed] == list(range(1, printed + 1))
        else:
            assert next(read) - 1 <= printed + 1
            assert printed > 1000

    def test_no_more_lines_are_taken_than_can_begin(self) -> None:
        taken: list[int] = []
        engine = FakeEngine(sequences=3)

        def lines() -> Iterator[PromptLine]:
            for number in range(1, 50):
                taken.append(number)
                ended = sum(entry.startswith("end") for entry in engine.log)
                assert number <= ended + 3 + 1 + 3  # under way, one ahead, and those that end in one step
                yield PromptLine(number, "2 x", size=10)

        assert len(Answered(engine).run(lines())) == 49


def stop(engine: FakeEngine) -> bool:
    engine.is_stopped = True
    return True


class TestBadLines:
    """A line that cannot be answered has its error in its place; the others go on."""

    def test_it_is_not_a_prompt(self) -> None:
        bad = PromptLine(2, error="line 2 is not JSON", fields={"id": 5}, size=3)
        found = Answered(FakeEngine()).run([PromptLine(1, "3 a", size=9), bad, PromptLine(3, "1 c", size=9)])
        assert [each["line"] for each in found] == [1, 2, 3]
        assert found[1] == {"id": 5, "line": 2, "error": "line 2 is not JSON"}

    def test_it_is_too_long(self) -> None:
        found = Answered(FakeEngine()).run(lines_of("3 a", "long", "1 c"))
        assert [each["line"] for each in found] == [1, 2, 3]
        assert set(found[1]) == {"line", "prompt_sha256", "error"}
        assert found[1]["error"].startswith("line 2: the prompt has 200 tokens")

    def test_the_engine_fails(self) -> None:
        """Those under way have the error, and the next ones are answered."""
        found = Answered(FakeEngine(sequences=2, fails_at=2)).run(lines_of("3 a", "3 b", "1 c"))
        assert [each.get("error") for each in found] == ["line 1: llama.cpp failed", "line 2: llama.cpp failed", None]
        assert found[2]["answer"] == "1 C"

    def test_an_error_that_ends_the_input_comes_after_the_answers(self) -> None:
        def broken() -> Iterator[PromptLine]:
            yield PromptLine(1, "3 a", size=9)
            raise UsageError("stdin cannot be read")

        answered = Answered(FakeEngine())
        with pytest.raises(UsageError, match="stdin cannot be read"):
            answered.run(broken())
        assert [each["answer"] for each in answered.printed] == ["3 A"]


class TestRoom:
    """A line for which the context must be made anew."""

    def test_a_line_without_room_waits_for_those_under_way(self) -> None:
        answered = Answered(FakeEngine(sequences=2))
        found = answered.run(lines_of("3 a", "wide 1 b", "1 c"))
        assert answered.engine.log[:3] == ["begin 3 a", "end 3 a", "begin wide 1 b"]
        assert [each["answer"] for each in found] == ["3 A", "WIDE 1 B", "1 C"]


class TestInterrupt:
    """What is finished is printed, and what is under way with what there is; lines that have not begun are left out."""

    def test_in_the_order_of_the_lines(self) -> None:
        engine = FakeEngine(sequences=2)
        found = Answered(engine).run(
            lines_of("9 a", "1 b", "1 c", "9 d", "1 e"), lambda: engine.steps >= 3 and stop(engine)
        )
        assert [(each["line"], each["finish_reason"]) for each in found] == [
            *((1, "interrupted"), (2, "stop"), (3, "stop"), (4, "interrupted"))
        ]

    def test_an_unexpected_error_prints_what_is_finished(self) -> None:
        def broken(asked: Asked, reply: Reply, seed: int, load_s: float) -> Result:
            if reply.answer == "2 C":
                raise RuntimeError("unexpected")
            return result(asked, reply, seed, load_s)

        answered = Answered(FakeEngine(sequences=2), reporting=Reporting(broken))
        with pytest.raises(RuntimeError, match="unexpected"):
            answered.run(lines_of("9 a", "1 b", "2 c"))
        assert [each["line"] for each in answered.printed] == [2]


class TestOptions:
    """A line may have options of its own."""

    def test_each_is_for_its_line_alone(self) -> None:
        answered = Answered(FakeEngine(), asking=Asking(Settings(temp=0.5, seed=3), None, AnswerNow()))
        lines = [
            PromptLine(1, "1 a", options={"temp": 1, "seed": 9}),
            PromptLine(2, "1 b"),
            PromptLine(3, "1 c", options={"effort": "none"}),
        ]
        found = answered.run(lines)
        assert [(each["temp"], each["seed"]) for each in found] == [(1.0, 9), (0.5, 3), (0.5, 3)]
        assert [each.effort for each in answered.engine.settings] == [None, None, "none"]

    def test_a_wrong_one_is_the_error_of_its_line(self) -> None:
        lines = [PromptLine(1, "2 a"), PromptLine(2, "1 b", options={"temp": "hot"}), PromptLine(3, "1 c")]
        found = Answered(FakeEngine()).run(lines)
        assert [each.get("answer") for each in found] == ["2 A", None, "1 C"]
        assert found[1]["error"] == (
            "line 2: \"temp\": 'hot' is not a number from 0 to 10 (0: always the most likely token)"
        )


@pytest.mark.skipif(sys.platform == "win32", reason="SIGUSR1 is POSIX's")
def test_answer_now_is_for_the_lines_under_way() -> None:
    """The signal comes in the second step; the third line has not begun then."""
    engine = FakeEngine(sequences=2)
    with AnswerNow() as answer_now:

        def interrupted() -> bool:
            if engine.steps == 2:
                signal.raise_signal(signal.SIGUSR1)
            return False

        answered = Answered(engine, asking=Asking(Settings(), None, answer_now))
        found = answered.run(lines_of("9 a", "9 b", "4 c"), interrupted)
    assert [each["thinking_end"] for each in found] == ["user", "user", "natural"]
    assert engine.steps == 3 + 4


@pytest.mark.skipif(sys.platform == "win32", reason="SIGUSR1 is POSIX's")
def test_answer_now_is_for_the_samples_under_way() -> None:
    """The signal comes in the second step of a vote; its third and fourth sample have not begun then."""
    engine = FakeEngine(sequences=2)
    with AnswerNow() as answer_now:

        def interrupted() -> bool:
            if engine.steps == 2:
                signal.raise_signal(signal.SIGUSR1)
            return False

        settings = Settings(votes=4, confidence=1)
        answered = Answered(engine, asking=Asking(settings, None, answer_now))
        (found,) = answered.run(lines_of("9 = 9"), interrupted)
    assert [sample["thinking_end"] for sample in found["samples"]] == ["user", "user", "natural", "natural"]


def test_the_tokens_of_a_vote_are_counted_as_they_come() -> None:
    class Counted(LinesProgress):
        def add_tokens(self, count: int) -> None:
            steps[-1] += count

        def show(self) -> None:
            steps.append(0)

    steps: list[int] = []
    made = console()
    progress = Counted(made, None)
    seen: list[int] = []

    def interrupted() -> bool:
        seen.append(sum(steps))
        return False

    answering = Answering(
        FakeEngine(sequences=2),
        LineReader(lines_of("4 a")),
        Results(made, progress, in_order=True),
        progress,
        Asking(Settings(votes=2, confidence=1), None, AnswerNow()),
        Reporting(result),
    )
    answering.run(interrupted, waits=True)
    assert len(set(seen)) > 2  # it grows during the vote
    assert sum(steps) == 2 * (2 + 3)


class TestThinking:
    """`--thinking show`."""

    def shown(self, sequences: int) -> str:
        made = console()
        reporting = Reporting(result, view=lambda _: PlainView(made, "stderr", show_answer=False))
        Answered(FakeEngine(sequences=sequences), reporting=reporting, console=made).run(lines_of("3 a", "2 b"))
        return written(made.stderr)

    def test_one_at_a_time_it_is_shown_as_it_comes(self) -> None:
        assert self.shown(1) == "hm hm \nhm \n"

    def test_of_several_each_is_shown_as_a_whole(self) -> None:
        assert self.shown(2) == "hm hm \nhm \n"

"""`r1.evaluate.evaluation`: which samples are drawn, in what order, and what is recorded of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from r1.engine.events import Drafted
from r1.engine.request import Request
from r1.evaluate.equivalence import Equivalence
from r1.evaluate.evaluation import Evaluation, SampleToDraw, samples_to_draw
from r1.evaluate.final_answer import final_answer
from r1.evaluate.judging import Judge
from r1.evaluate.problems import Problem
from r1.evaluate.sample_log import SampleLog, SampleRecord
from r1.settings import Settings
from r1_quantize.errors import R1Error
from tests.cli.evaluate.samples import problem
from tests.fakes.engines import FakeEngine

FACTS = {"model": "fake"}


@dataclass
class Heard:
    """What a listener is told."""

    log: list[str] = field(default_factory=list)
    tokens: int = 0

    def began(self, sample: SampleToDraw) -> None:
        self.log.append(f"began {sample.problem.line}.{sample.number}")

    def ended(self, record: SampleRecord) -> None:
        self.log.append(f"ended {record.line}.{record.sample}")

    def left_out(self, sample: SampleToDraw) -> None:
        self.log.append(f"left out {sample.problem.line}.{sample.number}")

    def generated(self, tokens: int) -> None:
        self.tokens += tokens


def evaluation(engine: FakeEngine, log: SampleLog | None = None, heard: Heard | None = None) -> Evaluation:
    """Over an engine whose answer is the question in capitals."""

    def request(sample: SampleToDraw) -> Request:
        return engine.request(
            sample.problem.question,
            settings=Settings(seed=sample.seed),
            form=None,
            answer_now=lambda: False,
        )

    judge = Judge(final_answer, Equivalence(None).same)
    return Evaluation(engine, request, judge, log or SampleLog.none(), heard or Heard())


def draw(problems: list[Problem], k: int = 1) -> Iterator[SampleToDraw]:
    return samples_to_draw(problems, k, 0, [])


class TestSamplesToDraw:
    """All that are missing, with seeds that depend on nothing else."""

    def test_those_of_one_problem_follow_each_other(self) -> None:
        found = [(each.problem.line, each.number) for each in draw([problem(5), problem(2)], 2)]
        assert found == [(5, 0), (5, 1), (2, 0), (2, 1)]

    def test_those_that_are_done_are_left_out(self) -> None:
        found = samples_to_draw([problem(5), problem(2)], 2, 0, [(5, 1), (2, 0), (9, 0)])
        assert [(each.problem.line, each.number) for each in found] == [(5, 0), (2, 1)]

    def test_a_seed_is_the_same_whatever_else_is_drawn(self) -> None:
        every = {(each.problem.line, each.number): each.seed for each in draw([problem(1), problem(2)], 3)}
        (alone,) = samples_to_draw([problem(2)], 3, 0, [(2, 0), (2, 2)])
        assert alone.seed == every[2, 1]
        assert len(set(every.values())) == 6
        other = [each.seed for each in samples_to_draw([problem(1)], 3, 1, [])]
        assert not set(other) & set(every.values())


class TestRun:
    """The loop over an engine."""

    def test_as_many_at_a_time_as_there_are_sequences_and_each_is_recorded_once(self) -> None:
        engine, heard = FakeEngine(sequences=3), Heard()
        problems = [problem(line, "4", question=f"{2 + line % 3} 4") for line in range(1, 6)]
        run = evaluation(engine, heard=heard)
        run.run(draw(problems, 2), lambda: False)
        assert engine.most_at_once == 3
        assert sorted(record.key for record in run.records) == [(line, n) for line in range(1, 6) for n in range(2)]
        assert sorted(heard.log) == sorted(
            f"{what} {line}.{n}" for what in ("began", "ended") for line in range(1, 6) for n in range(2)
        )
        assert heard.tokens == 10 * 5  # two of thinking and three of answer each

    def test_a_record_has_what_the_engine_said(self, tmp_path: Path) -> None:
        path = tmp_path / "samples.jsonl"
        with SampleLog.open(path, FACTS) as log:
            run = evaluation(FakeEngine(), log)
            run.run(draw([problem(1, "5", question=r"2 \boxed{4}")]), lambda: False)
        (record,) = run.records
        assert (record.final, record.correct, record.finish_reason, record.thinking_end) == (
            None,
            False,
            "stop",
            "natural",
        )
        assert (record.thinking_tokens, record.answer_tokens) == (2, 3)
        with SampleLog.open(path, FACTS) as log:
            assert log.earlier == run.records

    def test_a_question_that_is_too_long_is_named_and_left_out_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        """It is not in the file, so that it is asked again where there is more context."""
        heard, path = Heard(), tmp_path / "samples.jsonl"
        with SampleLog.open(path, FACTS) as log:
            run = evaluation(FakeEngine(), log, heard)
            run.run(draw([problem(1, question="long"), problem(2, question="2 a")], 2), lambda: False)
        assert sorted(heard.log) == sorted(
            [*("left out 1.0", "left out 1.1"), *("began 2.0", "began 2.1", "ended 2.0", "ended 2.1")]
        )
        assert [record.key for record in run.records] == [(2, 0), (2, 1)]
        assert [*run.too_long] == [1]
        assert run.too_long[1].reason.startswith("line 1: the prompt has")
        with SampleLog.open(path, FACTS) as log:
            assert log.earlier == run.records

    def test_one_that_needs_a_context_of_its_own_waits_for_the_others(self) -> None:
        engine = FakeEngine()
        run = evaluation(engine)
        run.run(draw([problem(1, question="3 a"), problem(2, question="wide 2 b")]), lambda: False)
        assert engine.log == ["begin 3 a", "end 3 a", "begin wide 2 b", "end wide 2 b"]

    def test_drafts_of_a_sample_are_recorded(self) -> None:
        run = evaluation(FakeEngine(drafted=Drafted(9, 6, 3, 1.5)))
        run.run(draw([problem(1, question="2 a"), problem(2, question="3 b")]), lambda: False)
        assert [record.drafted for record in run.records] == [Drafted(9, 6, 3)] * 2
        (record, _) = run.records
        assert SampleRecord.from_json(record.to_json("", "")) == record

    def test_a_record_of_an_earlier_r1_has_no_drafts(self) -> None:
        run = evaluation(FakeEngine(drafted=Drafted(9, 6, 3, 1.5)))
        run.run(draw([problem(1, question="2 a")]), lambda: False)
        (record,) = run.records
        older = record.to_json("", "")
        for name in ("passes", "drafted_tokens", "accepted_tokens"):
            del older[name]
        assert SampleRecord.from_json(older) == replace(record, passes=0, drafted_tokens=0, accepted_tokens=0)

    def test_what_a_signal_ends_is_not_recorded(self) -> None:
        engine = FakeEngine()
        run = evaluation(engine)

        def interrupted() -> bool:
            engine.is_stopped = engine.steps >= 3
            return engine.is_stopped

        run.run(draw([problem(1, question="2 a"), problem(2, question="9 b"), problem(3, question="9 c")]), interrupted)
        assert [record.line for record in run.records] == [1]

    def test_what_ended_before_an_error_is_in_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "samples.jsonl"
        samples = draw([problem(1, question="2 a"), problem(2, question="9 b")])
        with SampleLog.open(path, FACTS) as log:
            run = evaluation(FakeEngine(fails_at=4), log)
            with pytest.raises(R1Error, match=r"llama\.cpp failed"):
                run.run(samples, lambda: False)
        with SampleLog.open(path, FACTS) as log:
            assert [record.line for record in log.earlier] == [1]

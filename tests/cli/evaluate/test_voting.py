"""`r1.evaluate.voting`: a vote over a real model and a real scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from r1.engine.events import Drafted
from r1.engine.request import Request
from r1.evaluate.vote import Vote, VoteOptions
from r1.evaluate.voting import MakeRequest, Voting
from r1.fit.fitted_model import Workload
from r1.loaded_model import LoadedModel
from r1.settings import Settings
from tests.fakes.engines import FakeEngine

QUESTION = "What is 17 + 25?"


@pytest.fixture
def loaded(tiny_path: Path) -> Iterator[LoadedModel]:
    settings = Settings(parallel=4, seed=5, temp=1.0, max_tokens=300, ctx=512, threads=1)
    with LoadedModel(tiny_path, settings, workload=Workload(is_parallel=True)) as made:
        yield made


def voting(loaded: LoadedModel, options: VoteOptions) -> Voting:
    vote = Vote(options, 5, lambda answer: answer.strip() or None, str.__eq__)
    return Voting(loaded, vote, requests(loaded))


def requests(loaded: LoadedModel) -> MakeRequest:
    return lambda seed, answer_now: loaded.request(
        QUESTION, settings=replace(loaded.settings, seed=seed), answer_now=answer_now
    )


def scripted(engine: FakeEngine, prompt: str, options: VoteOptions, hurried: Callable[[], int] = lambda: 0) -> Voting:
    """A vote over an engine that takes as many steps as the prompt says."""

    def request(seed: int, answer_now: Callable[[], bool]) -> Request:
        return engine.request(prompt, settings=Settings(seed=seed), form=None, answer_now=answer_now)

    return Voting(engine, Vote(options, 5, lambda answer: answer, str.__eq__), request, hurried)


def test_all_samples_are_drawn_and_share_the_prompt(loaded: LoadedModel) -> None:
    held = voting(loaded, VoteOptions(6, confidence=1, first=6))
    held.run(lambda: False)
    result = held.vote.result()
    assert result.samples[0].seed == 5
    assert len({sample.seed for sample in result.samples}) == len(result.samples)
    assert held.tokens == sum(sample.tokens for sample in result.samples)
    assert loaded.step() == []  # nothing is left


def test_the_cells_of_the_prompt_are_used_by_all(loaded: LoadedModel) -> None:
    """The plan for the memory counts the prompt once."""
    held = voting(loaded, VoteOptions(4, confidence=1))
    used: list[int] = []

    def look() -> bool:
        assert held.prefill is not None
        context = loaded.context
        assert context.cells - context.free_cells <= held.prefill.total + held.tokens
        used.append(held.running)
        return False

    held.run(look)
    assert max(used) == 4


def test_a_sample_is_the_reply_to_its_seed(loaded: LoadedModel) -> None:
    """The same text as the question alone has, because the cells of the prompt are the same ones."""
    held = voting(loaded, VoteOptions(1))
    held.run(lambda: False)
    (sample,) = held.vote.result().samples
    again = voting(loaded, VoteOptions(1))
    again.run(lambda: False)
    assert again.vote.result().samples[0].reply.answer == sample.reply.answer


def test_a_decided_vote_ends_what_runs(loaded: LoadedModel) -> None:
    held = voting(loaded, VoteOptions(8, first=1))
    held.run(lambda: False)
    reasons = [sample.reply.finished.reason for sample in held.vote.result().samples]
    assert reasons.count("stop") >= 1
    assert len(reasons) <= 5  # four at once, and perhaps one more where two ended in one step
    assert held.running == 0


def test_an_interrupt_ends_it_with_what_there_is(loaded: LoadedModel) -> None:
    held = voting(loaded, VoteOptions(8, confidence=1))
    held.run(lambda: held.tokens > 60)
    result = held.vote.result()
    reasons = [sample.reply.finished.reason for sample in result.samples]
    assert held.vote.finished == reasons.count("stop")
    assert reasons.count("interrupted") == len(reasons) - held.vote.finished > 0
    assert result.shown is not None


def test_samples_for_which_cells_run_out_go_on_later(tiny_path: Path) -> None:
    """Four sequences with so few cells that not all replies fit."""
    settings = Settings(parallel=4, seed=5, temp=1.0, max_tokens=200, ctx=256, threads=1)
    with LoadedModel(tiny_path, settings, workload=Workload(is_parallel=True, further=32)) as loaded:
        held = voting(loaded, VoteOptions(6, confidence=1, first=6))
        held.run(lambda: False)
        samples = held.vote.result().samples
    assert [sample.reply.finished.reason for sample in samples].count("context") == 0
    assert len({sample.number for sample in samples}) == len(samples)


class TestAnswerNow:
    """It is for the samples under way; those that begin later think as usual."""

    @staticmethod
    def ends(hurried: Callable[[FakeEngine], int]) -> list[str | None]:
        engine = FakeEngine(sequences=2)
        held = scripted(engine, "4 a", VoteOptions(4, confidence=1, first=4), lambda: hurried(engine))
        held.run(lambda: False)
        return [sample.reply.finished.thinking_end for sample in held.vote.result().samples]

    def test_once(self) -> None:
        assert self.ends(lambda engine: int(engine.steps >= 2)) == ["user", "user", "natural", "natural"]

    def test_before_the_first_samples_begin(self) -> None:
        assert self.ends(lambda _: 1) == ["user", "user", "natural", "natural"]

    def test_twice(self) -> None:
        assert self.ends(lambda engine: (engine.steps >= 1) + (engine.steps >= 4)) == ["user"] * 4


def test_the_timings_are_those_of_the_whole_vote(loaded: LoadedModel) -> None:
    """The prompt is read once, for the first sample; the others take over its cells at once."""
    held = voting(loaded, VoteOptions(6, confidence=1, first=6))
    held.run(lambda: False)
    first = held.vote.result().samples[0].reply.finished.timings
    timings = held.timings
    assert (timings.ttft_s, timings.prefill_tps) == (first.ttft_s, first.prefill_tps)
    assert timings.prefill_tps > 0
    assert timings.ttft_s < timings.total_s <= held.seconds
    assert timings.decode_tps == held.rate > held.tokens / held.seconds


def test_drafts_are_those_of_all_samples(loaded: LoadedModel) -> None:
    held = voting(loaded, VoteOptions(4, confidence=1, first=4))
    assert held.drafted is None
    held.run(lambda: False)
    samples = [sample.reply.finished.drafted for sample in held.vote.result().samples]
    assert held.drafted == Drafted(
        sum(each.proposed for each in samples if each),
        sum(each.accepted for each in samples if each),
        sum(each.passes for each in samples if each),
    )
    assert held.drafted.passes > 0


def test_the_prompt_is_read_before_the_first_token(loaded: LoadedModel) -> None:
    held = voting(loaded, VoteOptions(4))
    seen: list[tuple[bool, float, bool]] = []

    def look() -> bool:
        assert held.prefill is not None
        seen.append((held.is_reading, held.prefill.done / held.prefill.total, held.tokens > 0))
        return held.tokens > 0

    assert held.is_reading
    held.run(look)
    assert seen[0] == (True, 0.0, False)
    assert seen[-1] == (False, 1.0, True)

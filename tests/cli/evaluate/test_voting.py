"""`r1.evaluate.voting`: a vote over a real model and a real scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from r1.engine.request import Request
from r1.evaluate.vote import Vote, VoteOptions
from r1.evaluate.voting import Voting
from r1.fit.fitted_model import Workload
from r1.loaded_model import LoadedModel
from r1.settings import Settings

QUESTION = "What is 17 + 25?"


@pytest.fixture
def loaded(tiny_path: Path) -> Iterator[LoadedModel]:
    settings = Settings(parallel=4, seed=5, temp=1.0, max_tokens=300, ctx=512, threads=1)
    with LoadedModel(tiny_path, settings, workload=Workload(is_parallel=True)) as made:
        yield made


def voting(loaded: LoadedModel, options: VoteOptions) -> Voting:
    vote = Vote(options, 5, lambda answer: answer.strip() or None, str.__eq__)
    return Voting(loaded, vote, requests(loaded))


def requests(loaded: LoadedModel) -> Callable[[int], Request]:
    return lambda seed: loaded.request(QUESTION, settings=replace(loaded.settings, seed=seed))


def test_all_samples_are_drawn_and_share_the_prompt(loaded: LoadedModel) -> None:
    held = voting(loaded, VoteOptions(6, confidence=1, first=6))
    held.run(lambda: False)
    result = held.vote.result()
    assert result.samples[0].seed == 5
    assert len({sample.seed for sample in result.samples}) == len(result.samples)
    assert held.tokens == sum(sample.tokens for sample in result.samples)
    assert loaded.step() == []  # nothing is left


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


def test_samples_that_crowd_each_other_out_are_drawn_again_alone(tiny_path: Path) -> None:
    """Four sequences with so few cells that not all replies fit."""
    settings = Settings(parallel=4, seed=5, temp=1.0, max_tokens=200, ctx=256, threads=1)
    with LoadedModel(tiny_path, settings, workload=Workload(is_parallel=True, further=32)) as loaded:
        held = voting(loaded, VoteOptions(6, confidence=1, first=6))
        held.run(lambda: False)
        samples = held.vote.result().samples
    assert [sample.reply.finished.reason for sample in samples].count("context") == 0
    assert len({sample.number for sample in samples}) == len(samples)

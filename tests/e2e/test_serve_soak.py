"""`python -m scripts.soak`, small: many clients at once, some of which go away or mean no good; nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil

from scripts.soak.questions import make_questions
from scripts.soak.run import Plan, soak
from tests.e2e.serving import Server

PLAN = Plan(requests=60, clients=16, parts=2, part_s=0.5, seed=7, most_mb=100, filling=300)


def test_every_answer_is_right_and_everything_is_given_back(server: Server, tiny_path: Path) -> None:
    questions = make_questions(tiny_path, 8, PLAN.seed)
    report = asyncio.run(soak(server.address, psutil.Process(server.process.pid), questions, PLAN))
    assert report.problems == []
    kinds = [outcome.kind for outcome in report.outcomes]
    assert len(kinds) == PLAN.requests
    assert {"answered", "cut off", "hostile"} <= set(kinds)

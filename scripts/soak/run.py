"""Sends the requests from many clients, minute by minute, and looks at the server after each minute.

Before, it sends one request of each hostile kind and fills the cache: what the server takes for that once, it keeps.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httpx2
import psutil

from scripts.soak.client import Ask, Outcome, send
from scripts.soak.hostile import Hostile, all_hostile
from scripts.soak.load import filling, make_request
from scripts.soak.questions import Question
from scripts.soak.watch import HEADER, Sample, leaks, sample

_IN_WAVES = 0.4  # share of the requests that all clients send at the same moment
_TIMEOUT = httpx2.Timeout(120, connect=30)


@dataclass(frozen=True, slots=True)
class Plan:
    """So many requests from so many clients, over `parts` times `part_s` seconds, with a look after each part."""

    requests: int
    clients: int
    parts: int
    part_s: float
    seed: int
    most_mb: float
    """The memory may grow by so much after the first part."""
    filling: int = 1800
    """Tokens of the prompts that fill the cache; the model's context is 2,048."""


@dataclass(slots=True)
class Report:
    samples: list[Sample] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The figures at the end."""
        kinds = Counter(outcome.kind for outcome in self.outcomes)
        yield f"{len(self.outcomes)} requests: " + ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        yield f"{sum(each.has_other_thinking for each in self.outcomes)} right answers had other thinking than alone"
        for what, times in (
            ("first token", [each.first_s for each in self.outcomes if each.first_s is not None]),
            ("whole reply", [each.whole_s for each in self.outcomes if each.whole_s is not None]),
        ):
            yield f"{what}: p50 {percentile(times, 50):.3f} s, p99 {percentile(times, 99):.3f} s, of {len(times)}"


def percentile(times: Sequence[float], percent: float) -> float:
    """The time that so many percent do not exceed; 0 of none."""
    ordered = sorted(times)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] if ordered else 0.0


async def soak(address: str, process: psutil.Process, questions: Sequence[Question], plan: Plan) -> Report:
    """Runs the plan against the server with this address and process; prints a line after each part."""
    report, rng = Report(), random.Random(plan.seed)
    print(HEADER, flush=True)

    async def look() -> None:
        async with _client(address) as client:
            report.samples.append(await sample(client, process, report.samples[0] if report.samples else None))
        print(report.samples[-1].row, flush=True)

    others = await _try_hostile(address, rng) + await _fill(address, plan.filling)
    await look()
    for part in range(plan.parts):
        size = plan.requests * (part + 1) // plan.parts - plan.requests * part // plan.parts
        report.outcomes += await _part(address, [make_request(rng, questions) for _ in range(size)], plan, rng)
        await look()
    others += await _fill(address, plan.filling)
    await look()
    report.problems += [outcome.problem for outcome in [*report.outcomes, *others] if outcome.problem]
    report.problems += leaks(report.samples, plan.most_mb)
    return report


def _client(address: str) -> httpx2.AsyncClient:
    """Without certificates, which take long to read."""
    return httpx2.AsyncClient(base_url=address, timeout=_TIMEOUT, trust_env=False, verify=False)


async def _part(address: str, requests: Sequence[Ask | Hostile], plan: Plan, rng: random.Random) -> list[Outcome]:
    """Each client sends its requests one after the other, none before its moment."""
    waves = [rng.uniform(0, plan.part_s) for _ in requests[:: plan.clients]]
    began = time.monotonic()

    async def one_client(own: Sequence[Ask | Hostile]) -> list[Outcome]:
        moments = sorted(
            wave if rng.random() < _IN_WAVES else rng.uniform(0, plan.part_s)
            for wave, _ in zip(waves, own, strict=False)
        )
        outcomes = []
        async with _client(address) as client:
            for moment, request in zip(moments, own, strict=True):
                await asyncio.sleep(began + moment - time.monotonic())
                outcomes.append(await send(client, request))
        return outcomes

    done = await asyncio.gather(*(one_client(requests[index :: plan.clients]) for index in range(plan.clients)))
    return [outcome for outcomes in done for outcome in outcomes]


async def _try_hostile(address: str, rng: random.Random) -> list[Outcome]:
    async with _client(address) as client:
        return [await send(client, hostile) for hostile in all_hostile(rng)]


async def _fill(address: str, tokens: int) -> list[Outcome]:
    """As many long prompts at once as there are sequences; all must get their cells."""
    async with _client(address) as client:
        text = (await client.get("/metrics")).text
        sequences = next(line for line in text.splitlines() if line.startswith("r1_sequences "))
        number = int(float(sequences.split()[1]))
        return await asyncio.gather(*(send(client, filling(index, tokens)) for index in range(number)))

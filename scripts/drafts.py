"""Shows that drafts leave the text alone: the distribution of a token, and greedy replies.

    python -m scripts.drafts [MODEL.gguf] [--draws 20000] [--questions 400] [--tokens 200] [--threads 1]

Without MODEL.gguf, on the built-in model and its held-out questions, at a temperature at which it hesitates; with
another model, on questions about paragraphs of docs/. Drafts are right and wrong at random here, in every pass, whether
it pays or not.

- **Distribution**: one token is drawn many times at 0.6 and top-p 0.95, the second token of a draft whose first one was
  right. A chi-square test compares the counts with the probabilities that NumPy computes from the model's logits, and
  with those drawn without drafts.
- **Greedy replies**: a reply may differ where a batch of several tokens is computed by other code than a single one. It
  is counted how many do, and how far apart the two likeliest logits were where they part.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from r1.engine import scheduler as scheduling
from r1.engine.candidates import logits_at
from r1.engine.context import Context, ContextParams, Part
from r1.engine.draft import Prospect
from r1.engine.events import Event
from r1.engine.generation import Generation
from r1.engine.model import Model
from r1.engine.prompt import Conversation, prompt_segments
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import Scheduler
from r1.engine.sequence import Segments, common_length
from r1.evaluate.problems import builtin
from r1.machine.cores import Threads
from r1_quantize import catalog
from r1_quantize.builtin import ensure_tiny
from r1_quantize.store.store import Store
from scripts.schedules import Guesses, Heedless

_DOCS = Path(__file__).parents[1] / "docs"
_HESITANT = 2.5  # the temperature for the built-in model
_SEQUENCES = 2  # one is used; beside another one, the engine keeps the logits after a prompt, which saves a pass
_SEARCHED, _LOOKED_THROUGH = 40, 60  # replies, and tokens of each, for a place where several tokens may follow
_CERTAIN = 0.95  # of the two tokens before it, so that few replies are drawn in vain
_LEAST_EXPECTED = 5  # draws of a token, for the chi-square test; rarer ones count together


class Fixed:
    """A drafter that always says the same after the prompt, and then nothing."""

    cost = spent = 0.0

    def __init__(self, start: int, draft: list[int]) -> None:
        self._start = start
        self._draft = draft

    def look(self, tokens: list[int], _: int, most: int) -> Prospect | None:
        longest = min(most, len(self._draft)) if len(tokens) == self._start else 0
        return Prospect(None, 1.0, longest) if longest else None

    def draft(self, length: int) -> list[int]:
        return self._draft[:length]

    def trial_s(self) -> float:
        return 0.0

    def release(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Place:
    """A prompt, the three likeliest tokens that follow it, and the likelihoods of the third one."""

    prompt: Segments
    reply: list[int]
    odds: NDArray[np.float64]


def nucleus(logits: NDArray[np.float64], temperature: float, top_p: float = 0.95) -> NDArray[np.float64]:
    """The probabilities at DeepSeek's settings: temperature, then the likeliest tokens that make up `top_p`."""
    odds = np.exp((logits - logits.max()) / temperature)
    odds /= odds.sum()
    order = np.argsort(-odds, kind="stable")
    kept = order[: int(np.searchsorted(np.cumsum(odds[order]), top_p)) + 1]
    result: NDArray[np.float64] = np.zeros_like(odds)
    result[kept] = odds[kept] / odds[kept].sum()
    return result


def greedy(context: Context, prompt: Segments, tokens: int) -> tuple[list[int], list[float], list[NDArray[np.float64]]]:
    """The likeliest tokens, without scheduler or sampler; the margin of each to the second, and all logits."""
    sequence = context.sequences[0]
    sequence.truncate(0)
    for _ in context.prefill(sequence, prompt):
        pass
    reply: list[int] = []
    margins: list[float] = []
    rows: list[NDArray[np.float64]] = []
    place = -1
    while len(reply) < tokens:
        row = np.array(logits_at(context, place), np.float64)
        second, first = np.partition(row, -2)[-2:]
        reply.append(int(row.argmax()))
        margins.append(float(first - second))
        rows.append(row)
        if context.model.ends_turn(reply[-1]):
            break
        [place] = context.decode([Part(sequence, reply[-1:])])
    return reply, margins, rows


def undecided(context: Context, prompts: list[Segments], temperature: float) -> Place:
    """The place in greedy thinking with the most even odds, behind two tokens that are as good as certain; the prompt
    goes up to these.
    """
    best: Place | None = None
    entropy = -1.0
    for prompt in prompts:
        reply, _, rows = greedy(context, prompt, _LOOKED_THROUGH)
        for place in range(2, len(reply)):
            odds = nucleus(rows[place], temperature)
            before = (nucleus(rows[at], temperature)[reply[at]] for at in (place - 2, place - 1))
            bits = -sum(float(p) * math.log2(p) for p in odds[odds > 0])
            is_best = bits > entropy and math.prod(before) >= _CERTAIN
            if is_best and context.model.control.end_think not in reply[: place + 1]:
                best, entropy = Place([*prompt, reply[: place - 2]], reply[place - 2 : place + 1], odds), bits
    assert best is not None
    return best


class Recorded(Generation):
    """Notes the tokens of a reply."""

    taken: ClassVar[list[int]] = []

    def take(self, token: int | None) -> list[Event]:
        self.taken.extend([] if token is None else [token])
        return super().take(token)


def reply_tokens(scheduler: Scheduler, request: Request) -> list[int]:
    Recorded.taken.clear()
    with patch.object(scheduling, "Generation", Recorded):
        scheduler.submit(request)
        while not scheduler.is_idle:
            scheduler.step()
    return list(Recorded.taken)


def drawn(context: Context, place: Place, seeds: Iterable[int], temperature: float, *, has_draft: bool) -> Counter[int]:
    """The tokens after the first two of the reply, in so many replies, of those that begin with these two."""
    counts: Counter[int] = Counter()
    scheduler = Scheduler(context)
    start = sum(map(len, place.prompt))
    drafters = [Fixed(start, place.reply[1:3])] if has_draft else []
    scheduler._speculation = lambda *_: Heedless(drafters)  # type: ignore[method-assign]
    samplings = (SamplingParams(temperature, 0.95, seed=seed, max_tokens=3) for seed in seeds)
    for sampling in samplings:  # one after the other: where a sequence's cells are changes the last bits
        tokens = reply_tokens(scheduler, Request(place.prompt, sampling, continues="thinking"))
        if tokens[:2] == place.reply[:2]:
            counts[tokens[2]] += 1
    scheduler.close()
    return counts


def chi_square(counts: Counter[int], odds: NDArray[np.float64]) -> tuple[float, int]:
    """The statistic, and its degrees of freedom. Raises AssertionError for a token that is not possible."""
    total = counts.total()
    assert not [token for token in counts if odds[token] == 0], "a token outside the nucleus"
    likely = [token for token in np.flatnonzero(odds) if odds[token] * total >= _LEAST_EXPECTED]
    expected = [float(odds[token]) * total for token in likely]
    observed = [counts[int(token)] for token in likely]
    rest = total - sum(expected)
    if rest >= _LEAST_EXPECTED:
        expected.append(rest)
        observed.append(total - sum(observed))
    statistic = sum((seen - wanted) ** 2 / wanted for seen, wanted in zip(observed, expected, strict=True))
    return statistic, len(expected) - 1


def improbability(statistic: float, freedom: int) -> float:
    """The probability of a statistic at least as large, by Wilson and Hilferty's approximation."""
    spread = 2 / (9 * freedom)
    score = ((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return 0.5 * math.erfc(score / math.sqrt(2))


def check_distribution(context: Context, prompts: list[Segments], draws: int, temperature: float) -> None:
    place = undecided(context, prompts, temperature)
    context.sequences[0].truncate(0)
    plain = drawn(context, place, range(draws), temperature, has_draft=False)
    drafted = drawn(context, place, range(draws, 2 * draws), temperature, has_draft=True)
    likely = ", ".join(f"{odds:.3f}" for odds in sorted(place.odds, reverse=True)[:6])
    print(f"{draws} replies each, {np.count_nonzero(place.odds)} tokens that may follow: {likely}, ...")
    for name, counts in (("without drafts", plain), ("with drafts", drafted)):
        statistic, freedom = chi_square(counts, place.odds)
        chance = improbability(statistic, freedom)
        print(f"  {name}: {counts.total()} draws, chi-square {statistic:.1f} with {freedom} degrees, p {chance:.2f}")
    kinds = sorted(set(plain) | set(drafted))
    scale = drafted.total() / plain.total()
    statistic = sum((drafted[k] - plain[k] * scale) ** 2 / (scale * (drafted[k] + plain[k])) for k in kinds)
    print(f"  between them: {statistic:.1f} at {len(kinds) - 1}, p {improbability(statistic, len(kinds) - 1):.2f}")


def check_greedy(context: Context, prompts: list[Segments], tokens: int) -> None:
    rng = random.Random(1)
    gaps = []
    accepted = total = 0
    for prompt in prompts:
        reply, margins, _ = greedy(context, prompt, tokens)
        start = sum(map(len, prompt))
        scheduler = Scheduler(context)
        speculation = Heedless([Guesses(reply, start, rng)])
        scheduler._speculation = lambda *_, speculation=speculation: speculation  # type: ignore[method-assign]
        for sequence in context.sequences:
            sequence.truncate(0)
        found = reply_tokens(scheduler, Request(prompt, SamplingParams(0, max_tokens=tokens)))
        scheduler.close()
        accepted, total = accepted + speculation.drafted.accepted, total + len(found)
        if found[: len(reply)] != reply:  # where the turn ends inside the thinking, r1 goes on
            gaps.append(margins[common_length(found, reply)])
    print(f"{len(prompts)} greedy replies, {total} tokens, {accepted} of them drafted: {len(gaps)} differ")
    if gaps:
        print("  distance of the two likeliest logits there:", ", ".join(f"{gap:.4f}" for gap in sorted(gaps)))


def about_docs() -> list[str]:
    paragraphs = [part for path in sorted(_DOCS.glob("*.md")) for part in path.read_text("utf-8").split("\n\n")]
    return [f"{text}\n\nWhat does this say?" for text in paragraphs if 200 < len(text) < 1500 and "|" not in text]


def prompts_of(model: Model, texts: list[str]) -> list[Segments]:
    return [prompt_segments(model, Conversation(), text) for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description="Shows that drafts leave the text alone.")
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        path = options.model
        if path is None:
            ensure_tiny(Store(Path(folder), catalog.load()))
            path = Path(folder) / "models" / "tiny" / "Q8_0.gguf"
        params = ContextParams(2048, threads=Threads.of(options.threads), sequences=_SEQUENCES, cells=4096)
        with Model(path) as model, Context(model, params) as context:
            asked = [problem.question for problem in builtin("tiny")] if options.model is None else about_docs()
            check_greedy(context, prompts_of(model, asked[: options.questions]), options.tokens)
            if options.draws:
                temperature = _HESITANT if options.model is None else 0.6
                check_distribution(context, prompts_of(model, asked[:_SEARCHED]), options.draws, temperature)


if __name__ == "__main__":
    main()

"""Measures prefill and decode of several sequences at once, the way llama.cpp's `llama-batched-bench` does.

For each number of sequences, each gets a prompt of its own, and batches are filled with them, as the scheduler does it;
or all share the cells of one prompt. Then a batch decodes one token of every sequence, again and again
(`tools/batched-bench/batched-bench.cpp`). Tokens are random, nothing is sampled, and a short warm-up goes first.
Everything goes through the same `Context` as real turns do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Row
from dataclasses import dataclass, replace
from time import perf_counter

from r1.engine.bench import Runs, Test, Watch, random_tokens
from r1.engine.context import Context, Part, Stopped
from r1.engine.sequence import Sequence
from r1_quantize.errors import UsageError


@dataclass(frozen=True, slots=True)
class ParallelPlan:
    """For each number in `sequences`: prompts of `prompt` tokens, then `gen` tokens of every sequence (0: skip it).

    `is_shared`: one prompt for all sequences, instead of one for each.
    """

    sequences: tuple[int, ...]
    prompt: int = 128
    gen: int = 32
    repetitions: int = 3
    is_shared: bool = False

    @property
    def most(self) -> int:
        """The largest number of sequences."""
        return max(self.sequences)

    @property
    def length(self) -> int:
        """Tokens that one sequence must hold. After a prefill there must be room for a token of a reply."""
        return self.prompt + max(self.gen, 1)

    @property
    def further(self) -> int:
        """Tokens that each sequence after the first adds; those of a shared prompt count once."""
        return self.gen if self.is_shared else self.length

    @property
    def cells(self) -> int:
        """Tokens that all sequences must hold together."""
        return self.length + (self.most - 1) * self.further

    def prompts(self, count: int) -> int:
        """How many prompts `count` sequences have."""
        return 1 if self.is_shared else count

    def tokens(self, test: Test, count: int) -> int:
        """Tokens that a run of `test` computes for `count` sequences."""
        return self.prompts(count) * self.prompt if test == "prefill" else count * self.gen


@dataclass(frozen=True, slots=True)
class ParallelStep:
    """`done` of `total` runs of the current test."""

    test: Test
    sequences: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ParallelRow(Runs):
    """A test of `tokens` tokens, all sequences together, and the seconds of each run."""

    test: Test
    sequences: int
    tokens: int
    seconds: tuple[float, ...]
    is_shared: bool = False

    @property
    def per_sequence(self) -> float:
        """Tokens per second that each sequence gets. A shared prompt is computed once, and each gets all of it."""
        return self.mean if self.test == "prefill" and self.is_shared else self.mean / self.sequences


ParallelEvent = ParallelStep | ParallelRow


def make_parallel_plan(plan: ParallelPlan, context: int) -> ParallelPlan:
    """`plan`, with its numbers of sequences ascending, each once.

    Raises UsageError when a sequence does not fit a context of `context` tokens, or when there is nothing to measure.
    """
    if not plan.prompt and not plan.gen:
        raise UsageError("--prompt 0 and --gen 0 leave nothing to measure; leave one of them out")
    if plan.length > context:
        tests = f"--prompt {plan.prompt} and --gen {plan.gen}"
        raise UsageError(f"{tests} exceed the context of {context} tokens; use smaller ones")
    return replace(plan, sequences=tuple(sorted(set(plan.sequences))))


class ParallelStopwatch(Watch):
    """Times the sequences of a context. Each has the same tokens every time."""

    def __init__(self, context: Context, plan: ParallelPlan, cancelled: Callable[[], bool] = lambda: False) -> None:
        """`cancelled` is called between batches."""
        super().__init__(context, cancelled)
        self._plan = plan
        prompts = plan.prompts(plan.most) * plan.prompt
        tokens = random_tokens(context, prompts + plan.most * plan.gen)
        self._prompts = [tokens[start : start + plan.prompt] for start in range(0, prompts, plan.prompt or 1)]
        self._following = tokens[prompts:]

    def run(self, test: Test, count: int) -> float:
        """Seconds that the test takes with `count` sequences. Raises Stopped."""
        return self.prefill(count) if test == "prefill" else self.decode(count, self._plan.gen)

    def prefill(self, count: int) -> float:
        """Seconds to prefill the prompts of `count` sequences, or the one that they share. Raises Stopped.

        Afterwards each of them holds its prompt, and the other sequences are empty.
        """
        self.clear()
        sequences = self._context.sequences[:count]
        began = perf_counter()
        for parts in self._filled(sequences):
            self._context.decode(parts)
            self.check_cancelled()
        self.wait()
        seconds = perf_counter() - began
        if self._plan.is_shared:
            for sequence in sequences[1:]:
                sequence.copy(sequences[0], self._plan.prompt)
        return seconds

    def _filled(self, sequences: Row[Sequence]) -> Iterator[list[Part]]:
        """Batches with the prompts of the sequences, as large as the scheduler makes them."""
        parts: list[Part] = []
        rows = self._context.rows.several
        for sequence, prompt in zip(sequences, self._prompts, strict=False):
            start = 0
            while start < len(prompt):
                end = min(start + rows, len(prompt))
                parts.append(Part(sequence, prompt[start:end], has_logits=end == len(prompt)))
                rows -= end - start
                start = end
                if not rows:
                    yield parts
                    parts, rows = [], self._context.rows.several
        if parts:
            yield parts

    def decode(self, count: int, steps: int) -> float:
        """Seconds to decode `steps` tokens of each of `count` sequences, after their prompts. Raises Stopped."""
        sequences = self._context.sequences[:count]
        for sequence in sequences:
            sequence.truncate(self._plan.prompt)
        began = perf_counter()
        for start in range(0, steps * count, count):
            tokens = self._following[start : start + count]
            self._context.decode([Part(sequence, [token]) for sequence, token in zip(sequences, tokens, strict=True)])
            self.wait()
            self.check_cancelled()
        return perf_counter() - began

    def clear(self) -> None:
        """Empties all sequences."""
        for sequence in self._context.sequences:
            sequence.truncate(0)


def measure_parallel(
    context: Context, plan: ParallelPlan, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[ParallelEvent]:
    """Runs the plan on a context with enough sequences and cells; yields each row as soon as it is measured.

    Raises Stopped when cancelled, after a row with the runs finished by then.
    """
    watch = ParallelStopwatch(context, plan, cancelled)
    watch.clear()
    if plan.prompt:
        watch.prefill(1)  # warms up
    for count in plan.sequences:
        if plan.prompt:
            yield from _repeat(watch, plan, "prefill", count)
        if plan.gen:
            watch.decode(count, 1)  # warms up
            yield from _repeat(watch, plan, "decode", count)


def _repeat(watch: ParallelStopwatch, plan: ParallelPlan, test: Test, count: int) -> Iterator[ParallelEvent]:
    seconds: list[float] = []
    try:
        for done in range(plan.repetitions):
            yield ParallelStep(test, count, done, plan.repetitions)
            seconds.append(watch.run(test, count))
    except Stopped:
        if seconds:
            yield ParallelRow(test, count, plan.tokens(test, count), tuple(seconds), plan.is_shared)
        raise
    yield ParallelRow(test, count, plan.tokens(test, count), tuple(seconds), plan.is_shared)

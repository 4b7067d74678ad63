"""Several sequences that share one KV cache: how many pay, how large the cache should be, and how many fit.

Each sequence may hold as many tokens as one alone, but the cache has room for only one that does: most replies are far
shorter, and those under way are on average half done. What gives way when memory is short, in this order:

1. the shared part of the cache, down to an average reply for each further sequence;
2. the cache's type, Q8_0 for F16, before any context becomes shorter, as for one sequence;
3. the context of each sequence, down to a comfortable one;
4. a few layers, where only some are on the GPU;
5. the number of sequences, which costs only time. One alone has the plan it always had.

A number of sequences that the user did not ask for gives way after 1: it must not make a reply worse.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from r1.engine.kv_types import CONTEXT_STEP, rounded_up
from r1.fit.needs import needs
from r1.fit.plan import COMFORTABLE, KV_TYPES, SHORT, FitOptions, Machine, MemoryPlan
from r1.fit.shape import Shape

TYPICAL = 8192
"""Tokens of the cache for each further sequence, besides a prompt of its own.

In a published evaluation on the 5,000 problems of MATH, the distills wrote 2,849 (32B) to 4,316 tokens (1.5B) on
average. If lengths vary as much as their mean, a sequence under way also holds the mean on average, and N of them hold
N means, with a standard deviation of √N means. Room for 8,192 tokens each and one whole context is then four deviations
above the average for eight sequences of the 1.5B.
"""

_LEAST = SHORT  # tokens: about the mean above
_FAST_GPU, _CPU = 8, 4
"""Sequences that pay where every layer is on a GPU, and on a processor."""

_GPU_GAINS = ((1, 1.0), (2, 1.4), (4, 2.1), (8, 2.8))
_CPU_GAINS = ((1, 1.0), (4, 1.4))
"""Sequences, and their speed in all as a multiple of that of one alone."""

MEASURED_GPUS = frozenset({"CUDA", "MTL"})
"""The backends, by their names in llama.cpp, that the gains on a GPU were measured with."""

_FEW_THREADS = 3
_LARGE = 2_000_000_000  # bytes of weights: the 1.5B is smaller in all usual types, the 7B is larger
_MOST_LAYERS_GIVEN = 1 / 4  # of those on the GPU; more would slow each step by more than another sequence gains


@dataclass(frozen=True, slots=True)
class Wanted:
    """`sequences` at once, with prompts of about `prompt` tokens and replies of at most `reply`.

    `further` is the tokens of the cache for each further sequence; None leaves it to the plan. `shares_prompt`: all
    have the same prompt, which is in the cache once. `is_asked`: the user asked for this number of sequences.
    """

    sequences: int = 1
    prompt: int = 0
    reply: int = TYPICAL
    further: int | None = None
    shares_prompt: bool = False
    is_asked: bool = False

    def of_each(self, reply: int) -> int:
        """Tokens of the cache for each further sequence, with `reply` of them after its prompt unless `further` says
        how many.
        """
        if self.further is not None:
            return self.further
        return reply if self.shares_prompt else self.prompt + reply


def paying_sequences(shape: Shape, threads: int, gpu_layers: int) -> int:
    """How many prompts at once make many replies end sooner in all, although each of them ends later.

    On a processor a batch saves time on the weights only: each sequence has attention of its own, and looks at the mask
    of all cells, which grows with the square of their number. With 2,048 tokens in each, about where replies spend
    their time, 1, 4, 8 and 16 sequences of the 1.5B (Q4_K_M) decoded 6.3, 10.9, 9.6 and 9.3 tokens per second of one
    AVX-512 core, those of a 135M (Q8_0) 14.3, 14.8, 14.2 and 12.6; in a nearly empty cache it was 7.6, 19, 19 and 36,
    and 45, 107, 149 and 201. On two cores with AVX2, a step of 4 sequences of the 1.5B took 2.8 times as long as that
    of one: for a 7B the gain would be small there, and its first reply would come after an hour, not twenty minutes.
    On a GPU arithmetic is cheap, and a pass over the cache serves many sequences; the number there is a judgement.
    """
    if gpu_layers > len(shape.layers):
        return _FAST_GPU
    return 1 if threads <= _FEW_THREADS and shape.weights > _LARGE else _CPU


def parallel_gain(sequences: int, *, on_gpu: bool) -> float:
    """How many times as many tokens per second `sequences` decode in all as one alone; a low estimate.

    For a GPU of `MEASURED_GPUS` it is the lowest of four published measurements, rounded down. In the benchmarks of
    llama.cpp's repository, with 8,192 tokens in each, 2, 4 and 8 sequences of a 7B (Q8_0) decoded 1.6, 2.5 and 2.8
    times as fast as one on an M2 Ultra, and 1.8, 3.1 and 4.9 times on a DGX Spark; those of a 4B (Q4_0) 1.5, 2.2 and
    3.0 times, and 1.4, 2.3 and 3.2 times. For a processor it is that of a 1.5B (Q4_K_M) on two cores with AVX2: see
    `paying_sequences`.
    """
    gains = _GPU_GAINS if on_gpu else _CPU_GAINS
    return max(gain for count, gain in gains if count <= sequences)


def share(alone: MemoryPlan, shape: Shape, machine: Machine, options: FitOptions, wanted: Wanted) -> MemoryPlan:
    """The best plan for as many of the wanted sequences as fit.

    `alone` is the plan for one under the same `options`, and it fits. What they set does not give way.
    """
    return _Search(alone, shape, machine, options, wanted).best()


@dataclass(frozen=True, slots=True)
class _Search:
    """The plans worth trying for each number of sequences."""

    alone: MemoryPlan
    shape: Shape
    machine: Machine
    options: FitOptions
    wanted: Wanted

    def best(self) -> MemoryPlan:
        for count in range(self.wanted.sequences, 1, -1):
            if self._least(count).fits:
                return next(plan for plan in self._plans(count) if plan.fits)
        return replace(self.alone, wanted_sequences=self.wanted.sequences)

    def _plans(self, count: int) -> Iterator[MemoryPlan]:
        """From the best to the one that needs the least memory."""
        for layers in self._layers:
            yield from self._with_layers(count, layers)

    def _with_layers(self, count: int, layers: int) -> Iterator[MemoryPlan]:
        context, kv_type = self.alone.context, self._types[-1]
        for usual in self._types:
            yield _largest(partial(self._plan, count, layers, usual, context), self._least_reply, self._typical_reply)
        lengths = partial(self._plan, count, layers, kv_type, reply=self._least_reply)
        yield _largest(lengths, self._lowest_context, context)

    def _least(self, count: int) -> MemoryPlan:
        """The plan that needs the least memory."""
        return self._plan(count, self._layers[-1], self._types[-1], self._lowest_context, self._least_reply)

    def _plan(self, count: int, layers: int, kv_type: str, context: int, reply: int) -> MemoryPlan:
        """With room for `reply` tokens after the prompt of each further sequence, unless its room is given."""
        shared = (count - 1) * min(context, self.wanted.of_each(reply))
        cells, gpus = context + shared, len(self.machine.gpus)
        draft_on_gpu = self.alone.draft_on_gpu
        needed = needs(self.shape, cells, kv_type, layers, gpus, count, draft_on_gpu=draft_on_gpu)
        return replace(
            self.alone,
            context=context,
            kv_type=kv_type,
            gpu_layers=layers,
            needs=needed,
            fits=self.machine.holds(needed),
            sequences=count,
            wanted_sequences=self.wanted.sequences,
            shared=shared,
        )

    @property
    def _least_reply(self) -> int:
        return min(_LEAST, self.wanted.reply)

    @property
    def _typical_reply(self) -> int:
        return min(TYPICAL, self.wanted.reply)

    @property
    def _types(self) -> tuple[str, ...]:
        """The cache's types, from that of one sequence alone."""
        if self.options.kv_type or not self.wanted.is_asked:
            return (self.alone.kv_type,)
        return KV_TYPES[KV_TYPES.index(self.alone.kv_type) :]

    @property
    def _lowest_context(self) -> int:
        if self.options.context or not self.wanted.is_asked:
            return self.alone.context
        return min(self.alone.context, rounded_up(self.wanted.prompt + COMFORTABLE))

    @property
    def _layers(self) -> range:
        """Numbers of layers on the GPU, from that of one sequence alone."""
        most = self.alone.gpu_layers
        is_split = 0 < most <= len(self.shape.layers)
        may_give = is_split and self.options.gpu_layers is None and self.wanted.is_asked
        given = int(_MOST_LAYERS_GIVEN * most) if may_give else 0
        return range(most, most - given - 1, -1)


def _largest(plan: Callable[[int], MemoryPlan], low: int, high: int) -> MemoryPlan:
    """The plan with the largest number of tokens from `low` to `high` that fits; else that with `low`."""
    numbers = range(low, high + 1, CONTEXT_STEP)
    fitting = bisect(numbers, False, key=lambda number: not plan(number).fits)  # memory grows with the number
    return plan(numbers[max(0, fitting - 1)])

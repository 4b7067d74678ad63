"""Compares the time to choose a token, and how exact top-p is: ours and llama.cpp's samplers, on the same logits.

    python -m scripts.bench.sampling MODEL.gguf [--temp 0.6] [--top-p 0.95] [--draws 300]

The logits are those after a short prompt. Both choose from all tokens of the vocabulary: temperature, top-p, a random
draw. Each round times both, and the side that goes first alternates. The nucleus, the tokens that top-p leaves, is
compared with that of sums in double precision.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from r1.engine.candidates import Candidates, kept, logits_at
from r1.engine.context import Context, ContextParams, Part
from r1.engine.llama import llama
from r1.engine.model import Model
from r1.engine.nucleus import nucleus
from r1.engine.sampler import Sampler
from r1.engine.sampling import SamplingParams
from r1.machine.cores import Threads

_PROMPT = "Tell me about rivers."
_ROUNDS = 10


def main() -> None:
    """Prints the times, their ratio, and the sizes of the nuclei."""
    parser = argparse.ArgumentParser(description="Time to choose a token.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--temp", type=float, default=0.6)
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--draws", type=int, default=300)
    options = parser.parse_args()
    params = SamplingParams(options.temp, options.top_p, seed=1)
    context_params = ContextParams(512, threads=Threads.of(1))
    with Model(options.model) as model, Context(model, context_params) as context:
        [place] = context.decode([Part(context.sequences[0], model.tokenize(_PROMPT))])
        compare_times(context, place, params, options.draws)
        compare_nuclei(context, place, params)


def compare_times(context: Context, place: int, params: SamplingParams, draws: int) -> None:
    with Sampler(params) as ours, chain_of(params, has_draw=True) as theirs:
        ours.sample(context, place)  # the first token is llama.cpp's
        sides: list[Callable[[], Any]] = [
            lambda: ours.sample(context, place),
            lambda: llama().llama_sampler_sample(theirs, context.handle, place),
        ]
        times: list[list[float]] = [[], []]
        for number in range(_ROUNDS):
            for side in (0, 1) if number % 2 else (1, 0):
                times[side].append(mean_ms(sides[side], draws // _ROUNDS))
    ratios = [our / their for our, their in zip(*times, strict=True)]
    our, their = map(statistics.median, times)
    print(f"a token of {context.model.vocabulary_size:,}: r1 {our:.2f} ms, llama.cpp {their:.2f} ms, ", end="")
    print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def compare_nuclei(context: Context, place: int, params: SamplingParams) -> None:
    logits = kept(logits_at(context, place))
    with chain_of(params, has_draw=False) as chain:
        candidates = Candidates(len(logits)).fill(logits)
        llama().llama_sampler_apply(chain, ctypes.byref(candidates))
    exact = exact_size(np.array(logits, np.float64) / params.temperature, params.top_p)
    ours = len(nucleus(logits, params.temperature, params.top_p))
    print(f"tokens that top-p leaves: r1 {ours}, llama.cpp {candidates.size}, in double precision {exact}")


def exact_size(logits: NDArray[np.float64], top_p: float) -> int:
    """The fewest tokens whose probabilities add up to `top_p`."""
    shares = np.sort(np.exp(logits - logits.max()))[::-1]
    return int(np.searchsorted(np.cumsum(shares) / shares.sum(), top_p)) + 1


@contextmanager
def chain_of(params: SamplingParams, *, has_draw: bool) -> Iterator[Any]:
    """llama.cpp's samplers, in the order of ours."""
    native = llama()
    chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
    native.llama_sampler_chain_add(chain, native.llama_sampler_init_temp(params.temperature))
    native.llama_sampler_chain_add(chain, native.llama_sampler_init_top_p(params.top_p, 1))
    if has_draw:
        native.llama_sampler_chain_add(chain, native.llama_sampler_init_dist(params.seed))
    yield chain
    native.llama_sampler_free(chain)


def mean_ms(draw: Callable[[], Any], count: int) -> float:
    began = perf_counter()
    for _ in range(count):
        draw()
    return (perf_counter() - began) * 1000 / count


if __name__ == "__main__":
    main()

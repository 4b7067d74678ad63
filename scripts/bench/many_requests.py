"""Answers thousands of short requests with one scheduler, and prints how much memory the process has meanwhile.

    python scripts/bench/many_requests.py MODEL.gguf [--requests 10000] [--sequences 8] [--tokens 8]

Some prompts repeat earlier ones, replies have up to `--tokens` tokens, and some requests are cancelled on their way. At
the end, every cell of the KV cache must be free once the sequences are emptied; the script fails otherwise. Use the
built-in model: `r1 show tiny` prints its path. Linux only.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from buffers import resident  # the script beside this one

from r1.engine.context import Context, ContextParams
from r1.engine.events import Finished
from r1.engine.model import Model
from r1.engine.prompt import Conversation, prompt_segments
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import Scheduler
from r1.machine.cores import Threads

LENGTH = 256  # tokens that a sequence can hold
FIRST = 1000  # requests after which memory is first measured: by then every buffer has its size


def main() -> None:
    """Prints a line for every thousandth request, and the growth of memory since the first line."""
    parser = argparse.ArgumentParser(description="Memory while many requests are answered.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=8, help="of a reply, at most")
    parser.add_argument("--threads", type=int, default=1, help="more do not pay for a tiny model")
    options = parser.parse_args()
    threads, cells = Threads.of(options.threads), LENGTH * options.sequences // 2
    with Model(options.model) as model:
        params = ContextParams(LENGTH, threads=threads, sequences=options.sequences, cells=cells)
        with Context(model, params) as context:
            scheduler = Scheduler(context)
            began, sizes, reasons = perf_counter(), [], dict[str, int]()
            for number, reason in enumerate(answers(scheduler, requests(model, options.requests, options.tokens)), 1):
                reasons[reason] = reasons.get(reason, 0) + 1
                if number % FIRST == 0:
                    sizes.append(resident("VmRSS"))
                    print(f"{number:>6} requests: {sizes[-1] / 1e6:.2f} MB resident", flush=True)
            seconds = perf_counter() - began
            for sequence in context.sequences:
                sequence.truncate(0)
            free = context.free_cells
    print(f"{options.requests / seconds:.0f} requests per second; ended by {reasons}")
    if sizes:
        print(f"memory grew by {(sizes[-1] - sizes[0]) / 1e6:.2f} MB since {FIRST} requests")
    print(f"{free} of {context.cells} cells free")
    if free != context.cells or sum(reasons.values()) != options.requests:
        sys.exit("cells or requests were lost")


def requests(model: Model, count: int, tokens: int) -> Iterator[Request]:
    """Requests in a random order that is always the same."""
    rng = random.Random(1)
    for number in range(count):
        first = rng.randrange(100) if rng.random() < 0.5 else number  # half of the prompts are often the same ones
        segments = prompt_segments(model, Conversation(), f"{first}+{number % 7}?")
        yield Request(segments, SamplingParams(seed=number, max_tokens=rng.randint(1, tokens)))


def answers(scheduler: Scheduler, requests: Iterator[Request]) -> Iterator[str]:
    """Why each request finished, as they finish. As many wait as are running."""
    rng = random.Random(2)
    under_way: dict[int, Request] = {}
    most = 2 * len(scheduler.context.sequences)
    while True:
        while len(under_way) < most and (request := next(requests, None)):
            under_way[id(request)] = request
            scheduler.submit(request)
        if not under_way:
            return
        if rng.random() < 1 / 20:
            rng.choice(list(under_way.values())).cancel()
        for request, event in scheduler.step():
            if isinstance(event, Finished):
                del under_way[id(request)]
                yield event.reason


if __name__ == "__main__":
    main()

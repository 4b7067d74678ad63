"""Measures what drafts are worth: plain decoding, look-up and a draft model, beside llama-server's own, in one run.

    python -m scripts.bench.speculation MODEL.gguf [--draft DRAFT.gguf] [--llama-server PATH] [--llama-bench PATH]
        [--runs 3] [--tokens 200] [--temperature 0] [--threads N] [--written [--agrees 0.8]]

Three tasks: editing an attached file (of this repository; the reply's first lines are given, so that a small model
knows what to do), summarizing one, and free prose. The sides take turns, because a machine's speed drifts. Printed are
tokens per second while decoding, the ratio to plain r1, and tokens a pass. First comes what a pass over several tokens
costs here, and the speed-up that this allows where each token of a draft is right with the probability named.

With `--written`, the replies are written by hand instead (the file with the edit made): that is how a model of any
size decodes a right edit, also one with random weights. llama-server cannot do that, and is left out. With `--agrees`,
the draft model, at its own speed, says what was written with that probability, and another token otherwise.

Goals: editing at least 1.6, free prose at least 0.97 times as fast as without drafts. LD_LIBRARY_PATH applies to
llama.cpp's programs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2

from r1.engine import generation
from r1.engine.context import Context, ContextParams, Part
from r1.engine.draft_model import DraftModel, ModelDrafter, shared_tokens
from r1.engine.events import Finished
from r1.engine.model import Model
from r1.engine.prompt import NO_THINKING, Beginning, Conversation, prompt_segments
from r1.engine.request import Request, Speculate
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import Scheduler, generate
from r1.machine.cores import Threads, default_threads
from tests.fakes.scripted import ScriptedSampler

GOALS = {"edit": 1.6, "prose": 0.97}

_ROOT = Path(__file__).parents[2]
_EDITS = (
    ("models.toml", "DeepSeek", "Company"),
    ("scripts/service/r1.service", "r1", "reasoner"),
    ("cli/r1/engine/slots.py", "sequence", "series"),
)
_SUMMARIES = ("docs/architecture.md", "docs/memory.md", "CONTRIBUTING.md")
_STORIES = (
    "Write a story about a lighthouse keeper who finds a letter in a bottle.",
    "Explain to a child why the sky is blue and the evening is red.",
    "Describe a walk through an old town in the rain.",
)
_FILE = 1800  # characters of a file
_HEAD = 6  # lines of an edited file that are given
_CONTEXT = 4096
_START_S = 60


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt, the beginning of its answer, and what an editor would write then; empty: nothing is known."""

    name: str
    prompt: str
    beginning: str = ""
    written: str = ""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was generated, and in how many seconds and passes; None: the side does not say."""

    tokens: int
    seconds: float
    passes: int | None


Side = Callable[[Task], Decoded]


def tasks() -> list[Task]:
    found = []
    for name, old, new in _EDITS:
        lines = (_ROOT / name).read_text("utf-8")[:_FILE].splitlines(keepends=True)
        file, edited = "".join(lines), [line.replace(old, new) for line in lines]
        prompt = f"{name}:\n\n{file}\n\nReplace {old} by {new} in {name}, and change nothing else."
        head = "".join(edited[:_HEAD])
        begins = f"\n\n{name}, with {old} replaced by {new}:\n\n{head}"
        found.append(Task("edit", prompt, begins, "".join(edited[_HEAD:])))
    for name in _SUMMARIES:
        text = (_ROOT / name).read_text("utf-8")[:_FILE]
        found.append(Task("summary", f"{text}\n\nSummarize this text.", "\n\nThis text explains"))
    return [*found, *(Task("prose", prompt, "\n\nOnce") for prompt in _STORIES)]


class Agreeing:
    """In place of the draft model's choice: the token that was written, with the probability `agrees`."""

    def __init__(self, tokens: list[int], start: int, agrees: float) -> None:
        """The tokens begin at position `start` of the sequence."""
        self._tokens = tokens
        self._start = start
        self._agrees = agrees
        self._random = random.Random(1)

    def choice(self, drafter: ModelDrafter) -> int:
        assert drafter._sequence is not None
        place = len(drafter._sequence) - self._start
        if place < len(self._tokens) and self._random.random() < self._agrees:
            return self._tokens[place]
        return self._random.randrange(1000)


class Ours:
    """r1's engine, with one sequence."""

    def __init__(self, model: Model, context: Context, draft_model: DraftModel | None, options: Any) -> None:
        self._model = model
        self._context = context
        self._draft_model = draft_model
        self._options = options

    def prompt(self, task: Task) -> list[list[int]]:
        beginning = Beginning(answer=task.beginning) if task.beginning else NO_THINKING
        return prompt_segments(self._model, Conversation(), task.prompt, beginning)

    def side(self, speculate: Speculate) -> Side:
        return lambda task: self._decode(task, speculate)

    def _decode(self, task: Task, speculate: Speculate) -> Decoded:
        self._context.sequences[0].truncate(0)
        if self._draft_model is not None:
            self._draft_model.context.sequences[0].truncate(0)
        sampling = SamplingParams(self._options.temperature, seed=1, max_tokens=self._options.tokens)
        request = Request(self.prompt(task), sampling, continues="answer", speculate=speculate)
        with ExitStack() as stack:
            if self._options.written:
                written = self._model.tokenize(task.written)
                sampler = ScriptedSampler(self._model, task.written)
                stack.enter_context(patch.object(generation, "Sampler", sampler))
            if self._options.agrees is not None:
                agreeing = Agreeing(written, request.prompt_tokens, self._options.agrees)
                choice = lambda drafter, _: agreeing.choice(drafter)  # noqa: E731
                stack.enter_context(patch.object(ModelDrafter, "_likeliest", choice))
            *_, last = generate(Scheduler(self._context, None, self._draft_model), request)
        assert isinstance(last, Finished)
        tokens = last.usage.generated_tokens
        seconds = last.timings.total_s - last.timings.ttft_s
        return Decoded(tokens - 1, seconds, last.drafted.passes if last.drafted else tokens - 1)

    def cost_of_passes(self, repeats: int = 15) -> dict[int, float]:
        """Tokens in a pass → seconds. All of them with logits, as in a draft."""
        [sequence] = self._context.sequences
        sequence.truncate(0)
        tokens = [token for segment in self.prompt(tasks()[0]) for token in segment]
        list(self._context.prefill(sequence, [tokens]))
        times: dict[int, list[float]] = {count: [] for count in (1, 2, 4, 8, 16, 32, 64)}
        for _ in range(repeats):
            for count, measured in times.items():
                began = time.perf_counter()
                self._context.decode([Part(sequence, tokens[:1], draft=tokens[1:count])])
                measured.append(time.perf_counter() - began)
                sequence.truncate(len(sequence) - 1)
        sequence.truncate(0)
        return {count: statistics.median(measured) for count, measured in times.items()}


class Theirs:
    """llama-server with one slot."""

    def __init__(self, address: str, ours: Ours, options: Any) -> None:
        self._address = address
        self._ours = ours
        self._options = options

    def __call__(self, task: Task) -> Decoded:
        body = {
            "prompt": [token for segment in self._ours.prompt(task) for token in segment],
            "n_predict": self._options.tokens,
            "temperature": self._options.temperature,
            "top_p": 0.95,
            "top_k": 0,
            "min_p": 0,
            "seed": 1,
            "cache_prompt": False,
        }
        answer = httpx2.post(f"{self._address}/completion", json=body, timeout=None).raise_for_status().json()
        timings = answer["timings"]
        tokens, accepted = timings["predicted_n"], timings.get("draft_n_accepted", 0)
        return Decoded(tokens - 1, timings["predicted_ms"] / 1000, tokens - 1 - accepted)


@contextmanager
def llama_server(options: Any, *arguments: str) -> Iterator[str]:
    """Its address, once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = str(options.threads.decode)
    command = [str(options.llama_server), "-m", str(options.model), "-c", str(_CONTEXT), "-np", "1", "-t", threads]
    command += ["-tb", threads, "--port", str(port), "--no-warmup", "--no-webui", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + _START_S
            while not is_ready(address):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"llama-server does not start: {' '.join(command)}")
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def is_ready(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/health").status_code == 200
    except httpx2.HTTPError:
        return False


def llama_bench(options: Any) -> float:
    """Tokens per second of plain decoding, by llama.cpp's own measure."""
    threads = str(options.threads.decode)
    command = [str(options.llama_bench), "-m", str(options.model), "-t", threads, "-p", "0", "-n", "64", "-o", "json"]
    [result] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return float(result["avg_ts"])


def print_costs(ours: Ours, draft_cost: float) -> None:
    seconds = ours.cost_of_passes()
    ratios = {count: each / seconds[1] for count, each in seconds.items()}
    print(f"a pass over one token: {1000 * seconds[1]:.1f} ms")
    print("tokens in a pass, and its time in passes over one:", ", ".join(f"{n}: {r:.2f}" for n, r in ratios.items()))
    for right in (0.6, 0.8, 0.9, 0.95, 0.98):
        by_length = {}
        for count, ratio in ratios.items():
            tokens = sum(right**place for place in range(count))
            by_length[count] = tokens / ratio, tokens / (ratio + (count - 1) * draft_cost)
        free, dear = (max(by_length, key=lambda n, which=which: by_length[n][which]) for which in (0, 1))  # type: ignore[misc]
        looked_up = f"look-up {by_length[free][0]:.2f} ({free} tokens a pass)"
        modelled = f", draft model {by_length[dear][1]:.2f} ({dear})" if draft_cost else ""
        print(f"  where {right:.0%} are right, at most: {looked_up}{modelled}")


def compare(sides: dict[str, Side], options: Any) -> None:
    for name in ("edit", "summary", "prose"):
        chosen = [task for task in tasks() if task.name == name and (task.written or not options.written)]
        if not chosen:
            continue
        rates: dict[str, list[float]] = {side: [] for side in sides}
        ratios: dict[str, list[float]] = {side: [] for side in sides}
        counts = dict.fromkeys(sides, (0, 0))
        for task in chosen * options.runs:
            decoded = {side: decode(task) for side, decode in sides.items()}
            plain = decoded["r1, plain"]
            for side, each in decoded.items():
                if min(each.tokens, plain.tokens) < 16:  # it ended at once
                    continue
                rates[side].append(each.tokens / each.seconds)
                ratios[side].append(each.tokens / each.seconds / (plain.tokens / plain.seconds))
                tokens, passes = counts[side]
                counts[side] = tokens + each.tokens, passes + (each.passes or each.tokens)
        print(f"{name}:")
        for side in sides:
            if ratios[side]:
                tokens, passes = counts[side]
                ratio, rate = statistics.median(ratios[side]), statistics.median(rates[side])
                goal = f"  (goal {GOALS[name]})" if name in GOALS and side == "r1, look-up" else ""
                print(f"  {side:30} {rate:7.2f} tok/s  x {ratio:.2f}  {tokens / max(passes, 1):.2f} a pass{goal}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures drafts.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--draft", type=Path)
    parser.add_argument("--llama-server", type=Path)
    parser.add_argument("--llama-bench", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--threads", type=lambda number: Threads.of(int(number)), default=default_threads())
    parser.add_argument("--written", action="store_true")
    parser.add_argument("--agrees", type=float)
    options = parser.parse_args()
    if options.agrees is not None and not (options.written and options.draft):
        parser.error("--agrees needs --written and --draft")
    params = ContextParams(_CONTEXT, threads=options.threads)
    with ExitStack() as stack:
        model = stack.enter_context(Model(options.model))
        context = stack.enter_context(Context(model, params))
        drafts, draft_cost = None, 0.0
        if options.draft:
            draft = stack.enter_context(Model(options.draft))
            draft_cost = options.draft.stat().st_size / options.model.stat().st_size
            shared = shared_tokens(model, draft)
            if shared is None:
                raise SystemExit(f"{options.draft} has another vocabulary")
            drafts = DraftModel(stack.enter_context(Context(draft, params)), draft_cost, shared)
        ours = Ours(model, context, drafts, options)
        print_costs(ours, draft_cost)
        sides = {"r1, plain": ours.side("off"), "r1, look-up": ours.side("lookup")}
        if drafts:
            sides |= {"r1, draft model": ours.side("draft"), "r1, both": ours.side("auto")}
        if options.llama_server and not options.written:
            kinds: dict[str, list[str]] = {"none": [], "ngram-simple": [], "ngram-map-k": [], "ngram-mod": []}
            if options.draft:
                kinds["draft-simple"] = ["-md", str(options.draft)]
            for kind, arguments in kinds.items():
                address = stack.enter_context(llama_server(options, "--spec-type", kind, *arguments))
                sides[f"llama-server, {kind}"] = Theirs(address, ours, options)
        compare(sides, options)
    if options.llama_bench:
        print(f"llama-bench, plain: {llama_bench(options):.2f} tok/s")


if __name__ == "__main__":
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    main()

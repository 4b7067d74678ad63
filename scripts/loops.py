"""How often a model goes round in circles, and what the loop guard makes of it: the same prompts without and with it.

    python -m scripts.loops MODEL [--prompts FILE] [--count 200] [--folder FOLDER] [--max-tokens 900] [--show]

Runs `r1 run --jsonl` with `--loop-guard off` and with `on`. Each prompt has a seed of its own, the same in both runs,
so that a reply goes the same way until the guard acts (with several replies at once, not always). What counts as going
round in circles here is independent of the guard's rules: of what was thought or answered, the last 512 bytes can be
compressed by zlib to less than 0.3 of their size. Varied prose stays above 0.5. `--show` prints the ends of such texts
and of those that the guard touched, to be read. Results are kept in `--folder`; what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

TAIL = 512
"""Bytes at the end of a text that are compressed."""
CIRCLING = 0.3
SHOWN = 240
"""Characters of a text that are printed."""

_TOPICS = (
    *("photosynthesis", "the water cycle", "gravity", "prime numbers", "the French Revolution", "volcanoes", "jazz"),
    *("binary search", "vaccines", "inflation", "the moon's phases", "recursion", "black holes", "the Roman Empire"),
    *("DNA", "climate change", "chess openings", "baking bread", "earthquakes", "the internet"),
)
_QUESTIONS = (
    "Explain {topic} to a ten-year-old.",
    "Write a short story about {topic}.",
    "List ten facts about {topic}.",
    "What are common mistakes people make about {topic}?",
    "Compare {topic} with something surprising.",
    "What is {a} divided by {b}? Explain step by step.",
    "What is {a} - {b}? Explain step by step.",
    "Prove that the sum of the first {a} odd numbers is a square.",
    "A train travels {b} km/h for {c} hours. How far does it go, and is that plausible?",
    "Which is larger, {c}.{a} or {c}.{b}?",
)


def main() -> None:
    """Prints a table with a row per run."""
    options = _options()
    asked = options.prompts.read_text(encoding="utf-8").splitlines() if options.prompts else prompts(options.count)
    lines = [json.dumps(_with_seed(json.loads(line), number)) for number, line in enumerate(asked[: options.count])]
    with TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        runs = {guard: results(folder / f"guard-{guard}.jsonl", lines, options, guard) for guard in ("off", "on")}
    print("| guard | replies | circling | ended by it | went back | tokens | dropped | seconds |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for guard, replies in runs.items():
        print(f"| {guard} {Summary.of(replies)}")
    for guard, replies in runs.items():
        print(f"thinking, {guard}:", dict(Counter(str(reply.get("thinking_end")) for reply in replies)))
    if options.show:
        show(runs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--prompts", type=Path, help="JSON lines, as for r1 run --jsonl (default: made-up questions)")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--max-tokens", type=int, default=900)
    parser.add_argument("--ctx", type=int, default=1200)
    parser.add_argument("--temp", type=float, default=0.6)
    parser.add_argument("--parallel", type=int, default=12)
    parser.add_argument("--show", action="store_true")
    return parser.parse_args()


def prompts(count: int) -> list[str]:
    """Questions of many kinds, as JSON lines."""
    rng = random.Random(16)
    made = (
        question.format(topic=rng.choice(_TOPICS), a=rng.randint(12, 999), b=rng.randint(12, 140), c=rng.randint(2, 9))
        for number in range(count)
        for question in (_QUESTIONS[number % len(_QUESTIONS)],)
    )
    return [json.dumps({"id": number, "prompt": prompt}) for number, prompt in enumerate(made)]


def _with_seed(line: dict[str, Any], number: int) -> dict[str, Any]:
    return {"seed": number + 1} | line


def results(path: Path, lines: Sequence[str], options: argparse.Namespace, guard: str) -> list[dict[str, Any]]:
    """The objects that `r1 run --jsonl` printed; they are in `path` already, or will be."""
    if not path.exists():
        command = [sys.executable, "-m", "r1", "run", "-m", options.model, "--jsonl", "--loop-guard", guard]
        for name in ("max_tokens", "ctx", "temp", "parallel"):
            command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
        began = perf_counter()
        stdin = "".join(f"{line}\n" for line in lines).encode()
        done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=False)
        if done.returncode not in {0, 3}:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
        path.write_bytes(done.stdout)
        print(f"guard {guard}: {perf_counter() - began:.0f} s")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def is_circling(text: str) -> bool:
    """Whether the end of a text says the same again and again."""
    tail = text.encode()[-TAIL:]
    return len(tail) == TAIL and len(zlib.compress(tail, 9)) < CIRCLING * TAIL


@dataclass(frozen=True, slots=True)
class Summary:
    """What the replies of a run come to. Tokens are all that were generated; seconds are those of all replies."""

    replies: int
    circling: int
    ended: int
    went_back: int
    tokens: int
    dropped: int
    seconds: float

    @classmethod
    def of(cls, replies: Sequence[dict[str, Any]]) -> Summary:
        usage = [reply["usage"] for reply in replies]
        dropped = [each.get("discarded_tokens", 0) for each in usage]
        return cls(
            replies=len(replies),
            circling=sum(is_circling(reply["thinking"]) or is_circling(reply["answer"]) for reply in replies),
            ended=sum("loop" in {reply.get("thinking_end"), reply["finish_reason"]} for reply in replies),
            went_back=sum(map(bool, dropped)),
            tokens=sum(each["thinking_tokens"] + each["answer_tokens"] for each in usage) + sum(dropped),
            dropped=sum(dropped),
            seconds=sum(reply["timings"]["total_s"] for reply in replies),
        )

    def __str__(self) -> str:
        counts = (self.replies, self.circling, self.ended, self.went_back, self.tokens, self.dropped)
        return "".join(f"| {count:,} " for count in counts) + f"| {self.seconds:,.0f} |"


def show(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Prints the ends of texts that go round in circles, and of those that the guard touched."""
    for guard, replies in runs.items():
        for reply in replies:
            usage, ends = reply["usage"], f"{reply.get('thinking_end')}, {reply['finish_reason']}"
            circling = [part for part in ("thinking", "answer") if is_circling(reply[part])]
            if circling or usage.get("discarded_tokens") or "loop" in ends:
                where = " and ".join(circling) or "nowhere"
                print(f"\n{guard}, line {reply['line']}: circling {where} ({ends}, {usage})")
                for part in circling or ["thinking"]:
                    print("    …" + reply[part][-SHOWN:].replace("\n", "\n    "))


if __name__ == "__main__":
    main()

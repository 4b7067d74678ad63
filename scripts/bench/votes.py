"""What 16 votes cost in place of 16 single replies, beside what llama.cpp's own tool gains by as many sequences.

    python -m scripts.bench.votes MODEL.gguf --llama-batched-bench PATH [--votes 16] [--tokens 32] [--threads N]

Ours: `r1 run --votes` with as many sequences as votes, and `r1 run --jsonl --parallel 1` with the same prompt as often;
each reply is cut after `--tokens` tokens, so that both generate the same number. Theirs: `llama-batched-bench` with one
sequence and with as many, which share a prompt of the same length; on both sides it counts once. The share of time that
is left, ours divided by theirs, is to be at most 1 / 0.9. Each measurement is a process of its own, without the time
for loading. Random weights are good enough. LD_LIBRARY_PATH, if set, applies to llama-batched-bench only. On a busy
machine the results mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

GOAL = 1 / 0.9

_PROMPT = "Tell me about rivers. " * 24


def main() -> None:
    """Prints one line for each side, and the ratio."""
    options = _options()
    ours, prompt_tokens = our_share(options)
    theirs = their_share(options, prompt_tokens)
    print(f"share of time left by {options.votes} at once: ours {ours:.3f}, llama-batched-bench {theirs:.3f}")
    print(f"ratio {ours / theirs:.3f}; goal at most {GOAL:.3f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-batched-bench", type=Path, required=True)
    parser.add_argument("--votes", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def our_share(options: argparse.Namespace) -> tuple[float, int]:
    """The time of a vote as a share of that of as many single replies; and the tokens of the prompt."""
    limits: list[Any] = ["-m", options.model, "--max-tokens", options.tokens, "--reserve", 0, "--loop-guard", "off"]
    limits += ["--speculate", "off", "--ctx", 1024, "--threads", options.threads, "--device", "cpu", "--kv-type", "f16"]
    vote: list[Any] = [
        "--votes",
        options.votes,
        "--first",
        options.votes,
        "--confidence",
        1,
        "--no-stdin",
        "--json",
        _PROMPT,
    ]
    vote += ["--parallel", options.votes]
    together = json.loads(_r1([*limits, *vote]))
    lines = "".join(f"{json.dumps({'prompt': _PROMPT, 'seed': number})}\n" for number in range(options.votes))
    alone = [json.loads(line) for line in _r1([*limits, "--jsonl", "--parallel", 1], lines).splitlines()]
    timings = [reply["timings"] for reply in alone]
    one_by_one = sum(each["total_s"] - each["ttft_s"] for each in timings) + timings[0]["ttft_s"]
    generated = [sum(sample[f"{part}_tokens"] for part in ("thinking", "answer")) for sample in together["samples"]]
    print(f"votes {together['timings']['total_s']:.1f} s for {sum(generated)} tokens, one by one {one_by_one:.1f} s")
    return together["timings"]["total_s"] / one_by_one, together["usage"]["prompt_tokens"]


def their_share(options: argparse.Namespace, prompt_tokens: int) -> float:
    """The same from llama-batched-bench: the prompt is computed once in both."""
    cells = prompt_tokens + options.votes * options.tokens + 64
    command: list[Any] = [options.llama_batched_bench, "-m", options.model, "-ngl", 0, "-c", cells, "-kvu", "-pps"]
    command += ["-npp", prompt_tokens, "-ntg", options.tokens, "-npl", f"1,{options.votes}", "-t", options.threads]
    lines = _output([*command, "--output-format", "jsonl"], dict(os.environ)).splitlines()
    rows = {row["pl"]: row for row in map(json.loads, filter(lambda line: line.startswith("{"), lines))}
    alone, together = rows[1], rows[options.votes]
    return float((together["t_pp"] + together["t_tg"]) / (alone["t_pp"] + options.votes * alone["t_tg"]))


def _r1(arguments: list[Any], stdin: str = "") -> str:
    """What r1 prints; it ends with 3, because the replies are cut off."""
    environ = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    return _output([sys.executable, "-m", "r1", "run", *arguments], environ, stdin)


def _output(command: list[Any], environ: dict[str, str], stdin: str = "") -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, input=stdin, stdout=subprocess.PIPE, env=environ, check=False, text=True)
    if done.returncode not in {0, 3}:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()

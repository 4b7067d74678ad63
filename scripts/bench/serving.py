"""Compares `r1 serve` with llama.cpp's `llama-server`: the same GGUF, the same requests, several clients at once.

    python -m scripts.bench.serving MODEL.gguf --llama-server PATH [--runs 3] [--clients 1,4,8,16] [--tokens 64]
        [--prompt 128] [--threads N] [--answer 400] [--reading 20]

Each client sends one streamed chat completion with a prompt of its own, all at the same moment. Printed are, for both
sides, the tokens per second of all clients together, from the first request to the last token, and the mean time to a
client's first token; ratios are ours to theirs for tokens per second, theirs to ours for the first token, and are to be
at least 0.9. Then a conversation goes on: after a reply of `--answer` tokens, and a pause of `--reading` seconds, the
second question is asked with the first answer; our time to its first token is to be at most a tenth of theirs. On some
virtual machines memory that nobody touches for seconds is slow when it is touched again; that adds to both.

Both sides have the same threads, one cache for all sequences, F16, and as much context. Both servers are up all the
time, and take turns, because a machine's speed drifts; the one that waits computes nothing. LD_LIBRARY_PATH, if set,
applies to llama-server only. Random weights will do if their logits are not nearly equal: llama-server looks at the 40
likeliest tokens only, and r1 at as many as make up 95 %, which is then most of the vocabulary. On a busy machine the
results mean nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

GOAL, GOAL_SECOND_TURN = 0.9, 0.1

_SLOT = 1024  # tokens of context for each client
_START_S = 120
_THOUGHT = 32  # tokens of thinking before the long answer
_WORDS = ("river", "stone", "cloud", "winter", "lamp", "garden", "copper", "silent", "morning", "bridge", "letter")


@dataclass(frozen=True, slots=True)
class Streamed:
    """One answer: seconds to its first token and to its last one, from the request; its tokens, and its text."""

    first_s: float
    last_s: float
    tokens: int
    answer: str


@dataclass(frozen=True, slots=True)
class Load:
    """All clients of a measurement."""

    tps: float
    first_s: float


def main() -> None:
    """Prints a line for each number of clients, and one for the second turn."""
    options = _options()
    with ours(options) as mine, theirs(options) as other:
        addresses = {"r1": mine, "llama-server": other}
        for number in options.clients:
            compare_loads(addresses, number, options)
        compare_second_turns(addresses, options)


def compare_loads(addresses: dict[str, str], number: int, options: argparse.Namespace) -> None:
    """Prints what so many clients at once get from both sides."""
    loads: dict[str, list[Load]] = {name: [] for name in addresses}
    for run in range(options.runs):
        for name in in_turn(addresses, run):
            loads[name].append(asyncio.run(load(addresses[name], number, run, options)))
    tps, first_s = ({name: _mean(each, field) for name, each in loads.items()} for field in ("tps", "first_s"))
    for name in addresses:
        print(f"{number:2} clients, {name:12}: {tps[name]:6.1f} tok/s, first {first_s[name]:6.2f} s")
    faster, sooner = tps["r1"] / tps["llama-server"], first_s["llama-server"] / first_s["r1"]
    print(f"{number:2} clients: tok/s {faster:.3f}, first token {sooner:.3f}; goal at least {GOAL}", flush=True)


def compare_second_turns(addresses: dict[str, str], options: argparse.Namespace) -> None:
    """Prints how soon both sides begin to answer the second question."""
    turns: dict[str, list[float]] = {name: [] for name in addresses}
    for run in range(options.runs):
        for name in in_turn(addresses, run):
            turns[name].append(asyncio.run(second_turn(addresses[name], run, options)))
    ours_s, theirs_s = (statistics.mean(each) for each in turns.values())
    ratio = ours_s / theirs_s
    print(f"second turn: r1 {ours_s:.3f} s, llama-server {theirs_s:.3f} s; {ratio:.3f}, goal {GOAL_SECOND_TURN}")


def in_turn(addresses: dict[str, str], run: int) -> list[str]:
    """Both sides; the one that goes first alternates."""
    return [*addresses][:: 1 if run % 2 == 0 else -1]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-server", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--clients", type=lambda text: [int(each) for each in text.split(",")], default=[1, 4, 8, 16])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--answer", type=int, default=400)
    parser.add_argument("--reading", type=float, default=20.0)
    return parser.parse_args()


def _mean(loads: list[Load], name: str) -> float:
    return statistics.mean(getattr(each, name) for each in loads)


# The servers


@contextmanager
def ours(options: argparse.Namespace) -> Iterator[str]:
    command: list[Any] = [sys.executable, "-m", "r1", "serve", "-q", "-m", options.model, "--device", "cpu"]
    command += [
        "--parallel",
        max(options.clients),
        "--threads",
        options.threads,
        "--kv-type",
        "f16",
        "--loop-guard",
        "off",
    ]
    command += ["--reserve", 0, "--max-tokens", _SLOT]
    environ = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    with _running(command, environ) as address:
        yield address


@contextmanager
def theirs(options: argparse.Namespace) -> Iterator[str]:
    most = max(options.clients)
    command: list[Any] = [options.llama_server, "-m", options.model, "-ngl", 0, "-np", most, "-kvu"]
    command += ["-c", most * _SLOT, "-t", options.threads, "-tb", options.threads, "--reasoning-format", "deepseek"]
    command += ["--reasoning-budget", _THOUGHT]
    with _running(command, dict(os.environ)) as address:
        yield address


@contextmanager
def _running(command: list[Any], environ: dict[str, str]) -> Iterator[str]:
    """A server on a free port, once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [str(word) for word in [*command, "--host", "127.0.0.1", "--port", port]]
    process = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx2.get(f"{address}/health").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{process.args[0]} did not start")  # type: ignore[index]


# The clients


async def load(address: str, number: int, run: int, options: argparse.Namespace) -> Load:
    """So many clients at once, with prompts that no earlier one begins like."""
    async with httpx2.AsyncClient(timeout=None) as client:
        began = time.perf_counter()
        asked = [
            _ask(client, address, [_user(_text(options.prompt, f"{run} {number} {index}", index))], options.tokens)
            for index in range(number)
        ]
        answers = await asyncio.gather(*asked)
        seconds = time.perf_counter() - began
    return Load(sum(each.tokens for each in answers) / seconds, statistics.mean(each.first_s for each in answers))


async def second_turn(address: str, run: int, options: argparse.Namespace) -> float:
    """Seconds to the first token of the second answer."""
    async with httpx2.AsyncClient(timeout=None) as client:
        question = _user(_text(options.prompt, f"{run}", 99))
        first = await _ask(client, address, [question], options.answer + _THOUGHT, budget=_THOUGHT)
        await asyncio.sleep(options.reading)
        said = {"role": "assistant", "content": first.answer}
        second = await _ask(client, address, [question, said, _user("And then?")], 8, budget=_THOUGHT)
    return second.first_s


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _text(tokens: int, beginning: str, number: int) -> str:
    """About so many tokens."""
    words = [_WORDS[(number + place * (number + 3)) % len(_WORDS)] for place in range(max(tokens - 8, 1))]
    return " ".join([beginning, *words])


async def _ask(
    client: httpx2.AsyncClient, address: str, messages: list[dict[str, str]], tokens: int, budget: int | None = None
) -> Streamed:
    body = {"messages": messages, "max_tokens": tokens, "stream": True, "temperature": 0.6, "top_p": 0.95, "seed": 1}
    body |= {"stream_options": {"include_usage": True}, "think_budget": budget}
    began = time.perf_counter()
    first, answer, usage = 0.0, [], {"completion_tokens": 0}
    async for chunk in _chunks(client, address, body):
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices", ()):
            delta = choice["delta"]
            if not first and (delta.get("content") or delta.get("reasoning_content")):
                first = time.perf_counter() - began
            answer.append(delta.get("content") or "")
    return Streamed(first, time.perf_counter() - began, usage["completion_tokens"], "".join(answer))


async def _chunks(client: httpx2.AsyncClient, address: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    async with client.stream("POST", f"{address}/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            raise SystemExit(f"{address}: {response.status_code} {(await response.aread()).decode()[:300]}")
        async for line in response.aiter_lines():
            data = line.removeprefix("data: ")
            if data not in (line, "[DONE]"):
                yield json.loads(data)


if __name__ == "__main__":
    main()

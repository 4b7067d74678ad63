"""Answers by many schemas on one model: every finished answer must be valid.

    python -m scripts.schemas MODEL.gguf [--schemas 300] [--seeds 3] [--max-tokens 300] [--parallel 8] [--minutes 10]

The schemas are those of the official test suite that can be expressed (tests/data/json-schema-suite.json), and others
made at random from the same keywords. There is no thinking, so that it is quick. Answers that reach the token limit are
cut, and are counted, but need not be valid.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from r1.engine.context import Context, ContextParams
from r1.engine.events import Answer, Finished
from r1.engine.model import Model
from r1.engine.prompt import NO_THINKING, Conversation, prompt_segments
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import Scheduler
from r1.engine.thinking import ThinkingParams
from r1.forms.form import Form, form_in
from r1.machine.cores import Threads
from r1_quantize.errors import UsageError
from tests.fakes.paths import ROOT

_WORDS = ("name", "age", "city", "é", "a b", "tags", 'q"', "x")


def suite() -> list[Any]:
    """The schemas of the official test suite."""
    text = (ROOT / "tests/data/json-schema-suite.json").read_text(encoding="utf-8")
    return [case["schema"] for cases in json.loads(text).values() for case in cases]


def made(rng: random.Random, depth: int = 3) -> Any:
    """A random schema."""
    return rng.choice([*_SIMPLE, *(_NESTED if depth else ())])(rng, depth)


def _object(rng: random.Random, depth: int) -> Any:
    names = rng.sample(_WORDS, rng.randint(1, 4))
    required = [name for name in names if rng.random() < 0.7]
    return {"type": "object", "properties": {name: made(rng, depth - 1) for name in names}, "required": required}


def _array(rng: random.Random, depth: int) -> Any:
    return {"type": "array", "items": made(rng, depth - 1), "minItems": rng.randint(0, 2), "maxItems": 4}


def _tuple(rng: random.Random, depth: int) -> Any:
    return {"type": "array", "prefixItems": [made(rng, depth - 1) for _ in range(3)], "items": False}


def _any_of(rng: random.Random, depth: int) -> Any:
    return {"anyOf": [made(rng, depth - 1) for _ in range(rng.randint(1, 3))]}


def _types(rng: random.Random, _: int) -> Any:
    return {"type": rng.sample(["string", "null", "integer", "boolean"], 2), "maxLength": 9, "maximum": 50}


def _text(rng: random.Random, _: int) -> Any:
    return {"type": "string", "minLength": rng.randint(0, 5), "maxLength": rng.randint(5, 30)}


def _pattern(rng: random.Random, _: int) -> Any:
    return {"type": "string", "pattern": rng.choice([r"^\d{3}-\w+$", '^["\\\\]{2}x', "[aeiou]{2,5}$", "^é?漢+$"])}


def _integer(rng: random.Random, _: int) -> Any:
    low = rng.randint(-200, 200)
    return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 500)}


def _number(rng: random.Random, _: int) -> Any:
    return {"type": "number", "minimum": rng.choice([-2.5, 0, 0.01]), "exclusiveMaximum": rng.choice([1, 7.25])}


def _enum(rng: random.Random, _: int) -> Any:
    return {"enum": rng.sample(["red", "green", 'q"\\', "a\nb", "é😀", 3, 2.5, None, True, [1], {"k": "v"}], 4)}


def _const(rng: random.Random, _: int) -> Any:
    return {"const": rng.choice(["only", 7, {"a": [1, "é"]}])}


def _format(rng: random.Random, _: int) -> Any:
    return {"type": "string", "format": rng.choice(["date", "time", "date-time", "uuid", "email", "ipv4", "uri"])}


_SIMPLE = (_types, _text, _pattern, _integer, _number, _enum, _const, _format)
_NESTED = (_object, _object, _array, _tuple, _any_of)


def compiled(wanted: int, counts: Counter[str]) -> list[tuple[Any, Form]]:
    """That many schemas with their forms; those of the suite that are refused are counted by their reasons."""
    found: list[tuple[Any, Form]] = []
    rng = random.Random(1)
    waiting = suite()
    while len(found) < wanted:
        schema = waiting.pop() if waiting else made(rng)
        try:
            form = form_in({"schema": schema})
        except UsageError as exc:
            reason = str(exc).rpartition(": ")[2].partition(";")[0]
            counts["refused: " + re.sub(r'"[^"]*"|#\S*|\d+', "…", reason)] += 1
            continue
        assert form is not None
        found.append((schema, form))
    return found


def check(schema: Any, form: Form, texts: list[str], finished: Finished, counts: Counter[str]) -> None:
    """Counts one answer, and prints it if it is finished and not valid."""
    answer = "".join(texts)
    if finished.reason != "stop":
        counts[f"cut: {finished.reason}"] += 1
        return
    counts["finished"] += 1
    try:
        is_valid = Draft202012Validator(schema).is_valid(json.loads(answer))
    except ValueError:
        is_valid = False
    if is_valid and form.problem(answer) is None:
        counts["valid"] += 1
    else:
        counts["NOT VALID"] += 1
        print("not valid:", json.dumps(schema), repr(answer), form.problem(answer))


def run(options: argparse.Namespace) -> Counter[str]:
    """Answers all schemas with all seeds, some at a time."""
    counts: Counter[str] = Counter()
    forms = compiled(options.schemas, counts)
    jobs = [(schema, form, seed) for seed in range(options.seeds) for schema, form in forms]
    ends = time.monotonic() + 60 * options.minutes
    length = 256 + options.max_tokens
    params = ContextParams(
        length, threads=Threads.of(options.threads), sequences=options.parallel, cells=options.parallel * length
    )
    with Model(options.model) as model, Context(model, params) as context:
        scheduler = Scheduler(context)
        under_way: dict[Request, tuple[Any, Form, list[str]]] = {}
        while jobs or under_way:
            while jobs and len(under_way) < options.parallel and time.monotonic() < ends:
                schema, form, seed = jobs.pop(0)
                request = _request(model, form, seed, options.max_tokens)
                scheduler.submit(request)
                under_way[request] = (schema, form, [])
            if not under_way:
                break
            for request, event in scheduler.step():
                schema, form, texts = under_way[request]
                if isinstance(event, Answer):
                    texts.append(event.text)
                elif isinstance(event, Finished):
                    check(schema, form, texts, event, counts)
                    del under_way[request]
    counts["not asked, for lack of time"] = len(jobs)
    return counts


def _request(model: Model, form: Form, seed: int, max_tokens: int) -> Request:
    prompt = prompt_segments(model, Conversation(), "Answer in JSON.", NO_THINKING)
    sampling = SamplingParams(seed=seed, max_tokens=max_tokens)
    return Request(prompt, sampling, thinking=ThinkingParams(budget=0), grammar=form.gbnf)


def main() -> None:
    """Prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--schemas", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=300)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="one for a small model, or a busy machine")
    parser.add_argument("--minutes", type=float, default=10)
    for name, count in sorted(run(parser.parse_args()).items()):
        print(f"{count:6,}  {name}")


if __name__ == "__main__":
    main()

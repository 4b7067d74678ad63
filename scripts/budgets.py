"""How well a model answers when its thinking is bounded: the held-out questions of `tiny`, at several budgets.

    python -m scripts.budgets [--model FILE] [--budgets 0,5,20,none] [--questions N] [--temp 0]

A row for each budget: right answers, how the thinking ended, tokens a reply. `sentence` is a thinking block that says
it is finished, in place of an empty one (https://arxiv.org/abs/2504.09858, NoThinking). With `--abrupt`, the end of
the thinking is not made likelier before it is forced.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from r1.engine import thinking
from r1.engine.context import Context, ContextParams
from r1.engine.model import Model
from r1.engine.prompt import NO_THINKING, NOTHING_GIVEN, Conversation, prompt_segments
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import Scheduler
from r1.engine.thinking import ThinkingParams
from r1.render.reply_text import Reply, ReplyText
from r1_quantize import catalog
from r1_quantize.builtin import ensure_tiny
from r1_quantize.store.store import Store
from scripts.tiny.questions import Question, held_out, is_right

_SENTENCE = "Okay, I think I have finished thinking."
_LENGTH = 1024
_SEQUENCES = 8

Budget = int | str | None
"""Tokens; None: none; `sentence`: no thinking, and the prompt says that it is over."""


def main() -> None:
    options = _options()
    with TemporaryDirectory() as home:
        path = options.model or _tiny(Path(home))
        with Model(path) as model:
            questions = held_out()[:: max(400 // options.questions, 1)]
            print("| budget | right | thinking ended | tokens a reply |\n| --- | --- | --- | --- |")
            for budget in options.budgets:
                _measure(model, questions, budget, options.temp)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF (default: tiny)")
    parser.add_argument("--budgets", type=_budgets, default=_budgets("0,sentence,1,5,10,20,40,80,160,320,none"))
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--temp", type=float, default=0.0)
    parser.add_argument("--abrupt", action="store_true")
    options = parser.parse_args()
    if options.abrupt:
        thinking._MOST_NUDGE = 0.0
    return options


def _budgets(text: str) -> list[Budget]:
    return [None if word == "none" else int(word) if word.isdecimal() else word for word in text.split(",")]


def _tiny(home: Path) -> Path:
    store = Store(home, catalog.load())
    return ensure_tiny(store).path


def _measure(model: Model, questions: list[Question], budget: Budget, temp: float) -> None:
    """Answers the questions, and prints the row."""
    with Context(model, ContextParams(_LENGTH, sequences=_SEQUENCES, cells=_SEQUENCES * _LENGTH)) as context:
        requests = {_request(model, question, budget, temp): question for question in questions}
        replies = _replies(Scheduler(context), list(requests))
    right = sum(is_right(requests[request], reply.answer) for request, reply in replies.items())
    ends = Counter(reply.finished.thinking_end or "not" for reply in replies.values())
    usages = [reply.finished.usage for reply in replies.values()]
    tokens = sum(usage.thinking_tokens + usage.answer_tokens for usage in usages)
    ended = ", ".join(f"{end} {count}" for end, count in ends.most_common())
    print(f"| {budget} | {right / len(questions):.1%} | {ended} | {tokens / len(questions):.0f} |", flush=True)


def _request(model: Model, question: Question, budget: Budget, temp: float) -> Request:
    tokens = budget if isinstance(budget, int) else 0 if budget == "sentence" else None
    segments = prompt_segments(model, Conversation(), question.text, NOTHING_GIVEN if tokens else NO_THINKING)
    if budget == "sentence":
        segments = [[*segments[0][: -_block(model)], *_said(model)]]
    sampling = SamplingParams(temperature=temp, seed=1, max_tokens=600)
    return Request(segments, sampling, ThinkingParams(tokens, reserve=0, guards_loops=False))


def _block(model: Model) -> int:
    """The length of the empty thinking block, in tokens, without `<think>`."""
    return 2 * len(model.tokenize("\n\n")) + 1


def _said(model: Model) -> list[int]:
    return [*model.tokenize(f"\n{_SENTENCE}\n"), model.control.end_think, *model.tokenize("\n\n")]


def _replies(scheduler: Scheduler, requests: list[Request]) -> dict[Request, Reply]:
    for request in requests:
        scheduler.submit(request)
    texts = {request: ReplyText() for request in requests}
    replies = {}
    while not scheduler.is_idle:
        for request, event in scheduler.step():
            if reply := texts[request].add(event):
                replies[request] = reply
    scheduler.close()
    return replies


if __name__ == "__main__":
    main()

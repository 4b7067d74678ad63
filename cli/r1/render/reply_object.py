"""The JSON object of a reply, for `r1 run --json` and each line of `--jsonl`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from r1.engine.events import Finished, Timings, Usage
from r1.fit.plan import MemoryPlan
from r1.render.drafts import drafts_object
from r1.render.reply_text import Reply


def reply_object(
    reply: Reply, model: str | None, seed: int | None, plan: MemoryPlan | None, load_s: float, *, valid: bool | None
) -> dict[str, Any]:
    """The object. `plan` is None if no context was made; `load_s`, in seconds, is what it took to get ready.

    `valid`: whether the answer has the form that was asked for; None if none was, or the answer is not finished.
    """
    timings = {"load_s": load_s, **asdict(reply.finished.timings)}
    return {
        "answer": reply.answer,
        "thinking": reply.thinking,
        "finish_reason": reply.finished.reason,
        "thinking_end": reply.finished.thinking_end,
        "valid": valid,
        "model": model,
        "seed": seed,
        "context": None if plan is None else _context(plan, reply.finished.threads),
        "usage": asdict(reply.finished.usage),
        "timings": {name: round(value, 4) for name, value in timings.items()},
        "speculation": drafts_object(reply.finished.drafted),
    }


def unanswered_object(model: str | None, seed: int | None) -> dict[str, Any]:
    """The object of a reply that was interrupted before the model was loaded."""
    finished = Finished("interrupted", Usage(0, 0, 0), Timings(0.0, 0.0, 0.0, 0.0))
    return reply_object(Reply(finished, thinking="", answer=""), model, seed, None, load_s=0.0, valid=None)


def _context(plan: MemoryPlan, threads: int | None) -> dict[str, Any]:
    """What else the text depends on: the same seed gives the same text only if these are the same, too.

    `threads` decoded the reply; None if their number changed meanwhile.
    """
    return {
        "tokens": plan.context,
        "kv_type": plan.kv_type,
        "gpu_layers": plan.gpu_layers,
        "threads": threads,
        "sequences": plan.sequences,
    }

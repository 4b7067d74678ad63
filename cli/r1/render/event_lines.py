"""The events of a pull as JSON Lines, for scripts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from r1.console import Console
from r1.render.progress import FREQUENT, Progress
from r1_quantize.events import (
    Arrived,
    Fetching,
    Finished,
    Noted,
    PipelineEvent,
    Present,
    PullPlan,
    Rejected,
    StartedOver,
    Waiting,
    WaitingForLock,
)

_PROGRESS_EVERY_S = 1.0


def event_lines(
    console: Console, events: Iterator[PipelineEvent], reference: str, plan_facts: Callable[[PullPlan], dict[str, Any]]
) -> Iterator[PipelineEvent]:
    """Passes the events on, and prints a line for each, but only one line per second for all frequent ones.

    No line about the work comes before the plan, however slow the machine; only notes, and that r1 waits for another
    process or for the hub.
    """
    progress, last_line, is_planned = Progress(), time.monotonic(), False
    for event in events:
        progress.add(event)
        if isinstance(event, PullPlan):
            is_planned, last_line = True, time.monotonic()
            console.json({"event": "plan", **plan_facts(event)}, one_line=True)
        elif isinstance(event, Fetching | Rejected | FREQUENT) and not is_planned:
            pass  # about the small files and headers that the plan is based on
        elif facts := _facts(event, reference):
            console.json(facts, one_line=True)
        elif isinstance(event, FREQUENT) and time.monotonic() - last_line >= _PROGRESS_EVERY_S:
            last_line = time.monotonic()
            console.json(_progress(progress), one_line=True)
        yield event


def _facts(event: PipelineEvent, reference: str) -> dict[str, Any] | None:  # noqa: PLR0911 — one return per event
    match event:
        case Noted():
            return {"event": "note", "text": event.text}
        case WaitingForLock():
            return {"event": "queued", "reason": event.holder}
        case Fetching():
            return {"event": "fetching", "file": event.file, "bytes": event.size, "here": event.here}
        case Arrived():
            return {"event": "arrived", "file": event.file, "bytes": event.size}
        case Rejected():
            return {"event": "rejected", "file": event.file, "reason": event.reason}
        case Waiting():
            return {"event": "waiting", "wait_s": event.seconds, "reason": event.reason}
        case StartedOver():
            return {"event": "started_over", "reason": event.reason}
        case Finished() | Present():
            kind = "finished" if isinstance(event, Finished) else "present"
            facts = {"event": kind, "reference": reference, "path": str(event.path), "bytes": event.size}
            return {**facts, "missing_tokens": [*event.missing_tokens]}
    return None


def _progress(progress: Progress) -> dict[str, Any]:
    seconds = progress.seconds_left
    return {
        "event": "progress",
        "fetched_bytes": progress.fetched,
        "of_fetched_bytes": progress.of_fetched,
        "tensors": progress.tensors,
        "of_tensors": progress.of_tensors,
        "read_bytes": progress.read,
        "of_read_bytes": progress.of_read,
        "written_bytes": progress.written,
        "checked_bytes": progress.checked,
        "of_written_bytes": progress.of_written,
        "left_s": round(seconds, 1) if seconds is not None else None,
    }

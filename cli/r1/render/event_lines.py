"""The events of a pull → a JSON object a line, for scripts.

Knows: the keys. Does not know: how anything is fetched or converted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from r1.console import Console
from r1.render.progress import MOVES, Progress
from r1_quantize.events import (
    Arrived,
    Fetching,
    Finished,
    Noted,
    PipelineEvent,
    Present,
    PullPlan,
    WaitingForLock,
    Rejected,
    StartedOver,
    Waiting,
)

_EVERY = 1.0  # seconds between two lines that say how far it is


def event_lines(
    console: Console, events: Iterator[PipelineEvent], reference: str, plan_facts: Callable[[PullPlan], dict[str, Any]]
) -> Iterator[PipelineEvent]:
    """Writes a line for each event that says something, and for the many small ones one a second; passes them on."""
    progress, said, planned = Progress(), time.monotonic(), False
    for event in events:
        progress.take(event)
        if isinstance(event, PullPlan):
            planned = True
            _write(console, {"event": "plan", **plan_facts(event)})
        elif isinstance(event, Fetching) and not planned:
            pass  # the small files that the plan is made of
        elif facts := _facts(event, reference):
            _write(console, facts)
        elif isinstance(event, MOVES) and time.monotonic() - said >= _EVERY:
            said = time.monotonic()
            _write(console, _progress(progress))
        yield event


def _write(console: Console, facts: dict[str, Any]) -> None:
    """One line."""
    console.out(json.dumps(facts, ensure_ascii=False) + "\n")


def _facts(event: PipelineEvent, reference: str) -> dict[str, Any] | None:  # noqa: PLR0911 — one return an event
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
            return {"event": "waiting", "seconds": event.seconds, "reason": event.reason}
        case StartedOver():
            return {"event": "started_over", "reason": event.reason}
        case Finished() | Present():
            kind = "finished" if isinstance(event, Finished) else "present"
            return {"event": kind, "reference": reference, "path": str(event.path), "bytes": event.size}
    return None


def _progress(progress: Progress) -> dict[str, Any]:
    left = progress.left
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
        "left_s": round(left, 1) if left is not None else None,
    }

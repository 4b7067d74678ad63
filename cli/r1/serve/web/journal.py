"""A line for each request: for people on a terminal, or as JSON for programs; and the figures of /metrics.

Nothing of a prompt or an answer is in it, unless prompts are asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from r1.console import Console, abandon, printable
from r1.engine.events import Finished
from r1.serve.asked import Asked
from r1.serve.entry import Entry, current
from r1.serve.web.metrics import Metrics
from r1_quantize.errors import R1Error

_SHOWN = 200  # characters of an error or a path in a line
_AGENT = 40  # characters of a client's name
_PATH = 500  # of a path; a client can send one of 64 KiB


@dataclass(frozen=True, slots=True)
class JournalOptions:
    as_json: bool = False
    log_prompts: bool = False


class Journal:
    """Writes the lines, and counts."""

    def __init__(self, console: Console, options: JournalOptions, metrics: Metrics) -> None:
        self._console = console
        self._options = options
        self._is_lost = False
        self.metrics = metrics

    def listening(self, address: str, model: str | None, *, needs_key: bool) -> None:
        """The first line: where it serves, and what a client needs to know."""
        if self._options.as_json:
            self._console.json({"event": "listening", "address": address, "model": model}, one_line=True)
            return
        key = "clients must send the key" if needs_key else "no key is needed"
        self._say(f"serving {model or 'all models'} on {address}; OpenAI clients use {address}/v1; {key}")

    def ending(self, active: int, grace_s: float) -> None:
        """Tells whoever pressed Ctrl-C what is waited for."""
        if active and not self._options.as_json:
            what, them = ("1 request has", "it") if active == 1 else (f"{active} requests have", "them")
            self._say(f"ending: {what} {grace_s:g} s left; Ctrl-C again ends {them} now")

    def add(self, entry: Entry) -> None:
        """A request that has been answered, refused or left."""
        self.metrics.add(entry)
        if self._options.as_json:
            self._write({"event": "request", **self._fields(entry)})
        elif entry.asked is not None or self._error(entry) is not None:  # clients ask for the models every few seconds
            self._say(self._line(entry))

    def _write(self, value: Mapping[str, Any]) -> None:
        """Without a place for the log, serving goes on."""
        if self._is_lost:
            return
        try:
            self._console.json(value, one_line=True)
        except (OSError, R1Error) as exc:
            self._is_lost = True
            abandon(self._console.stdout)
            reason = exc.strerror if isinstance(exc, OSError) else exc
            self._console.warn(f"cannot write the log ({reason}); serving goes on without it")

    def _say(self, line: str) -> None:
        """Also where stderr is a file: it is the log then."""
        if not self._console.quiet:
            self._console.err(f"{line}\n")

    def _error(self, entry: Entry) -> str | None:
        """Why it was refused, or failed later."""
        error = entry.error if entry.error is not None or entry.asked is None else entry.asked.error
        if error is None:
            return None
        return error.message if self._options.log_prompts else error.logged

    def _fields(self, entry: Entry) -> dict[str, Any]:
        took_s = time.monotonic() - entry.began
        started = datetime.now(UTC) - timedelta(seconds=took_s)
        return {
            "started": started.isoformat(timespec="milliseconds"),
            "client": entry.client,
            "agent": entry.agent,
            "method": entry.method,
            "path": entry.path[:_SHOWN],
            "status": entry.status,
            "error": self._error(entry),
            "total_s": round(took_s, 4),
            **({} if entry.asked is None else _reply_fields(entry.asked)),
            **({"prompt": entry.prompt} if self._options.log_prompts else {}),
        }

    def _line(self, entry: Entry) -> str:
        """Such as `12:03:04 · 127.0.0.1 · OpenAI/Python · qwen-7b:Q4_K_M · 31 + 812 tokens · 12 tok/s · stop`."""
        who = f"{datetime.now():%H:%M:%S} · {entry.client}" + (f" · {entry.agent}" if entry.agent else "")
        if (error := self._error(entry)) is not None:
            path, error = (" ".join(text.split()) for text in (entry.path, error))  # also a path can have line breaks
            return printable(f"{who} · {entry.method} {path:.60} · {entry.status} · {error:.{_SHOWN}}")
        assert entry.asked is not None, "there is an error or a reply"
        finished = _finished(entry)
        parts = [who, entry.asked.model, *_work(finished, entry.asked.decode_tps), _end(entry.asked)]
        if self._options.log_prompts and entry.prompt is not None:
            parts.append(" ".join(entry.prompt.split()))
        return printable(" · ".join(parts))


def _finished(entry: Entry) -> list[Finished]:
    return entry.asked.finished if entry.asked is not None else []


def _work(finished: list[Finished], speed: float) -> list[str]:
    """The tokens of the prompt and of all replies, and their speed."""
    if not finished:
        return []
    prompt = finished[0].usage.prompt_tokens
    generated = sum(each.usage.generated_tokens for each in finished)
    return [f"{prompt:,} + {generated:,} tokens", f"{speed:,.{0 if speed >= 10 else 1}f} tok/s"]


def _end(asked: Asked) -> str:
    """How the replies ended; of one that the client has left, no end was read."""
    reasons = ["ended by the server" if each.reason == "interrupted" else each.reason for each in asked.finished]
    left = [] if asked.has_all else ["left by the client"]
    return ", ".join(dict.fromkeys([*reasons, *left]))


def _reply_fields(asked: Asked) -> Mapping[str, Any]:
    wait_s, finished = asked.wait_s, asked.finished
    usages = [each.usage for each in finished]
    return {
        "model": asked.model,
        "wait_s": None if wait_s is None else round(wait_s, 4),
        "ttft_s": round(finished[0].timings.ttft_s, 4) if finished else None,
        "prompt_tokens": usages[0].prompt_tokens if usages else None,
        "cached_tokens": usages[0].cached_tokens if usages else None,
        "thinking_tokens": sum(usage.thinking_tokens for usage in usages),
        "answer_tokens": sum(usage.answer_tokens for usage in usages),
        "decode_tps": round(asked.decode_tps, 2),
        "finish_reasons": [each.reason for each in finished],
    }


class JournalMiddleware:
    """Makes an entry for each request, and adds it to the journal when the request is over."""

    def __init__(self, app: ASGIApp, add: Callable[[Entry], None]) -> None:
        self._app = app
        self._add = add

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry = _entry_of(scope)
        token = current.set(entry)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            current.reset(token)
            entry.has_fixed_path = "endpoint" in scope and not scope["path_params"]  # as Starlette's router sets them
            self._add(entry)


def _entry_of(scope: Scope) -> Entry:
    client = scope.get("client")
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    name = agent.decode("latin-1").partition(" ")[0][:_AGENT]
    return Entry(scope["method"], scope["path"][:_PATH], client[0] if client else "", printable(name))

"""What /stats shows: how fast the last turn was, and the memory that is used."""

from __future__ import annotations

from collections.abc import Iterator

from r1.chat.chat import Chat
from r1.chat.columns import beside
from r1.chat.view import name_of
from r1.engine.events import THINKING_ENDS, Drafted
from r1.history.history import StoredTurn
from r1_quantize import units

_LABEL_COLUMNS = 13
_SECONDS_FROM = 0.1  # shorter times are in milliseconds: hundredths of a second would say little


def stats_lines(chat: Chat, resident: int) -> str:
    """The figures in two columns. `resident` is the memory of this process, in bytes."""
    rows = [*_speed(chat), ("memory", f"{units.size(resident)} resident")]
    ready = chat.model.ready
    if ready and ready.plan:
        rows.append(("plan", ready.plan))
    return "".join(beside(label.ljust(_LABEL_COLUMNS), text, chat.view.style) for label, text in rows)


def _speed(chat: Chat) -> Iterator[tuple[str, str]]:
    """About the last turn that was measured, and its model if that is not the present one; nothing if there is none."""
    for turn in reversed(chat.turns):
        if turn.timings and turn.usage:
            if turn.asked.model != chat.model.reference:
                yield "model", f"{name_of(turn.asked.model)} (turn {turn.number})"
            yield from _figures(turn)
            return


def _figures(turn: StoredTurn) -> Iterator[tuple[str, str]]:
    assert turn.timings is not None
    assert turn.usage is not None
    timings, usage = turn.timings, turn.usage
    tokens = f"{usage.thinking_tokens:,} thinking + {usage.answer_tokens:,} answer tokens"
    yield "prefill", f"{timings.prefill_tps:.1f} tok/s"
    yield "decode", f"{timings.decode_tps:.1f} tok/s"
    yield "first token", latency(timings.ttft_s)
    yield "total", f"{timings.total_s:.1f} s, {tokens}"
    if turn.drafted:
        yield "drafts", drafts(turn.drafted)
    if ending := THINKING_ENDS.get(turn.thinking_end):
        yield "thinking", ending


def latency(seconds: float) -> str:
    """`45 ms`, `0.31 s`."""
    return f"{1000 * seconds:.0f} ms" if seconds < _SECONDS_FROM else f"{seconds:.2f} s"


def drafts(drafted: Drafted) -> str:
    """`3 of 10 guesses right, 1.1 tokens a pass, 0.9 × as fast as without`."""
    if not drafted.proposed:
        return "none"
    guesses = "guess" if drafted.proposed == 1 else "guesses"
    right = f"{drafted.accepted:,} of {drafted.proposed:,} {guesses} right"
    words = f"{right}, {drafted.tokens_per_pass:.1f} tokens a pass"
    return words if drafted.speedup is None else f"{words}, {drafted.speedup:.1f} × as fast as without"

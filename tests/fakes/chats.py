"""Short ways to write turns of a chat in tests."""

from __future__ import annotations

from pathlib import Path

from r1.engine.events import Finished, FinishReason, Timings, Usage
from r1.engine.prompt import Attachment
from r1.history.history import History, Question

USAGE = Usage(prompt_tokens=11, thinking_tokens=22, answer_tokens=33)
TIMINGS = Timings(ttft_s=0.25, prefill_tps=400.5, decode_tps=30.25, total_s=4.5)


def asked(
    question: str = "why?", *files: tuple[str, str], model: str = "tiny:Q8_0", system: str | None = None
) -> Question:
    attachments = tuple(Attachment(name, content) for name, content in files)
    return Question(
        question=question,
        files=attachments,
        model=model,
        system=system,
        seed=4294967295,
        temp=0.6,
        top_p=0.95,
        max_tokens=512,
        ctx=2048,
    )


def finished(reason: FinishReason = "stop") -> Finished:
    return Finished(reason, USAGE, TIMINGS)


def say(
    history: History,
    session: int | None,
    question: str | Question,
    answer: str = "because",
    thinking: str = "hm",
    reason: FinishReason | None = "stop",
) -> tuple[int, int]:
    """Saves a complete turn; `reason` None leaves it unfinished. Returns the session and the turn's id."""
    session, turn = history.begin(session, asked(question) if isinstance(question, str) else question)
    history.add(turn, thinking, "")
    history.add(turn, "", answer)
    if reason is not None:
        history.finish(turn, finished(reason), 1.5, 0.125)
    return session, turn


def write_three_chats(path: Path) -> Path:
    """A history with three chats: one of two turns with a file, one that was cut off, one in Chinese."""
    with History.open(path) as history:
        wood = asked("Does wood float?", ("notes.txt", "A duck."))
        session, _ = say(history, None, wood, "Yes, it does.", "Hmm, wood.")
        say(history, session, "And \x1b[31mred\x1b[0m stone?", "No.\n\n```\n# not a heading\n```", "Stone sinks.")
        say(history, None, asked("Cut off?", model="qwen-7b:Q4_K_M"), "It w", "Wait", reason=None)
        say(history, None, "草莓里有几个字母？", "三个。", "数一数。")
    return path

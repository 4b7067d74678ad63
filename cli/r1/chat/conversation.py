"""Shows the turns of a chat that is opened again."""

from __future__ import annotations

from r1.chat.chat import Chat
from r1.chat.view import name_of
from r1.history.history import StoredTurn
from r1.render.reply import PastThinking, answer_lines, question_lines, turn_lines
from r1_quantize.errors import R1Error

_SHOWN_TURNS = 20
_INCOMPLETE = {None: "this reply was cut off when the program ended", "interrupted": "this reply was stopped"}
"""About replies that look complete here, by `finish_reason`."""


def show_conversation(chat: Chat) -> None:
    """Prints the turns so far; of a long chat only the last ones."""
    older = len(chat.turns) - _SHOWN_TURNS
    if older > 0:
        chat.notices.say(f"… {older} older turns (/export writes them all)")
    for turn in chat.turns[-_SHOWN_TURNS:]:
        _show_turn(chat, turn)


def show_other_model(chat: Chat) -> None:
    """Says so if the last turn was answered by a model other than the present one."""
    used = chat.turns[-1].asked.model if chat.turns else chat.model.reference
    if used == chat.model.reference:
        return
    try:
        remedy = f"; /model {chat.model.check(used)} switches back"
    except R1Error:
        remedy = f"; {name_of(used)} is no longer on this machine"
    chat.notices.say(f"this chat used {name_of(used)}, and continues with {name_of(chat.model.reference)}{remedy}")


def _show_turn(chat: Chat, turn: StoredTurn) -> None:
    style = chat.view.style
    question = question_lines(turn.asked.question, style, [file.name for file in turn.asked.files])
    answer = answer_lines(turn.answer, style, is_literal=turn.asked.form is not None)
    chat.view.print(turn_lines(question, _thinking_lines(chat, turn), answer))
    chat.thinking.turn_ended(turn, was_shown=chat.thinking.is_shown)
    if turn.finish_reason in _INCOMPLETE:
        remedy = "; /retry to ask again" if turn is chat.turns[-1] else ""  # it asks the last question
        chat.notices.warn(f"{_INCOMPLETE[turn.finish_reason]}{remedy}")


def _thinking_lines(chat: Chat, turn: StoredTurn) -> str:
    if not turn.thinking:
        return ""
    tokens = turn.usage.thinking_tokens if turn.usage else 0
    trace = turn.thinking if chat.thinking.is_shown else ""
    return PastThinking(turn.thinking_s, tokens, turn.thinking_end, trace).lines(chat.view.style)

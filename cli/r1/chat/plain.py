"""The chat on a terminal that cannot redraw, or in a pipe: lines in, plain text out, the same commands.

Answers go to stdout, everything else to stderr. On a terminal each line is a message. A pipe is read to its end and is
one message, so that a text of many lines is not split; it gets what `r1 run` would print.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from r1.chat.chat import Chat
from r1.chat.conversation import show_conversation, show_other_model
from r1.chat.leaving import LEAVING_HINT, PressedTwice
from r1.chat.print_order import PrintOrder
from r1.chat.slash_commands import COMMANDS
from r1.chat.view import Opening
from r1.chat.vote_job import VoteOver
from r1.chat.worker import Failed, Noted, Ready, Worker, WorkerEvent
from r1.console import Console
from r1.engine.events import Event, Finished
from r1.history.history import History, StoredTurn
from r1.interrupt import Interrupt
from r1.prompt_input import read_stdin
from r1.render.outcome import (
    Limits,
    command_line_remedies,
    exit_status,
    how_thinking_ended,
    why_incomplete,
)
from r1.render.plain import PlainView, TraceTo
from r1.render.reply import PROMPT, ReplyView
from r1.render.style import Style
from r1.settings import Settings
from r1_quantize.errors import ExitStatus, UsageError

_COLUMNS = 80
_ONE_LINE = 1 << 20  # columns
_POLL_S = 0.1  # between two checks for Ctrl-C


class _PlainReply(ReplyView):
    """Prints each piece as it arrives."""

    def __init__(
        self, console: Console, style: Style, *, shows_thinking: bool, budget: int | None, is_literal: bool
    ) -> None:
        super().__init__(style, shows_thinking=shows_thinking, budget=budget, is_literal=is_literal)
        self._plain = PlainView(console, self._trace_to, show_answer=True, budget=budget)

    def show(self, event: Event) -> None:
        super().show(event)
        self._plain.trace_to = self._trace_to
        self._plain.show(event)

    def show_tally(self, wordings: Sequence[str]) -> None:
        super().show_tally(wordings)
        self._plain.show_tally(wordings)

    def close(self) -> None:
        """Ends the line that is being written."""
        self._plain.close()

    @property
    def _trace_to(self) -> TraceTo:
        return "stderr" if self.shows_thinking else "nowhere"


class PlainChat:
    """Shows a chat on the standard streams."""

    def __init__(self, console: Console) -> None:
        self.style = Style(_COLUMNS, colour=False)
        self.has_left = False
        self._console = console
        self._order = PrintOrder(self._write)
        self._reply: _PlainReply | None = None

    def print(self, lines: str) -> None:
        self._order.print(lines)

    def open_reply(self, *, shows_thinking: bool, budget: int | None = None, is_literal: bool = False) -> ReplyView:
        self._reply = _PlainReply(
            self._console, self.style, shows_thinking=shows_thinking, budget=budget, is_literal=is_literal
        )
        self._order.begin(self._reply)
        return self._reply

    def close_reply(self, ending: str) -> None:
        if self._reply is not None:
            self._reply.close()
            self._reply = None
        for lines in [ending, *self._order.end()]:
            self._write(lines)

    def _write(self, lines: str) -> None:
        self._console.err(lines.rstrip("\n") + "\n" if lines else "")

    def show_question(self, question: str, files: Sequence[str]) -> None:
        """The terminal already shows what was typed."""

    def set_draft(self, text: str) -> None:
        """There is no draft here: the text is printed, to be typed again."""
        self.print(f"draft: {text}")

    def send_escape_code(self, code: str) -> None:
        """Plain text has no escape codes."""

    def changed(self) -> None:
        """Nothing is redrawn."""

    def leave(self) -> None:
        self.has_left = True


class PipedChat(PlainChat):
    """Shows the one reply of a chat in a pipe. Each message of the program is one line that begins with `r1: `.

    How the reply ended is not for the view: there are no slash commands here that could help.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.style = Style(_ONE_LINE, colour=False)

    def close_reply(self, _ending: str) -> None:
        super().close_reply("")

    def _write(self, lines: str) -> None:
        if lines.strip():
            self._console.warn(lines)


def run_plain(console: Console, history: History, settings: Settings, opening: Opening) -> int:
    """Chats until the input ends. With a pipe, answers once and returns the exit status of that answer, or raises."""
    if console.stdin is None:
        raise UsageError("the chat reads from stdin, but stdin is closed or not readable")
    events: SimpleQueue[WorkerEvent] = SimpleQueue()
    view = PlainChat(console) if console.stdin_is_terminal else PipedChat(console)
    worker = Worker(events.put, opening.hints, opening.kv_folder, opening.find_draft)
    chat = Chat(view, history, settings, opening, worker, COMMANDS)
    try:
        chat.start()
        if not console.stdin_is_terminal:
            return _answer_pipe(console, chat, events)
        show_conversation(chat)
        show_other_model(chat)
        _talk(console, chat, view, events)
        return ExitStatus.OK
    finally:
        if trouble := chat.close():
            console.note(trouble)


def _answer_pipe(console: Console, chat: Chat, events: SimpleQueue[WorkerEvent]) -> ExitStatus:
    message = read_stdin(console, chat.model.prompt_limit)
    if not message.strip():
        raise UsageError('stdin is empty; try: echo "How many r\'s are in strawberry?" | r1 chat')
    chat.ask(message)
    errors: list[Exception] = []
    votes: list[VoteOver] = []

    def handle(event: WorkerEvent) -> None:
        if isinstance(event, Noted):
            (console.warn if event.grave else console.note)(event.text)
            return
        if isinstance(event, VoteOver):
            votes.append(event)
        if isinstance(event, Failed):
            errors.append(event.error)
        if not isinstance(event, Failed) or event.asking:
            chat.handle(event)

    _follow(chat, events, handle)
    if errors:  # without its model, the question fails as well
        raise errors[0]
    turn = chat.turns[-1]
    return _end_as_run(console, chat, turn, votes[0] if votes else None)


def _end_as_run(console: Console, chat: Chat, turn: StoredTurn, vote: VoteOver | None) -> ExitStatus:
    """Says how the only turn ended, as `r1 run` says it; returns its exit status."""
    for remark in vote.remarks if vote else ():
        console.note(remark)
    limits = _limits(chat)
    ended = _how_thinking_ended(turn, limits) if turn.answer else None
    for warning in filter(None, [*(vote.warnings if vote else ()), ended]):
        if not console.quiet:
            console.warn(warning)
    status = exit_status(turn.finish_reason, turn.answer)
    problem = vote.problem if vote else None
    why = None
    if status is ExitStatus.INCOMPLETE and not (problem and turn.finish_reason == "stop"):
        assert turn.finish_reason is not None
        thought = turn.thinking_end is not None
        why = why_incomplete(turn.finish_reason, limits, answered=bool(turn.answer), thought=thought)
    if said := " · ".join(filter(None, [problem, why])):
        console.warn(said)
    if status is ExitStatus.OK and vote and vote.is_stopped:
        return ExitStatus.INTERRUPTED
    return ExitStatus.INCOMPLETE if status is ExitStatus.OK and problem else status


def _talk(console: Console, chat: Chat, view: PlainChat, events: SimpleQueue[WorkerEvent]) -> None:
    leaves, hint = PressedTwice(), ""
    while not view.has_left:
        try:
            console.err(f"{hint}{PROMPT}")  # the hint, too, because the second Ctrl-C can follow at once
            hint = ""
            line = console.stdin.readline() if console.stdin else b""
        except KeyboardInterrupt:
            if leaves():
                console.err("\n")
                return
            hint = f"\n{LEAVING_HINT}\n"
            continue
        if not line:
            console.err("\n")
            return
        _follow(chat, events, chat.handle)  # events that arrived while the user was typing
        chat.submit(line.decode("utf-8", "replace").rstrip("\r\n"))
        _follow(chat, events, chat.handle)


def _how_thinking_ended(turn: StoredTurn, limits: Limits) -> str | None:
    """As `r1 run` says it."""
    if turn.finish_reason is None or turn.usage is None or turn.timings is None:
        return None
    finished = Finished(turn.finish_reason, turn.usage, turn.timings, thinking_end=turn.thinking_end)
    return how_thinking_ended(finished, limits)


def _limits(chat: Chat) -> Limits:
    ready = _ready(chat)
    remedies = command_line_remedies(can_grow=ready.ctx < ready.trained)
    settings = chat.settings
    return Limits(settings.thinking_params().budget, settings.max_tokens, ready.ctx, remedies, settings.reserve)


def _ready(chat: Chat) -> Ready:
    """The model of a reply that is over."""
    assert chat.model.ready is not None
    return chat.model.ready


def _follow(chat: Chat, events: SimpleQueue[WorkerEvent], handle: Callable[[WorkerEvent], None]) -> None:
    """Handles events until no reply is being generated.

    Ctrl-C ends the reply, SIGTERM and SIGHUP also the chat: they raise SystemExit.
    """
    with Interrupt() as interrupted:
        while chat.busy or not events.empty():
            if interrupted():
                chat.interrupt()
            with suppress(Empty):
                handle(events.get(timeout=_POLL_S))
            chat.recorder.tick()
        if interrupted.status is not ExitStatus.INTERRUPTED:
            interrupted.end()

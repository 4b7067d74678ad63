"""A conversation as it goes on: what was said, what is being said, what waits to be said.

Knows: turns, the worker, the history, what follows what. Does not know: keys, drawing, the commands' names.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from r1.chat import notices
from r1.chat.recorder import Current
from r1.chat.view import Opening, View, name_of
from r1.chat.worker import Failed, Loaded, Loading, Noted, Ready, Warmed, Worker, WorkerEvent
from r1.engine.events import Answer, Finished, Prefill, Thinking, Thought
from r1.engine.prompt import Attachment, Turn, with_attachments
from r1.engine.sampling import MAX_SEED
from r1.history.history import Asked, History, StoredTurn
from r1.render.reply import ReplyView, render_trace
from r1.settings import Settings
from r1_quantize.errors import Busy, R1Error, UsageError

_KEEP_EVERY = 0.4
"""Seconds between two writes of a reply that is being made; with the time between two frames, what a kill loses."""

_LAST_TRIES = 20  # at the end of a chat, to write what was locked; each waits as long as the history is patient

_SHOWS_THINKING = "thinking"  # the name of the preference


class Chat:
    """One chat. Everything but the worker's own work happens on the thread that calls."""

    def __init__(self, view: View, history: History, settings: Settings, opening: Opening, worker: Worker) -> None:
        self.view = view
        self.history = history
        self.settings = settings
        self.worker = worker
        self.reference = opening.reference
        self.check = opening.check
        self.find = opening.find
        self.models = opening.models
        self.warned_of_system = settings.system is not None
        self.session = opening.session
        self.turns: list[StoredTurn] = []
        self.files: list[Attachment] = []
        self.queue: list[str] = []
        self.reply: ReplyView | None = None
        self.ready: Ready | None = None
        self.loading: float | None = None
        self.lengths: tuple[int, ...] = ()
        self.warmed = 0
        self.unseen: StoredTurn | None = None  # the last turn, while nobody has seen its thinking
        self.replaces: StoredTurn | None = None  # the turn that the next question stands in for
        remembered = history.preference(_SHOWS_THINKING) == "show"
        self.shows_thinking = remembered if opening.shows_thinking is None else opening.shows_thinking
        self.on_command: Callable[[str], bool] = lambda _: False  # False: it is no command
        self.must_wait: Callable[[str], bool] = lambda _: True
        self._current: Current | None = None
        self._settled = 0  # tokens that are taken while no reply is made
        self._told_nearly_full = False
        self._told_not_kept = False
        self._owed: list[Callable[[], None]] = []  # writes to the history that found it locked, in order
        self._before: str | None = None  # the model that was there before the one that is being loaded

    # --- what is so ---

    @property
    def busy(self) -> bool:
        """Whether a reply is being made."""
        return self._current is not None

    @property
    def used(self) -> int:
        """Tokens of the context that are taken: by the turn that goes on, else by what the next one begins with."""
        return self._current.used if self._current and self._current.prompt_tokens else self._settled

    @property
    def nearly_full(self) -> bool:
        """Whether little is left of the context."""
        return self.ready is not None and self.used >= notices.NEARLY_FULL * self.ready.ctx

    @property
    def kept_turns(self) -> list[StoredTurn]:
        """The turns that the model still sees. Not those without an answer: R1 was never shown such a one."""
        return [turn for turn in self.turns if turn.answer and not turn.trimmed]

    def exchanges(self) -> list[Turn]:
        """The same as the engine takes them, without one that is about to be replaced."""
        turns = [turn for turn in self.kept_turns if turn is not self.replaces]
        return [Turn(_prompt(turn.asked), turn.thinking, turn.answer) for turn in turns]

    # --- what the person does ---

    def start(self) -> None:
        """Loads the model, and takes up the session that was named."""
        if self.session is not None:
            self.take_up(self.session)
        self.load(self.reference)

    def submit(self, text: str) -> None:
        """A message or a command. While a reply is being made messages wait for its end, and some commands."""
        if not text.strip():
            return
        if self.busy and self.must_wait(text):
            self.queue.append(text)
            self.view.changed()
        elif self.on_command(text):
            self.put_away(text)
        else:
            self.view.show_question(text, [file.name for file in self.files])
            self.ask(text)

    def put_away(self, draft: str) -> None:
        """Something that was typed and not asked; Up brings it back, in later chats too."""
        with self._keeping():
            self.history.remember(draft)

    def ask(self, question: str) -> None:
        """Puts a question to the model; files that were attached go along."""
        files, self.files = tuple(self.files), []
        exchanges = self.exchanges()
        replaces, self.replaces = self.replaces, None
        seed = secrets.randbelow(MAX_SEED + 1) if self.settings.seed is None else self.settings.seed
        settings = replace(self.settings, seed=seed)
        asked = Asked(
            question=question,
            files=files,
            model=self.reference,
            system=settings.system,
            seed=seed,
            temp=settings.temp,
            top_p=settings.top_p,
            max_tokens=settings.max_tokens,
            ctx=self.ready.ctx if self.ready else settings.ctx or 0,
        )
        number = 1 + (self.turns[-1].number if self.turns else 0) - (replaces is not None)
        self._current = Current(number, asked, replaces)
        self._begin(self._current)
        self.reply = self.view.open_reply(shows_thinking=self.shows_thinking)
        self.worker.ask(_prompt(asked), exchanges, settings)
        self.view.changed()

    def interrupt(self) -> None:
        """Stops what is being said, and keeps it. What was waiting to be sent becomes the draft again."""
        self.worker.stop()
        if self.queue:
            waiting, self.queue = "\n".join(self.queue), []
            self.view.set_draft(waiting)

    def answer_now(self) -> bool:
        """Closes the thinking, if it is thinking or will be; False when there is nothing to close."""
        if self.reply is None or not (self.reply.is_thinking or self.reply.thinking_s is None):
            return False
        self.worker.answer_now()
        return True

    def show_thinking(self, shows: bool) -> None:
        """Turns the thinking over, in the middle of a sentence too, and remembers it."""
        self.shows_thinking = shows
        if self.reply is not None:
            self.reply.shows_thinking = shows
        elif shows and self.unseen is not None:
            self.show_trace(self.unseen)
        with self._keeping():
            self.history.prefer(_SHOWS_THINKING, "show" if shows else "hide")
        self.view.changed()

    def show_trace(self, turn: StoredTurn) -> None:
        """Opens what a turn was thought to come to."""
        self.view.print(render_trace(turn.thinking, self.view.style))
        self.say(f"the thinking of turn {turn.number}")
        self.unseen = None

    def load(self, reference: str) -> None:
        """Loads a model in place of the one that is there; the conversation goes on with it."""
        self._before, self.reference = self.reference if self.ready else None, reference
        self.ready, self.loading = None, 0.0
        self.worker.open(lambda: self.find(reference), self.settings)
        self.worker.warm(self.exchanges(), self.settings)
        self.view.changed()

    def change(self, settings: Settings) -> None:
        """From the next turn on."""
        self.settings = settings
        self._rewarm()

    def take_up(self, session: int | None) -> None:
        """Goes on with a session of the history, or with none."""
        self.session = session
        self.replaces = self.unseen = None
        self.files = []
        self._told_nearly_full = False
        with self._keeping():
            self.turns = [] if session is None else self.history.turns(session)
        self._rewarm()

    def undo(self) -> StoredTurn | None:
        """Takes back the last turn; it stays in the history's file, but not in the conversation."""
        if not self.turns:
            return None
        turn = self.turns[-1]
        self._withdraw(turn)
        self._rewarm()
        return turn

    def trim(self, turns: Sequence[StoredTurn]) -> None:
        """Leaves these turns out of what the model sees."""
        ids = {turn.id for turn in turns}
        if self.session is not None:
            with self._keeping():
                self.history.trim(self.session, sorted(ids))
        self.turns = [replace(turn, trimmed=turn.trimmed or turn.id in ids) for turn in self.turns]
        self._told_nearly_full = False
        self._rewarm()

    def close(self) -> None:
        """Keeps what there is, and ends the worker."""
        self.keep()
        self.worker.close()
        for _ in range(_LAST_TRIES):
            self._pay()
        self.history.close()

    # --- what happens ---

    def handle(self, event: WorkerEvent) -> None:
        """Takes in what the worker says."""
        self._pay()
        if isinstance(event, Loading):
            self.loading = event.share
        elif isinstance(event, Noted):
            self.say(event.text)
        elif isinstance(event, Ready):
            if self._before not in {None, event.reference}:
                self.say(f"this is {name_of(event.reference)} now, with a context of {event.ctx:,} tokens")
            self.ready, self.loading, self.reference, self._before = event, None, event.reference, None
        elif isinstance(event, Warmed):
            self.warmed, self.lengths, self._settled = event.done, event.lengths, sum(event.lengths)
            self._warn_when_nearly_full()
        elif isinstance(event, Failed):
            self._failed(event)
        elif isinstance(event, Loaded):
            if self._current is not None:
                self._current.load_s = event.load_s
        else:
            self._follow(event)
        self.view.changed()

    def keep(self) -> None:
        """Writes to the history what was said since the last time."""
        current = self._current
        if current is None:
            return
        current.kept = time.monotonic()
        if not current.id:
            self._begin(current)
        thinking, answer = current.new_pieces()
        if current.id and (thinking or answer):
            with self._keeping():
                self.history.add(current.id, thinking, answer)
                current.mark_kept()

    def _begin(self, current: Current) -> None:
        """The question goes to the history; into a new session, when the one it belongs to was deleted meanwhile."""
        with self._keeping():
            self._begin_turn(current)

    def _begin_turn(self, current: Current) -> None:
        try:
            self.session, current.id = self.history.begin(self.session, current.asked)
        except UsageError:
            self.session, current.id = self.history.begin(None, current.asked)

    def _finish_turn(self, current: Current, event: Finished, thinking_s: float | None) -> None:
        if not current.id:
            self._begin_turn(current)
        said = "".join(current.thinking), "".join(current.answer)
        self.history.finish(current.id, event, thinking_s, current.load_s, said)

    def tick(self) -> None:
        """To be called several times a second while a reply is being made."""
        if self._current is not None and time.monotonic() - self._current.kept >= _KEEP_EVERY:
            self.keep()

    def _follow(self, event: Prefill | Thinking | Thought | Answer | Finished) -> None:
        current = self._current
        if current is None or self.reply is None:
            return
        self.reply.show(event)
        if isinstance(event, Prefill):
            current.prompt_tokens = event.total
            self._take_its_place(current)
        elif isinstance(event, Thinking):
            current.thinking.append(event.text)
            current.thinking_tokens = event.tokens
        elif isinstance(event, Answer):
            current.answer.append(event.text)
            current.answer_tokens = event.tokens
        elif isinstance(event, Finished):
            self._finished(current, event)

    def _finished(self, current: Current, event: Finished) -> None:
        reply = self.reply
        assert reply is not None
        self.keep()
        self._take_its_place(current)
        self._settled = current.used
        self._told_nearly_full = event.reason == "context"
        thinking_s = reply.thinking_s
        self._owe(lambda: self._finish_turn(current, event, thinking_s))
        self.turns.append(current.stored(event, thinking_s))
        self.unseen = self.turns[-1] if self.turns[-1].thinking and not reply.shows_thinking else None
        self._end_turn()
        if event.reason != "stop" or not event.usage.answer_tokens:
            self.warn(notices.why_it_ended(event, self.settings, self.ready))
        self._next()

    def _end_turn(self) -> None:
        self.view.close_reply()
        self.reply = self._current = None

    def _next(self) -> None:
        while self.queue and not self.busy:
            self.submit(self.queue.pop(0))
        if not self.busy:
            self.worker.warm(self.exchanges(), self.settings)

    def _failed(self, event: Failed) -> None:
        self.loading = None
        current = self._current
        if current is not None and event.asking and current.prompt_tokens:
            self._broke_off(current)
        elif current is not None and event.asking:
            self._refused(current)
        self.report(event.error)
        if not event.asking and self.ready is None and self._before is not None:
            self.load(self._before)

    def _broke_off(self, current: Current) -> None:
        """In the middle of a reply: what was said of it stands, as after a kill."""
        self.keep()
        if self.reply is not None:
            self.reply.end()
            self.turns.append(current.stored(None, self.reply.thinking_s))
        self._end_turn()

    def _refused(self, current: Current) -> None:
        """The question was not even begun: it is one key away, and everything else is as it was before it."""
        self._end_turn()
        if current.id:
            self._owe(lambda: self.history.discard(current.id))
            self.session = self.session if self.turns else None
        self.put_away(current.asked.question)
        self.files = list(current.asked.files)
        if self.queue:
            waiting, self.queue = "\n".join(self.queue), []
            self.view.set_draft(waiting)

    def _take_its_place(self, current: Current) -> None:
        if current.replaces is not None:
            self._withdraw(current.replaces)
            current.replaces = None

    # --- what the program says ---

    def say(self, text: str) -> None:
        """A quiet line."""
        self.view.print(self.view.style.note(text) + "\n")

    def warn(self, text: str) -> None:
        """A line that should be seen."""
        self.view.print(self.view.style.note(text, "1") + "\n")

    def fail(self, text: str) -> None:
        """A line that says what went wrong."""
        self.view.print(self.view.style.note(text, "31") + "\n")

    def report(self, error: Exception) -> None:
        """The same for an error, foreseen or not."""
        self.fail(notices.explained(error, self.ready))

    def _warn_when_nearly_full(self) -> None:
        full = self.nearly_full
        if full and not self._told_nearly_full and self.ready is not None:
            self.warn(notices.nearly_full(self.used, self.ready))
        self._told_nearly_full = full

    # --- the history ---

    def _withdraw(self, turn: StoredTurn) -> None:
        self.replaces = self.unseen = None
        self.turns.remove(turn)
        if turn.id:
            self._owe(lambda: self.history.withdraw(turn.id))

    def _rewarm(self) -> None:
        if not self.busy:
            self.lengths = ()
            self.worker.rewarm(self.exchanges(), self.settings)

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """The chat goes on when its history cannot be written; that is said once, until it can be again.

        What another program has locked for the moment is written the next time.
        """
        try:
            yield
            self._told_not_kept = False
        except Busy:
            pass
        except R1Error as exc:
            self._tell_not_kept(exc)

    def _owe(self, write: Callable[[], None]) -> None:
        """Something that has to be written, now or when the history is no longer locked."""
        self._owed.append(write)
        self._pay()

    def _pay(self) -> None:
        while self._owed:
            try:
                self._owed[0]()
            except Busy:
                return
            except R1Error as exc:
                self._tell_not_kept(exc)
            self._owed.pop(0)

    def _tell_not_kept(self, exc: R1Error) -> None:
        if not self._told_not_kept:
            self._told_not_kept = True
            self.fail(f"this chat is not being kept: {exc}")


def _prompt(asked: Asked) -> str:
    return with_attachments(asked.question, list(asked.files))

"""A running chat: its turns, the reply being generated, and the messages queued behind it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from r1.chat.model import ChatModel
from r1.chat.next_message import NextMessage
from r1.chat.notices import Notices, explain, what_is_wrong
from r1.chat.recorder import Recorder, RunningTurn
from r1.chat.thinking import ThinkingDisplay
from r1.chat.turns import ChatTurns, prompt_of
from r1.chat.view import Opening, View
from r1.chat.vote_job import Tallied, VoteOver
from r1.chat.votes import follow_vote
from r1.chat.worker import Failed, Loaded, Loading, Noted, Ready, Warmed, Worker, WorkerEvent
from r1.engine.events import Event, Finished, Prefill
from r1.engine.prompt import Turn
from r1.engine.sampling import MAX_SEED
from r1.history.history import History, Question, StoredTurn
from r1.render.reply import ReplyView
from r1.settings import SYSTEM_PROMPT_WARNING, Settings
from r1_quantize.errors import NotEnoughSpace, R1Error, UsageError

_THINKING = "thinking"  # the preference in the history: show or hide


class CommandSet(Protocol):
    """The slash commands, as far as a chat needs them."""

    def is_command(self, text: str) -> bool:
        """True for text that is meant for the program, and not for the model."""

    def must_wait(self, text: str) -> bool:
        """True for text that has to wait for the end of the reply being generated."""

    def run(self, chat: Chat, text: str) -> None:
        """Runs a command; shows its errors in the chat."""


class Chat:
    """One chat. All methods run on one thread; the worker generates on another and sends events to `handle`."""

    def __init__(
        self, view: View, history: History, settings: Settings, opening: Opening, worker: Worker, commands: CommandSet
    ) -> None:
        self.view = view
        self.history = history
        self.settings = settings
        self.notices = Notices(view)
        self.model = ChatModel(worker, opening, self.notices)
        self.recorder = Recorder(history, self.notices.fail)
        self.turns = ChatTurns()
        self.next = NextMessage()
        self.queue: list[str] = []  # sent while a reply was being generated
        self.reply: ReplyView | None = None
        remembered = history.preference(_THINKING) == "show"
        shows_thinking = remembered if opening.shows_thinking is None else opening.shows_thinking
        self.thinking = ThinkingDisplay(view, self.notices, is_shown=shows_thinking)
        self._has_warned_of_system = settings.system is not None
        self._previous_ctx = settings.ctx  # goes into effect again if the present one cannot be used
        self._first_session = opening.session
        self._kv_folder = opening.kv_folder
        self._worker = worker
        self._commands = commands

    @property
    def busy(self) -> bool:
        """True while a reply is being generated."""
        return self.recorder.turn is not None

    @property
    def session(self) -> int | None:
        """The chat's number in the history; None until its first question."""
        return self.recorder.session

    # --- what the user does ---

    def start(self) -> None:
        """Opens the session that was named, if any, and loads the model."""
        try:
            if self._first_session is not None:
                self.open_session(self._first_session)
        except R1Error as exc:  # the model is loaded all the same; /load tries again
            self.notices.fail(str(exc))
        self.load(self.model.reference)

    def submit(self, text: str) -> None:
        """Takes a message or a command. While a reply is being generated, messages and some commands are queued."""
        if not text.strip():
            return
        if self.busy and self._commands.must_wait(text):
            self.queue.append(text)
            self.view.changed()
        elif self._commands.is_command(text):
            self.view.show_question(text, ())
            self._commands.run(self, text)
            self.recorder.save_draft(text)
        else:
            self.view.show_question(text, [file.name for file in self.next.files])
            self.ask(text)

    def ask(self, text: str) -> None:
        """Asks the model, with the attached files; the turn being edited is replaced."""
        prompt_turns = self._prompt_turns()
        asked = _question(text, self.next, self.model, self.settings)
        form, replaced = self.next.form, self.next.replaces
        self.reply = self.view.open_reply(
            shows_thinking=self.thinking.is_shown,
            budget=self.settings.thinking_params().budget,
            is_literal=form is not None,
        )
        turn = RunningTurn(self.turns.next_number(replaced), asked, self.reply.text, replaced, form)
        self.next.clear()
        self.recorder.begin(turn)
        self.model.begin_turn(turn.text)
        self._worker.ask(prompt_of(asked), prompt_turns, replace(self.settings, seed=asked.seed), form)
        self.view.changed()

    def retry(self, turn: StoredTurn) -> None:
        """Asks a question again; the new answer replaces the old one."""
        self.next.begin_edit(turn)
        self.ask(turn.asked.question)

    def begin_edit(self, turn: StoredTurn) -> None:
        """Puts a question into the draft; the next message replaces its turn, unless the draft is emptied first."""
        self.next.begin_edit(turn)
        self.view.set_draft(turn.asked.question)

    def interrupt(self) -> None:
        """Stops the reply and keeps its text. Queued messages go back into the draft."""
        self._worker.stop()
        self._unqueue()

    def answer_now(self) -> bool:
        """Ends the thinking, now or as soon as it begins; False when there is none to end."""
        if self.reply is None or not (self.reply.is_thinking or self.reply.thinking_s is None):
            return False
        self._worker.answer_now()
        return True

    def show_thinking(self, shows: bool) -> None:
        """Shows or hides the thinking, also of the running reply, and saves that as the preference."""
        self.thinking.show(shows, self.reply)
        self.recorder.save_preference(_THINKING, "show" if shows else "hide")
        self.view.changed()

    def load(self, reference: str) -> None:
        """Loads a model in place of the present one; the conversation continues with it."""
        self.model.load(reference, self._prompt_turns(), self.settings, self.recorder.owner)
        self.view.changed()

    def change_settings(self, settings: Settings) -> None:
        """Applies from the next turn on. The first system prompt gets a warning."""
        if settings.system is not None and not self._has_warned_of_system:
            self._has_warned_of_system = True
            self.notices.warn(SYSTEM_PROMPT_WARNING)
        if settings.ctx != self.settings.ctx:
            self._previous_ctx = self.settings.ctx
        self.settings = settings
        self._rewarm()

    def open_session(self, session: int | None) -> None:
        """Continues a session of the history, or starts a new one. Raises R1Error when it cannot be read."""
        self.turns[:] = self.recorder.open_session(session)
        self.next.clear()
        self.thinking.forget()
        self.model.forget_tokens()
        self._rewarm()

    def undo(self) -> None:
        """Removes the last turn from the conversation; the history keeps it."""
        self._withdraw(self.turns[-1])
        self._rewarm()

    def trim(self, turns: Sequence[StoredTurn]) -> None:
        """Hides these turns from the model."""
        ids = {turn.id for turn in turns}
        self.recorder.trim(sorted(ids))
        self.turns.trim(ids)
        self.model.warn_again()
        self._rewarm()

    def close(self) -> str:
        """Saves the rest, and ends the worker; returns what kept it from keeping the KV cache on disk."""
        self.recorder.save()
        trouble = self._worker.close(self._prompt_turns(), self.recorder.owner)
        self.recorder.remove_deleted(self._kv_folder)
        self.recorder.close()
        return trouble

    # --- what the worker reports ---

    def handle(self, event: WorkerEvent) -> None:
        """Handles one event from the worker."""
        self.recorder.write_pending()
        if isinstance(event, Failed):
            self._failed(event)
        elif isinstance(event, Loaded):
            self.recorder.loaded(event.load_s)
        elif isinstance(event, Tallied | VoteOver):
            follow_vote(event, self.recorder.turn, self.reply)
        elif isinstance(event, Loading | Noted | Ready | Warmed):
            self.model.handle(event)
        else:
            self._follow(event)
        self.view.changed()

    def _follow(self, event: Event) -> None:
        turn, reply = self.recorder.turn, self.reply
        if turn is None or reply is None:
            return
        reply.show(event)
        if isinstance(event, Prefill | Finished) and turn.replaces is not None:
            self._withdraw(turn.replaces)
            turn.replaces = None
        if isinstance(event, Finished):
            self._finish(turn, reply, event)

    def _finish(self, turn: RunningTurn, reply: ReplyView, event: Finished) -> None:
        stored = self.recorder.finish(event, reply.thinking_s)
        self.turns.append(stored)
        self.thinking.turn_ended(stored, was_shown=reply.shows_thinking)
        wrong = what_is_wrong(event, stored.answer, turn.form, self.settings, self.model.ready)
        self._close_reply(self.notices.ending(turn.remarks, turn.problem, wrong), event)
        self._next()

    def _next(self) -> None:
        while self.queue and not self.busy:
            self.submit(self.queue.pop(0))
        if not self.busy:
            self._worker.warm(self._prompt_turns(), self.settings, self.recorder.owner)

    def _failed(self, event: Failed) -> None:
        self.model.loading_failed()
        if self.recorder.turn is not None and event.asking:
            self._end_failed_turn(self.recorder.turn, event.error)
        else:
            self.report(event.error)
        if isinstance(event.error, NotEnoughSpace | UsageError):
            self._restore_ctx()
        if not event.asking:
            self.model.load_previous(self._prompt_turns(), self.settings, self.recorder.owner)

    def _end_failed_turn(self, turn: RunningTurn, error: Exception) -> None:
        """A reply that failed in the middle keeps its text. If it never began, Up restores the question."""
        if turn.text.prompt_tokens and self.reply is not None:
            self.reply.end()
            self.turns.append(self.recorder.break_off(self.reply.thinking_s))
        else:
            self.recorder.discard(with_session=not self.turns)
            self.recorder.save_draft(turn.asked.question)
            self.next.files = list(turn.asked.files)
        self._close_reply(self.notices.failure(explain(error, self.model.ready)))
        self._unqueue()

    def _restore_ctx(self) -> None:
        """Goes back to the context length that was set before, if the present one turned out not to be usable."""
        ready, ctx = self.model.ready, self._previous_ctx
        if ready is not None and self.settings.ctx not in {None, ctx, ready.ctx}:
            self._previous_ctx = None
            self.change_settings(replace(self.settings, ctx=ctx))
            self.notices.say(f"ctx is {'auto' if ctx is None else f'{ctx:,}'} again")

    def _close_reply(self, ending: str, finished: Finished | None = None) -> None:
        self.model.end_turn(finished)
        self.view.close_reply(ending)
        self.reply = None

    def report(self, error: Exception) -> None:
        """Shows an error and what to do about it."""
        self.notices.fail(explain(error, self.model.ready))

    def _prompt_turns(self) -> list[Turn]:
        return self.turns.for_prompt(without=self.next.replaces)

    def _withdraw(self, turn: StoredTurn) -> None:
        self.next.end_edit()
        self.thinking.forget()
        self.turns.remove(turn)
        self.recorder.withdraw(turn)

    def _unqueue(self) -> None:
        if self.queue:
            queued, self.queue = "\n".join(self.queue), []
            self.view.set_draft(queued)

    def _rewarm(self) -> None:
        if not self.busy:
            self.model.rewarm(self._prompt_turns(), self.settings, self.recorder.owner)


def _question(text: str, message: NextMessage, model: ChatModel, settings: Settings) -> Question:
    """A question as the history keeps it; without a seed in the settings it gets a random one."""
    return Question(
        question=text,
        files=tuple(message.files),
        model=model.reference,
        system=settings.system,
        seed=secrets.randbelow(MAX_SEED + 1) if settings.seed is None else settings.seed,
        temp=settings.temp,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        ctx=model.ready.ctx if model.ready else settings.ctx or 0,
        form=message.form.description if message.form else None,
    )

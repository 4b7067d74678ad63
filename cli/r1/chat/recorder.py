"""Writes a chat to the history while it goes on, and retries what a locked database refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from r1.engine.events import Finished
from r1.history.history import History, Question, StoredTurn
from r1.kv_store.kv_folder import KvFolder, owner_of_chat
from r1.render.reply_text import ReplyText
from r1_quantize.errors import Busy, ChatNotFound, R1Error

if TYPE_CHECKING:
    from r1.forms.form import Form

_SAVE_INTERVAL_S = 0.4
"""Between two writes of a running reply. This plus the time between two frames is the most that a kill loses."""

_CLOSE_RETRIES = 20  # at the end of a chat; each try waits for the lock as long as the history's timeout


@dataclass(slots=True)
class RunningTurn:
    """The turn being answered. `id` is 0 until the history has it; `replaces` is the turn whose place it takes.

    `form` is what the answer must keep to; None: nothing. `remarks` say what its vote came to, if there was one, and
    `problem` why nothing won.
    """

    number: int
    asked: Question
    text: ReplyText
    replaces: StoredTurn | None = None
    form: Form | None = None
    id: int = 0
    started: float = field(default_factory=time.time)
    load_s: float = 0.0
    remarks: tuple[str, ...] = ()
    problem: str | None = None

    def stored(self, finished: Finished | None, thinking_s: float | None) -> StoredTurn:
        """The turn once it is over. `finished` is None when it broke off."""
        return StoredTurn(
            id=self.id,
            number=self.number,
            asked=self.asked,
            thinking="".join(self.text.thinking),
            answer="".join(self.text.answer),
            finish_reason=finished.reason if finished else None,
            thinking_s=thinking_s,
            usage=finished.usage if finished else None,
            timings=finished.timings if finished else None,
            load_s=self.load_s,
            started=self.started,
            trimmed=False,
            thinking_end=finished.thinking_end if finished else None,
            drafted=finished.drafted if finished else None,
        )


@dataclass(slots=True)
class _Saved:
    """How much of a running reply is in the history: pieces of its texts."""

    thinking: int = 0
    answer: int = 0
    times_back: int = 0  # how often the thinking had gone back when it was saved last


class Recorder:
    """Saves one chat. The chat goes on when its history cannot be written; `fail` shows that to the user, once.

    A database locked by another program does not count as a failure: what ends, removes or trims a turn is written
    later, in the same order. The running reply is complete in memory, so its next piece holds what a lock refused.
    """

    def __init__(self, history: History, fail: Callable[[str], None]) -> None:
        self.session: int | None = None
        self.turn: RunningTurn | None = None
        self._history = history
        self._fail = fail
        self._failure_is_shown = False
        self._pending_writes: list[Callable[[], None]] = []  # refused because the database was locked
        self._saved = _Saved()
        self._saved_at = 0.0
        self._deleted: list[str] = []  # owners
        self._sees_deleted = False  # the model still sees turns of the last of them

    @property
    def owner(self) -> str:
        """Of what is kept of this chat's KV cache. Empty before its first question, where nothing is saved, and where
        the model still sees turns of a chat that was deleted: nothing of these may stay on the disk.
        """
        return "" if self.session is None or self._sees_deleted else owner_of_chat(self.session)

    def deleted_owners(self) -> list[str]:
        """The owners of chats that another process has deleted while they were open here."""
        if self.session is not None and self._is_deleted(self.session):
            return [*self._deleted, owner_of_chat(self.session)]
        return self._deleted

    def remove_deleted(self, folder: KvFolder | None) -> None:
        """Removes what is kept of the KV caches of these chats, if any are kept."""
        if folder is not None:
            for owner in self.deleted_owners():
                folder.remove_of(owner)

    def _is_deleted(self, session: int) -> bool:
        try:
            self._history.info(session)
        except ChatNotFound:
            return True
        except R1Error:  # it cannot be told
            pass
        return False

    # --- the running turn ---

    def begin(self, turn: RunningTurn) -> None:
        """Saves the question before the first token of its answer."""
        self.turn = turn
        self._saved = _Saved()
        self._saved_at = time.monotonic()
        with self._tolerant():
            self._insert(turn)

    def loaded(self, load_s: float) -> None:
        """Notes the seconds that it took to get ready for the turn."""
        if self.turn is not None:
            self.turn.load_s = load_s

    def tick(self) -> None:
        """Saves the reply from time to time; call it several times a second."""
        if time.monotonic() - self._saved_at >= _SAVE_INTERVAL_S:
            self.save()

    def save(self) -> None:
        """Saves what has been generated since the last time."""
        turn = self.turn
        if turn is None:
            return
        self._saved_at = time.monotonic()
        with self._tolerant():
            self._write_text(turn, self._saved)

    def finish(self, event: Finished, thinking_s: float | None) -> StoredTurn:
        """Ends the running turn."""
        turn = self._take_turn()
        self._write_or_retry(lambda: self._finish(turn, event, thinking_s))
        return turn.stored(event, thinking_s)

    def break_off(self, thinking_s: float | None) -> StoredTurn:
        """Ends a running turn that failed in the middle: its text stays, as after a kill."""
        turn, saved = self._take_turn(), self._saved
        self._write_or_retry(lambda: self._write_text(turn, saved))
        return turn.stored(None, thinking_s)

    def discard(self, *, with_session: bool) -> RunningTurn:
        """Removes a running turn whose answer never began, and the session if it has no other turn."""
        turn, self.turn = self.turn, None
        assert turn is not None
        if turn.id:
            self._write_or_retry(lambda: self._history.discard(turn.id))
            self.session = None if with_session else self.session
        return turn

    def _take_turn(self) -> RunningTurn:
        self.save()
        turn, self.turn = self.turn, None
        assert turn is not None
        return turn

    def _insert(self, turn: RunningTurn) -> None:
        """Adds the turn to the session, or to a new one if another process has deleted it."""
        try:
            self.session, turn.id = self._history.begin(self.session, turn.asked)
        except ChatNotFound:
            self._deleted.append(owner_of_chat(self.session or 0))
            self._sees_deleted = True
            self.session, turn.id = self._history.begin(None, turn.asked)

    def _write_text(self, turn: RunningTurn, saved: _Saved) -> None:
        """Writes what of the reply is not in the history yet. A kill in between leaves what was there before."""
        if not turn.id:
            self._insert(turn)
        text = turn.text
        if text.times_back > saved.times_back:
            self._history.replace_thinking(turn.id, "".join(text.thinking))
            saved.times_back, saved.thinking = text.times_back, len(text.thinking)
        thinking, answer = text.thinking[saved.thinking :], text.answer[saved.answer :]
        if thinking or answer:
            self._history.add(turn.id, "".join(thinking), "".join(answer))
            saved.thinking += len(thinking)
            saved.answer += len(answer)

    def _finish(self, turn: RunningTurn, event: Finished, thinking_s: float | None) -> None:
        if not turn.id:
            self._insert(turn)
        text = "".join(turn.text.thinking), "".join(turn.text.answer)
        self._history.finish(turn.id, event, thinking_s, turn.load_s, text)

    # --- the rest of the chat ---

    def open_session(self, session: int | None) -> list[StoredTurn]:
        """Continues a session of the history (None: a new one); returns its turns.

        Raises R1Error when it cannot be read; the present session then stays.
        """
        self.write_pending()
        turns = [] if session is None else self._history.turns(session)
        self.session, self._sees_deleted = session, False
        return turns

    def withdraw(self, turn: StoredTurn) -> None:
        """Takes a turn out of the conversation; the history keeps it."""
        if turn.id:
            self._write_or_retry(lambda: self._history.withdraw(turn.id))

    def trim(self, turns: Sequence[int]) -> None:
        """Notes that the model no longer sees these turns (ids)."""
        session = self.session
        if session is not None:
            self._write_or_retry(lambda: self._history.trim(session, turns))

    def save_draft(self, text: str) -> None:
        """Saves text that was typed but is not a question; Up restores it, in later chats too."""
        with self._tolerant():
            self._history.add_draft(text)

    def save_preference(self, name: str, value: str) -> None:
        with self._tolerant():
            self._history.set_preference(name, value)

    def write_pending(self) -> None:
        """Repeats the writes that a locked database refused; stops if it is still locked."""
        while self._pending_writes:
            try:
                self._pending_writes[0]()
            except Busy:
                return
            except R1Error as exc:
                self._show_failure(exc)
            self._pending_writes.pop(0)

    def close(self) -> None:
        """Saves the rest, and waits a while for a database that is locked."""
        self.save()
        for _ in range(_CLOSE_RETRIES):
            self.write_pending()
        self._history.close()

    def _write_or_retry(self, write: Callable[[], None]) -> None:
        """A write that must not be lost: done now, or when the database is no longer locked."""
        self._pending_writes.append(write)
        self.write_pending()

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
            self._failure_is_shown = False
        except Busy:
            pass
        except R1Error as exc:
            self._show_failure(exc)

    def _show_failure(self, exc: R1Error) -> None:
        if not self._failure_is_shown:
            self._failure_is_shown = True
            self._fail(f"this chat is not being saved: {exc}")

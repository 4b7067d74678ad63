"""What the engine's thread is asked for: replies, and leases of a model; and the line in which they wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from r1.engine.events import Event, Finished, Timings, Usage
from r1.engine.request import Request
from r1.loaded_model import LoadedModel


@dataclass(frozen=True, slots=True)
class Begun:
    """A job's turn has come: its model is loaded, and its prompt, of so many tokens, is next. It took `load_s` seconds
    to get ready.
    """

    load_s: float
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """A job cannot be done, or not to its end."""

    error: Exception


JobEvent = Begun | Event | Failed


@dataclass(slots=True, eq=False)
class Lease:
    """A wish to use a model outside of jobs. `granted` is the model, once its turn has come; it is cancelled when the
    wish is given up before.
    """

    model: str
    granted: Future[LoadedModel] = field(default_factory=Future, init=False)
    is_cancelled: bool = field(default=False, init=False)
    is_held: bool = field(default=False, init=False)

    def cancel(self) -> None:
        """From any thread; does nothing once it was granted."""
        self.is_cancelled = True

    def fail(self, error: Exception) -> None:
        self.granted.set_exception(error)

    def drop(self) -> None:
        self.granted.cancel()


@dataclass(slots=True, eq=False)
class Party:
    """Jobs of one client that belong together: the replies to one request."""

    has_begun: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """One reply by a model of a full name.

    `request` makes the request, with the model; `sink` gets the events of each step, the last of which is Finished or
    Failed. Both are called on the engine's thread. `lease` is one that the client holds until the job is done.
    """

    model: str
    request: Callable[[LoadedModel], Request]
    sink: Callable[[Sequence[JobEvent]], None]
    lease: Lease | None = None
    party: Party = field(default_factory=Party)
    is_cancelled: bool = field(default=False, init=False)
    made: Request | None = field(default=None, init=False)

    def cancel(self) -> None:
        """From any thread: ends it at the engine's next step."""
        self.is_cancelled = True
        if self.made is not None:
            self.made.cancel()

    def fail(self, error: Exception) -> None:
        self.sink([Failed(error)])

    def drop(self) -> None:
        """Ends a job that never began."""
        self.sink([Finished("interrupted", Usage(0, 0, 0), Timings(0.0, 0.0, 0.0, 0.0))])


class Line:
    """First come, first served. Only for the engine's thread.

    Jobs under a lease pass those who wait for another model: that model cannot be loaded before the lease is over, and
    the lease is not over before its jobs are done. A lease takes no sequence, so it does not wait for one: it passes
    jobs, unless somebody waits for another model.
    """

    def __init__(self) -> None:
        self._waiting: deque[Job | Lease] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first(self) -> Job | Lease | None:
        return self._waiting[0] if self._waiting else None

    def add(self, added: Job | Lease) -> None:
        others = (place for place, each in enumerate(self._waiting) if each.model != added.model)
        other = next(others, None)
        if isinstance(added, Lease) and other is None:
            self._waiting.appendleft(added)
        elif _is_leased(added) and other is not None:
            self._waiting.insert(other, added)
        else:
            self._waiting.append(added)

    def remove(self, removed: Job | Lease) -> bool:
        """Returns whether it was in the line."""
        if removed not in self._waiting:
            return False
        self._waiting.remove(removed)
        return True

    def drop_cancelled(self) -> None:
        self._drop(lambda each: each.is_cancelled)

    def end(self, error: Exception) -> None:
        """Fails all, except that the rest of what has begun is only dropped: the client keeps what there is."""
        self.fail_unbegun(error)
        self._drop(lambda _: True)

    def fail_unbegun(self, error: Exception) -> None:
        """All but those whose client has a part of the answer already."""
        self._fail(error, lambda each: not (_is_leased(each) or (isinstance(each, Job) and each.party.has_begun)))

    def fail_leased(self, error: Exception) -> None:
        """The jobs of those who hold leases."""
        self._fail(error, _is_leased)

    def _drop(self, which: Callable[[Job | Lease], bool]) -> None:
        for each in [each for each in self._waiting if which(each)]:
            self._waiting.remove(each)
            each.drop()

    def _fail(self, error: Exception, which: Callable[[Job | Lease], bool]) -> None:
        for each in [each for each in self._waiting if which(each)]:
            self._waiting.remove(each)
            each.fail(error)


def _is_leased(each: Job | Lease) -> bool:
    """Whether it is a job whose client holds a lease."""
    return isinstance(each, Job) and each.lease is not None

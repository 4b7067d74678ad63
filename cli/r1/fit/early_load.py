"""Loads a model's weights, and creates its context, while the rest of the program is imported.

A short answer of a small model waits for Python's imports as long as for the weights, and neither needs the other. So a
thread loads the weights as soon as the model is known, on the CPU and mapped, as most machines need them. The memory
plan is made later, from what was known before, and says whether they can be used. Where the command line leaves no
doubt about that plan, another thread creates the context as soon as the weights are loaded.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from r1.engine.devices import Placement
from r1.engine.llama import Stop, before_abort, llama, silence
from r1.engine.model import LoadCancelled, Model
from r1.machine.memory import Memory
from r1_quantize.errors import BadGGUF
from r1_quantize.gguf.reader import GGUFFile
from r1_quantize.gguf.vocabulary import check_vocabulary

if TYPE_CHECKING:  # the load begins before this is imported
    from r1.engine.context import Context, ContextParams

_POLL_S = 0.05
_SWITCH_S = 5e-5  # llama.cpp waits for Python's lock whenever it reports something


class EarlyLoad:
    """A load that has begun: the headers of the file's parts, and the memory that was free before."""

    def __init__(
        self, path: Path, headers: Sequence[GGUFFile], memory: Memory, on_damage: Callable[[BadGGUF], None]
    ) -> None:
        self.path = path
        self.headers = headers
        self.memory = memory
        self._on_damage = on_damage
        self._model: Model | None = None
        self._share = 0.0
        self._is_cancelled = False
        self._params: ContextParams | None = None
        self._context: Context | None = None
        self._creating: threading.Thread | None = None
        self._thread = threading.Thread(target=self._load, name="r1-early-load", daemon=True)
        self._thread.start()
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)

    def _load(self) -> None:
        before_abort.append(self._explain_abort)
        with suppress(Exception), silence():  # the same load is tried again, and its error reported
            self._model = Model(self.path, on_progress=self._progress)
        before_abort.remove(self._explain_abort)

    def add_context(self, params: ContextParams) -> None:
        """Creates a context, too, once the weights are loaded. Raises RuntimeError if no thread can start."""
        self._params = params
        creating = threading.Thread(target=self._create_context, args=[params], name="r1-early-context", daemon=True)
        creating.start()
        self._creating = creating

    def _create_context(self, params: ContextParams) -> None:
        from r1.engine.context import Context

        self._thread.join()
        if self._model is not None and not self._is_cancelled:
            with suppress(Exception):  # it is tried again, and the error reported
                self._context = Context(self._model, params)

    def _explain_abort(self) -> None:
        """Looks for what makes llama.cpp end the process, which takes too long to look for it before every load."""
        try:
            check_vocabulary(self.headers[0])
        except BadGGUF as exc:
            self._on_damage(exc)

    def _progress(self, share: float) -> bool:
        self._share = share
        return not self._is_cancelled

    def wait(self, on_progress: Callable[[float], bool]) -> Model | None:
        """The model; None if it could not be loaded. `on_progress` as for `Model`. Raises LoadCancelled."""
        while self._thread.is_alive():
            if not on_progress(self._share):
                self.cancel()
                raise LoadCancelled
            self._thread.join(_POLL_S)
        sys.setswitchinterval(self._switch_s)
        return self._model

    def cancel(self) -> None:
        """Ends the load, and frees what it has loaded."""
        self._is_cancelled = True
        self._thread.join()
        sys.setswitchinterval(self._switch_s)
        if context := self._created():
            context.close()
        if self._model is not None:
            self._model.close()

    def context(self, params: ContextParams, stop: Stop) -> Context | None:
        """The context, if there is one that is as `params` say; from now on `stop` ends what it computes."""
        context = self._created()
        if context is None or self._params == params:
            return context and _obeying(context, stop)
        context.close()
        return None

    def _created(self) -> Context | None:
        if self._creating is not None:
            self._creating.join()
        return self._context


def _obeying(context: Context, stop: Stop) -> Context:
    module = llama()
    module.llama_set_abort_callback(context.handle, module.ggml_abort_callback(stop.callback), stop.data)
    context.stop = stop
    return context


_begun: list[EarlyLoad] = []  # at most one
_taken: list[tuple[Model, EarlyLoad]] = []  # whose context may still be taken; at most one


def begin(path: Path, headers: Sequence[GGUFFile], memory: Memory, on_damage: Callable[[BadGGUF], None]) -> EarlyLoad:
    """Begins to load the file at `path`, which is the first model of this process.

    `on_damage` is called in another thread, and has to end the process. Raises RuntimeError if no thread can start.
    """
    load = EarlyLoad(path, headers, memory, on_damage)
    _begun[:] = [load]
    return load


def begun(path: Path) -> EarlyLoad | None:
    """The load of this file that has begun and was not taken yet."""
    return next((load for load in _begun if load.path == path), None)


def claim(path: Path) -> EarlyLoad | None:
    """The same for the model that is wanted: the load of any other file is cancelled."""
    load = begun(path)
    if load is None:
        for other in _begun:
            other.cancel()
        _begun.clear()
    return load


def take(
    path: Path, placement: Placement, *, mapped: bool, on_progress: Callable[[float], bool] = lambda _: True
) -> Model | None:
    """The model whose load has begun, once it is loaded; None if none has begun, it failed, or is wanted elsewhere.

    Raises LoadCancelled when `on_progress` returns False.
    """
    load = begun(path)
    if load is None:
        return None
    _begun.clear()
    if placement == Placement() and mapped:
        model = load.wait(on_progress)
        if model is not None:
            _taken[:] = [(model, load)]
        return model
    load.cancel()
    return None


def take_context(model: Model, params: ContextParams, stop: Stop) -> Context | None:
    """The context that was created together with a model from `take`, the first time; None if there is none like it."""
    loads = [load for taken, load in _taken if taken is model]
    _taken.clear()
    return loads[0].context(params, stop) if loads else None

"""The draft model beside a model: its weights where the memory plan has them, and a context like the other one's."""

from __future__ import annotations

from r1.engine.context import Context, ContextParams
from r1.engine.draft_model import DraftModel, other_vocabulary, shared_tokens
from r1.engine.llama import Stop
from r1.engine.model import Model
from r1.fit.plan import MemoryPlan
from r1.fit.planner import DraftFile, MemoryPlanner, named_in_errors, threads_of
from r1.fit.shape import Shape
from r1.fit.weights import Progress, load_weights

_GPU_SPEED = 10
"""How many times as fast as main memory that of a GPU of its own is; about 1,000 GB/s, against 50 to 100."""


class FittedDraft:
    """The weights, and at most one context at a time. Close it when done."""

    def __init__(self, file: DraftFile, planner: MemoryPlanner, stop: Stop) -> None:
        """`stop` ends loading and drafting."""
        self._file = file
        self._planner = planner
        self._stop = stop
        self._model: Model | None = None
        self._shared_tokens = 0
        self._context: Context | None = None

    def load(self, plan: MemoryPlan, target: Model, progress: Progress = lambda _: None) -> None:
        """Loads the weights, to draft for `target`.

        Raises UsageError unless both have the same vocabulary, BadGGUF, NotEnoughSpace, LoadCancelled.
        """
        placement = self._planner.draft_placement(plan)
        with named_in_errors(self._file):
            self._model = load_weights(self._file.path, placement, self._planner, self._stop, progress)
        shared = shared_tokens(target, self._model)
        if shared is None:
            raise other_vocabulary(self._planner.name, f"{self._file.named_in}{self._file.name}")
        self._shared_tokens = shared

    def context_like(self, context: Context, plan: MemoryPlan) -> DraftModel:
        """With as many sequences and cells as `context`, which is that of the other model, made as `plan` says.

        The weights are loaded again if they are to be somewhere else. Raises NotEnoughSpace, LoadCancelled.
        """
        if self._model is None or self._model.placement != self._planner.draft_placement(plan):
            self.close()
            self.load(plan, context.model)
        assert self._model is not None
        params = ContextParams(
            length=min(context.length, self._model.context_length),
            threads=threads_of(self._planner.settings, self._file.path),
            kv_type=context.kv_type,
            sequences=len(context.sequences),
            cells=context.cells,
        )
        with named_in_errors(self._file):
            self._context = Context(self._model, params, self._stop)
        return DraftModel(self._context, self._cost(plan), self._shared_tokens)

    def close_context(self) -> None:
        if self._context is not None:
            self._context.close()
            self._context = None

    def close(self) -> None:
        self.close_context()
        if self._model is not None:
            self._model.close()
            self._model = None

    def _cost(self, plan: MemoryPlan) -> float:
        """How long one of its passes takes, in passes of the other model: both read their weights once."""
        shape, draft = self._planner.shape, self._planner.shape.draft
        assert draft is not None
        on_gpu = min(plan.gpu_layers / (len(shape.layers) + 1), 1.0)
        return self._reading(draft, float(plan.draft_on_gpu)) / self._reading(shape, on_gpu)

    def _reading(self, shape: Shape, on_gpu: float) -> float:
        """In the time that a byte of main memory takes, with such a share of the weights on a GPU."""
        speed = 1 if self._planner.machine.is_one_memory else _GPU_SPEED
        return shape.bytes_per_token * (1 - on_gpu + on_gpu / speed)

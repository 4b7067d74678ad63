"""`r1.fit.fitted_draft`: a draft model beside a model, with a context like that one's."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from r1.engine.context import Context, ContextParams
from r1.engine.devices import Placement
from r1.engine.draft_model import DraftModel
from r1.engine.llama import Stop
from r1.engine.model import LoadCancelled, Model
from r1.fit.fitted_draft import FittedDraft
from r1.fit.fitted_model import FittedModel, Listener, Workload
from r1.fit.plan import DeviceMemory, Machine
from r1.fit.planner import DraftFile, MemoryPlanner
from r1.settings import Settings
from r1_quantize.errors import BadGGUF, NotEnoughSpace, UsageError

BRIEF = Settings(temp=0, threads=1, max_tokens=20)
GB = 1_000_000_000


@pytest.fixture
def planner(large_path: Path, tiny_path: Path) -> MemoryPlanner:
    return MemoryPlanner.of(large_path, BRIEF, "large", DraftFile(tiny_path, "tiny"))


def fitted(
    planner: MemoryPlanner, path: Path, stop: Stop | None = None, listener: Listener | None = None
) -> FittedModel:
    return FittedModel(path, planner, Workload(is_parallel=True), stop or Stop(), listener or Listener())


class TestContext:
    """A context like that of the other model."""

    def test_has_as_many_sequences_and_cells(self, planner: MemoryPlanner, large_path: Path) -> None:
        parallel = planner.with_settings(replace(BRIEF, parallel=3, ctx=1024, kv_type="q8_0"))
        made = fitted(parallel, large_path)
        context = made.context_for(10)
        draft = made.draft_model
        assert draft is not None
        assert (len(draft.context.sequences), draft.context.cells) == (len(context.sequences), context.cells)
        assert (draft.context.length, draft.context.kv_type) == (context.length, "q8_0")
        assert made.context_for(10) is context
        assert made.draft_model is draft
        made.configure(replace(made.settings, ctx=512))
        assert made.context_for(10).length == 512
        assert made.draft_model is not draft
        made.close()
        assert made.draft_model is None

    def test_is_at_most_as_long_as_the_draft_model_was_trained_for(
        self, planner: MemoryPlanner, large_path: Path
    ) -> None:
        made = fitted(planner.with_settings(replace(BRIEF, ctx=4096)), large_path)
        assert made.context_for(10).length == 4096
        assert made.draft_model is not None
        assert made.draft_model.context.length == 2048
        made.close()

    def test_without_a_draft_model_there_is_none(self, large_path: Path) -> None:
        made = fitted(MemoryPlanner.of(large_path, BRIEF, "large"), large_path)
        made.context_for(10)
        assert made.draft_model is None
        made.close()

    def test_where_it_does_not_fit_the_other_context_is_freed_too(
        self, planner: MemoryPlanner, large_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise NotEnoughSpace("memory is full")

        closed: list[int] = []
        close = Context.close
        monkeypatch.setattr("r1.fit.fitted_draft.Context", refuse)
        monkeypatch.setattr(Context, "close", lambda context: [closed.append(context.length), close(context)])
        made = fitted(planner, large_path)
        with pytest.raises(NotEnoughSpace, match=r"^the draft model: memory is full; or leave --draft out$"):
            made.context_for(10)
        assert len(closed) == 1
        made.close()


class TestLoading:
    """The weights are loaded after those of the other model."""

    def test_the_progress_is_that_of_both(self, planner: MemoryPlanner, large_path: Path) -> None:
        shares: list[float] = []
        fitted(planner, large_path, listener=Listener(shares.append)).close()
        assert shares == sorted(shares)
        assert shares[-1] == 1
        weights = planner.shape.weights
        assert planner.shape.draft is not None
        assert any(share == pytest.approx(weights / (weights + planner.shape.draft.weights)) for share in shares)

    def test_can_be_cancelled(self, planner: MemoryPlanner, large_path: Path) -> None:
        stop, freed = Stop(), []

        def progress(share: float) -> None:
            if share > 0.8:
                stop.set()

        with pytest.MonkeyPatch.context() as patched:
            close = Model.close
            patched.setattr(Model, "close", lambda model: [freed.append(model.path), close(model)])
            with pytest.raises(LoadCancelled):
                fitted(planner, large_path, stop, Listener(progress))
        assert freed == [large_path]

    def test_another_vocabulary_is_refused(self, large_path: Path, endless_path: Path) -> None:
        planner = MemoryPlanner.of(large_path, BRIEF, "large", DraftFile(endless_path, "endless"))
        with pytest.raises(UsageError, match=r"^endless cannot draft for large: they have different vocabularies; "):
            fitted(planner, large_path)

    def test_a_damaged_file_is_named(self, large_path: Path, tiny_path: Path, tmp_path: Path) -> None:
        damaged = Path(shutil.copy(tiny_path, tmp_path / "damaged.gguf"))
        damaged.write_bytes(damaged.read_bytes()[:-1000])
        with pytest.raises(BadGGUF, match=r"damaged\.gguf: cut short"):
            MemoryPlanner.of(large_path, BRIEF, "large", DraftFile(damaged, "damaged"))

    def test_what_llama_cpp_refuses_is_said_to_be_the_draft_model(
        self, planner: MemoryPlanner, large_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def load(path: Path, *arguments: object, **options: object) -> Model:
            if path == tiny_path:
                raise BadGGUF("not a DeepSeek-R1 distill")
            return Model(path, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr("r1.fit.weights.Model", load)
        with pytest.raises(BadGGUF, match=r"^the draft model: not a DeepSeek-R1 distill$"):
            fitted(planner, large_path)

    def test_the_weights_are_loaded_again_where_the_plan_moves_them(
        self, planner: MemoryPlanner, large_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        placements: list[Placement] = []

        def load(path: Path, placement: Placement, **options: object) -> Model:
            placements.append(placement)
            model = Model(path, **options)  # type: ignore[arg-type]
            model.placement = placement
            return model

        machine = replace(planner.machine, gpus=(DeviceMemory("GPU", GB),))
        planner = replace(planner, machine=machine)
        plan = replace(planner.plan(), draft_on_gpu=True)
        draft = FittedDraft(DraftFile(tiny_path, "tiny"), planner, Stop())
        with Model(large_path) as model, Context(model, ContextParams(256)) as context:
            monkeypatch.setattr("r1.fit.weights.Model", load)
            draft.load(plan, model)
            draft.context_like(context, replace(plan, draft_on_gpu=False))
            draft.close_context()
            draft.context_like(context, replace(plan, draft_on_gpu=False))
            draft.close()
        assert [placement.devices for placement in placements] == [("GPU",), ()]


class TestCost:
    """How long a pass takes, in passes of the other model."""

    def cost(self, planner: MemoryPlanner, large_path: Path, layers: int, on_gpu: bool) -> float:
        plan = replace(planner.plan(), gpu_layers=layers, draft_on_gpu=on_gpu)
        draft = FittedDraft(planner.draft or DraftFile(large_path, ""), planner, Stop())
        return draft._cost(plan)

    def test_is_that_of_the_bytes_that_are_read(self, planner: MemoryPlanner, large_path: Path) -> None:
        assert 0.25 < self.cost(planner, large_path, 0, on_gpu=False) < 0.3  # Q8_0 has 8.5 bits, F32 32

    def test_is_higher_in_main_memory_beside_a_gpu(self, planner: MemoryPlanner, large_path: Path) -> None:
        planner = replace(planner, machine=Machine(64 * GB, gpus=(DeviceMemory("CUDA0", GB),)))
        slow, half, fast = (
            self.cost(planner, large_path, layers, on_gpu)
            for layers, on_gpu in ((99, False), (len(planner.shape.layers) // 2, False), (99, True))
        )
        assert slow == pytest.approx(10 * fast)
        assert fast < half < slow

    def test_one_memory_is_equally_fast_for_both(self, planner: MemoryPlanner, large_path: Path) -> None:
        planner = replace(planner, machine=Machine(64 * GB, gpus=(DeviceMemory("MTL0", GB, shared=True),)))
        assert self.cost(planner, large_path, 99, on_gpu=True) == self.cost(planner, large_path, 0, on_gpu=False)


def test_what_it_makes_drafts(planner: MemoryPlanner, large_path: Path) -> None:
    made = fitted(planner, large_path)
    context = made.context_for(10)
    assert isinstance(made.draft_model, DraftModel)
    tokens = context.model.tokenize("What is 17 + 25?")
    drafter = made.draft_model.drafter(is_repeatable=False)
    assert drafter.look(tokens[:-1], tokens[-1], 4) is not None
    made.close()

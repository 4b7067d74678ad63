"""`r1.fit.fitted_model`: a model and a context after the memory plan, and a smaller plan when llama.cpp refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r1.engine.context import Context
from r1.engine.llama import Stop
from r1.engine.model import Model
from r1.fit.fitted_model import FittedModel, Listener, Workload
from r1.fit.needs import needs
from r1.fit.planner import MemoryPlanner
from r1.settings import Settings
from r1_quantize.errors import NotEnoughSpace

BRIEF = Settings(temp=0, threads=1, max_tokens=20)


def fitted(path: Path, settings: Settings = BRIEF, *, is_parallel: bool = False) -> FittedModel:
    planner = MemoryPlanner.of(path, settings, path.name)
    return FittedModel(path, planner, Workload(is_parallel=is_parallel), Stop(), Listener())


class TestRefusal:
    """llama.cpp cannot allocate what the plan expected to be free."""

    def test_a_model_that_failed_to_reload_is_loaded_by_the_next_prompt(
        self, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refusals: Iterator[NotEnoughSpace] = iter([NotEnoughSpace("the GPU is full"), NotEnoughSpace("memory, too")])

        def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
            def made(*arguments: Any, **options: Any) -> Any:
                for refusal in refusals:
                    raise refusal
                return real(*arguments, **options)

            return made

        made = fitted(tiny_path)
        made.plan = replace(made.plan, gpu_layers=1)  # as if a layer were on a GPU
        monkeypatch.setattr("r1.fit.fitted_model.Context", refusing(Context))
        monkeypatch.setattr("r1.fit.weights.Model", refusing(Model))
        with pytest.raises(NotEnoughSpace, match="memory, too"):
            made.context_for(10)
        assert made.context_for(10).length == 256
        assert made.model.placement.gpu_layers == 0
        made.close()


class TestSeveralPromptsAtOnce:
    """The context is made for as many as the settings say, and for longer prompts than the first."""

    def test_the_context_holds_as_many_sequences_as_asked_for(self, tiny_path: Path) -> None:
        made = fitted(tiny_path, replace(BRIEF, parallel=3), is_parallel=True)
        context = made.context_for(10)
        assert len(context.sequences) == made.plan.sequences == 3
        assert context.cells == made.plan.cells > context.length
        made.close()

    def test_a_longer_prompt_needs_no_other_context(self, endless_path: Path) -> None:
        made = fitted(endless_path, replace(BRIEF, parallel=2), is_parallel=True)
        context = made.context_for(10)
        assert made.suits(1500)
        assert made.context_for(1500) is context
        assert not made.suits(5000)
        assert made.context_for(5000) is not context
        made.close()

    def test_a_prompt_that_fits_is_not_refused_because_a_longer_one_would_not(self, endless_path: Path) -> None:
        settings = replace(BRIEF, parallel=2, max_tokens=1000, kv_type="q8_0")
        planner = MemoryPlanner.of(endless_path, settings, "endless")
        room = needs(planner.shape, 1536, "q8_0").main
        planner = replace(planner, machine=replace(planner.machine, free=room, margin=0))
        made = FittedModel(endless_path, planner, Workload(is_parallel=True), Stop(), Listener())
        assert made.context_for(1000).length == 1536
        with pytest.raises(NotEnoughSpace, match="the prompt has 1,600 tokens"):
            made.context_for(1600)
        made.close()

    def test_their_number_can_change_without_another_load_of_the_weights(self, tiny_path: Path) -> None:
        made = fitted(tiny_path, replace(BRIEF, ctx=256, parallel=3))
        weights = made.model
        assert len(made.context_for(10).sequences) == 1
        made.configure(made.settings, 8)
        several = made.context_for(10)
        assert (len(several.sequences), several.length) == (3, 256)  # as many as the settings say
        made.configure(made.settings, 2)
        assert made.context_for(10) is several  # one with more will do
        made.configure(made.settings, 1)
        assert made.context_for(10) is several
        made.configure(replace(made.settings, ctx=512))
        assert len(made.context_for(10).sequences) == 1
        assert made.model is weights
        made.close()

    def test_a_prompt_that_all_share_takes_room_once(self, endless_path: Path) -> None:
        settings = replace(BRIEF, parallel=3)
        planner = MemoryPlanner.of(endless_path, settings, "endless")
        cells = []
        for shares in (False, True):
            workload = Workload(is_parallel=True, most=3, shares_prompt=shares)
            made = FittedModel(endless_path, planner, workload, Stop(), Listener())
            context = made.context_for(1500)
            cells.append(context.cells - context.length)
            made.close()
        # a prompt of up to 2,048 tokens, and a reply of 20
        assert cells == [2 * (2048 + 20), 2 * 20]

    def test_a_single_prompt_has_a_context_of_its_own_size(self, tiny_path: Path) -> None:
        made = fitted(tiny_path, replace(BRIEF, parallel=3))
        context = made.context_for(10)
        assert (len(context.sequences), context.cells, context.length) == (1, 256, 256)
        made.close()

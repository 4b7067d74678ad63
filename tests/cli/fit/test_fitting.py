"""`r1.fit.fitting`: settings and a machine → a plan, or a refusal that says what would do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from r1.fit.fitting import Fitting
from r1.fit.plan import DeviceMemory, Machine
from r1.fit.shape import shape_of_checkpoint
from r1.machine.memory import Limit
from r1.settings import Settings
from r1_quantize import catalog
from r1_quantize.errors import NotEnoughSpace, UsageError

GB = 1_000_000_000
LAPTOP = Machine(free=6 * GB, margin=256_000_000)


def fitting(name: str = "qwen-7b", machine: Machine = LAPTOP) -> Fitting:
    """A checkpoint in Q4_K_M on that machine."""
    shape = shape_of_checkpoint(catalog.load()[name], "Q4_K_M")
    assert shape is not None
    return Fitting(f"{name}:Q4_K_M", shape, machine, maps=True)


def refused(found: Fitting, settings: Settings) -> str:
    """What is said."""
    with pytest.raises(NotEnoughSpace) as caught:
        found.plan(settings)
    return str(caught.value)


class TestPlan:
    """What is asked for is had, or refused with what would fit."""

    def test_says_what_is_needed_and_free_and_which_model_fits(self) -> None:
        said = refused(fitting("qwen-14b"), Settings())
        assert said.startswith("qwen-14b:Q4_K_M with 1,024 tokens of context (q8_0) needs 9.")
        assert "GB of memory, and 6 GB are free, of which 256 MB are left to the system" in said
        assert "qwen-7b:Q5_K_M would fit (r1 pull qwen-7b:Q5_K_M)" in said
        assert said.endswith("or close something, or try anyway with --force")

    def test_what_it_says_would_fit_does(self) -> None:
        found = fitting(machine=replace(LAPTOP, free=int(5.5 * GB)))
        said = refused(found, Settings(ctx=65_536))
        context, kv_type = said.rpartition("--ctx ")[2].split(" would fit, in a cache of --kv-type ")
        assert found.plan(Settings(ctx=int(context), kv_type=kv_type)).fits
        assert "would fit" in refused(found, Settings(ctx=int(context) + 256, kv_type=kv_type))

    def test_where_nothing_fits_it_says_so(self) -> None:
        said = refused(fitting(machine=Machine(GB // 10)), Settings())
        assert said.endswith("100 MB are free; close something, or try anyway with --force")

    @pytest.mark.parametrize(("limit", "remedy"), [("cgroup", "the container's limit"), ("ulimit", "ulimit -v")])
    def test_where_there_is_a_limit_that_is_what_to_raise(self, limit: Limit, remedy: str) -> None:
        assert f"raise {remedy}, or try anyway" in refused(replace(fitting("qwen-14b"), limit=limit), Settings())

    def test_threads_that_need_more_than_is_free_are_to_blame(self) -> None:
        said = refused(fitting(machine=Machine(free=GB // 10, margin=GB)), Settings())
        assert "100 MB are free, less than the 1 GB that threads and the system need beside it; " in said

    def test_layers_that_do_not_fit_a_card_are_named(self) -> None:
        found = fitting(machine=replace(LAPTOP, gpus=(DeviceMemory("CUDA0", 2 * GB),)))
        said = refused(found, Settings(gpu_layers=99))
        assert "on CUDA0 for 29 layers, and 2 GB are free; without --gpu-layers r1 takes as many as fit" in said

    def test_force_tries_anyway_and_says_that(self) -> None:
        found, settings = fitting("qwen-14b"), Settings(force=True)
        plan = found.plan(settings)
        assert not plan.fits
        (note,) = found.notes(plan, settings)
        assert note.grave
        assert note.text.endswith("it is tried all the same (--force)")
        assert plan.context == 4096
        assert found.plan(replace(settings, ctx=20_000)).context == 20_000

    def test_more_context_than_the_model_was_trained_for_is_a_wrong_use(self) -> None:
        with pytest.raises(UsageError, match="trained for at most 131072"):
            fitting().plan(Settings(ctx=131_073))

    def test_a_reply_that_needs_less_gets_less(self) -> None:
        assert fitting().plan(Settings(), 512).context == 512
        assert fitting().plan(Settings(), 1 << 30).context <= 131_072


class TestNotes:
    """What of a plan changes what a person gets."""

    def notes(self, free: float, **wish: object) -> list[tuple[str, bool]]:
        found, settings = fitting(machine=Machine(int(free * GB))), Settings(**wish)  # type: ignore[arg-type]
        return [(note.text, note.grave) for note in found.notes(found.plan(settings), settings)]

    def test_nothing_where_all_is_as_it_should_be(self) -> None:
        assert self.notes(16) == []

    def test_a_quantized_cache(self) -> None:
        ((text, grave),) = self.notes(6)
        assert text.startswith("32,768 tokens of context do not fit in an F16 cache, so Q8_0 it is: ")
        assert not grave

    def test_not_one_that_was_asked_for(self) -> None:
        assert self.notes(6, kv_type="q8_0") == []

    def test_a_short_context_to_everybody(self) -> None:
        ((text, grave),) = self.notes(4.9)
        assert "tokens of context fit, and thinking can be longer: " in text
        assert grave


class TestExplain:
    """One line."""

    def test_on_a_processor(self) -> None:
        found = fitting()
        said = found.explain(found.plan(Settings(ctx=4096)))
        assert said.startswith("4,096 tokens of context in an F16 cache: 5.")
        assert said.endswith(" GB of 6 GB free memory")

    def test_with_some_layers_on_a_card(self) -> None:
        found = fitting(machine=replace(LAPTOP, gpus=(DeviceMemory("CUDA0", 4 * GB),)))
        plan = found.plan(Settings())
        assert f"{plan.gpu_layers} of 29 layers on CUDA0: " in found.explain(plan)
        assert found.placement(plan).devices == ("CUDA0",)

    def test_with_all_of_them(self) -> None:
        found = fitting(machine=replace(LAPTOP, gpus=(DeviceMemory("CUDA0", 24 * GB),)))
        plan = found.plan(Settings())
        assert "cache, every layer on CUDA0: " in found.explain(plan)

    def test_a_gpu_that_was_asked_for_and_has_no_room_is_no_secret(self) -> None:
        found = fitting(machine=replace(LAPTOP, free=16 * GB, gpus=(DeviceMemory("CUDA0", GB // 10),)))
        plan = found.plan(Settings(device="gpu"))
        (note,) = found.notes(plan, Settings(device="gpu"))
        assert note.grave
        assert note.text.startswith("the GPU has no room for a layer of it, so the processor computes")
        assert list(found.notes(plan, Settings())) == []

    def test_after_a_refusal_there_are_half_as_many_and_in_the_end_none(self) -> None:
        found, settings = fitting(machine=replace(LAPTOP, gpus=(DeviceMemory("CUDA0", 24 * GB),))), Settings()
        plan, counts = found.plan(settings), []
        while plan.gpu_layers:
            plan = found.with_less_on_gpu(plan, settings)
            counts.append(plan.gpu_layers)
        assert counts == [14, 7, 3, 1, 0]
        assert found.placement(plan).devices == ()


def test_this_machine_runs_the_built_in_model(tiny_path: Path) -> None:
    found = Fitting.of(tiny_path, Settings(), "tiny:Q8_0")
    assert found.plan(Settings()).fits
    assert found.plan(Settings()).context == 2048

"""`r1.fit.planner`: settings and a machine → a plan, or a refusal that says what would fit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from r1.engine.devices import Placement
from r1.fit.needs import needs
from r1.fit.plan import DeviceMemory, Machine
from r1.fit.planner import DraftFile, MemoryPlanner
from r1.fit.recommendation import shape_of_checkpoint
from r1.fit.sequences import Wanted
from r1.fit.shape import shape_of_file
from r1.machine.memory import Limit
from r1.settings import Settings
from r1_quantize import catalog
from r1_quantize.errors import NotEnoughSpace, UsageError

GB = 1_000_000_000
LAPTOP = Machine(free=6 * GB, margin=256_000_000)


def planner(settings: Settings, name: str = "qwen-7b", machine: Machine = LAPTOP) -> MemoryPlanner:
    """A checkpoint in Q4_K_M on `machine`."""
    shape = shape_of_checkpoint(catalog.load()[name], "Q4_K_M")
    assert shape is not None
    return MemoryPlanner(f"{name}:Q4_K_M", shape, machine, settings)


def refusal(made: MemoryPlanner) -> str:
    """The message of the error."""
    with pytest.raises(NotEnoughSpace) as caught:
        made.plan()
    return str(caught.value)


def with_draft(made: MemoryPlanner, name: str = "qwen-1.5b") -> MemoryPlanner:
    """The same with a draft model."""
    draft = shape_of_checkpoint(catalog.load()[name], "Q4_K_M")
    shape = replace(made.shape, draft=draft)
    return replace(made, shape=shape, draft=DraftFile(Path("draft.gguf"), f"{name}:Q4_K_M"))


class TestDraftModel:
    """Its memory counts, and what is said of it."""

    def test_a_refusal_names_it_and_says_what_helps(self) -> None:
        tight = planner(Settings(), machine=replace(LAPTOP, free=int(5.6 * GB)))
        assert tight.plan().fits
        message = refusal(with_draft(tight))
        assert "tokens of context (q8_0) and the draft model qwen-1.5b:Q4_K_M needs 6." in message
        assert message.endswith("; without --draft it would fit")

    def test_where_the_model_alone_does_not_fit_that_is_not_said(self) -> None:
        message = refusal(with_draft(planner(Settings(), machine=Machine(GB // 10))))
        assert "and the draft model qwen-1.5b:Q4_K_M needs" in message
        assert "without --draft" not in message

    def test_a_prompt_that_is_too_long_may_fit_without_it(self) -> None:
        made = with_draft(planner(Settings(), machine=replace(LAPTOP, free=int(6.6 * GB))))
        with pytest.raises(
            NotEnoughSpace, match=r"and a draft model with .*; shorten the prompt, leave --draft out, or close"
        ):
            made.plan_for_prompt(60_000, loaded=0)

    def test_the_plan_in_one_line_mentions_it(self) -> None:
        made = with_draft(planner(Settings(ctx=4096), machine=Machine(12 * GB)))
        assert made.explain(made.plan()).startswith(
            "4,096 tokens of context in an F16 cache, and a draft model with the same: 6.5"
        )

    def test_beside_a_full_card_it_is_said_to_be_slow(self) -> None:
        machine = Machine(64 * GB, gpus=(DeviceMemory("CUDA0", 6 * GB),))
        made = with_draft(planner(Settings(kv_type="q8_0"), machine=machine))
        plan = made.plan()
        assert (plan.gpu_layers, plan.draft_on_gpu) == (29, False)
        (note,) = made.notes(plan)
        assert note.text.startswith("the draft model does not fit on the GPU, too, and drafts slowly: ")
        assert made.draft_placement(plan) == Placement()
        assert made.placement(plan).gpu_layers == 29
        assert made.draft_placement(replace(plan, draft_on_gpu=True)) == made.placement(plan)._replace(gpu_layers=29)

    @pytest.mark.parametrize(("name", "is_too_large"), [("qwen-1.5b", False), ("qwen-7b", True), ("qwen-14b", True)])
    def test_one_that_is_hardly_smaller_is_said_to_be_of_no_use(self, name: str, *, is_too_large: bool) -> None:
        made = with_draft(planner(Settings(ctx=4096), machine=Machine(64 * GB)), name)
        said = [note.text for note in made.notes(made.plan())]
        assert len(said) == is_too_large
        assert not said or said[0].startswith(f"the draft model {name}:Q4_K_M is too large for qwen-7b:Q4_K_M: its ")

    def test_its_shape_is_read_from_its_file(self, large_path: Path, tiny_path: Path) -> None:
        made = MemoryPlanner.of(large_path, Settings(), "large", DraftFile(tiny_path, "tiny"))
        assert made.shape.draft == shape_of_file(tiny_path)
        assert made.without_draft().shape == shape_of_file(large_path)
        assert made.without_draft().draft is None

    def test_with_force_it_is_tried_anyway(self) -> None:
        forced = with_draft(planner(Settings(force=True), machine=Machine(GB // 10)))
        plan = forced.plan()
        assert plan.needs == needs(forced.shape, plan.context, plan.kv_type)


class TestPlan:
    """The settings are met, or refused with what would fit."""

    def test_says_what_is_needed_and_free_and_which_model_fits(self) -> None:
        message = refusal(planner(Settings(), "qwen-14b"))
        assert message.startswith("qwen-14b:Q4_K_M with 1,024 tokens of context (q8_0) needs 9.")
        assert "GB of memory, and 6 GB are free, 256 MB of them reserved for other programs" in message
        assert "qwen-7b:Q4_K_M would fit (r1 pull qwen-7b:Q4_K_M)" in message
        assert message.endswith("or close other programs, or try anyway with --force")

    def test_what_it_says_would_fit_does(self) -> None:
        tight = planner(Settings(ctx=65_536), machine=replace(LAPTOP, free=int(5.5 * GB)))
        options = re.search(r"--ctx (\d+) --kv-type (\w+) would fit", refusal(tight))
        assert options is not None
        context, kv_type = int(options[1]), options[2]
        assert tight.with_settings(Settings(ctx=context, kv_type=kv_type)).plan().fits
        assert "would fit" in refusal(tight.with_settings(Settings(ctx=context + 256, kv_type=kv_type)))

    def test_where_nothing_fits_no_model_is_suggested(self) -> None:
        message = refusal(planner(Settings(), machine=Machine(GB // 10)))
        assert message.endswith("100 MB are free; close other programs, or try anyway with --force")

    @pytest.mark.parametrize(("limit", "remedy"), [("cgroup", "the container's memory limit"), ("ulimit", "ulimit -v")])
    def test_a_limit_is_what_should_be_raised(self, limit: Limit, remedy: str) -> None:
        limited = replace(planner(Settings(), "qwen-14b"), limit=limit)
        assert f"raise {remedy}, or try anyway" in refusal(limited)

    def test_says_when_threads_need_more_than_is_free(self) -> None:
        message = refusal(planner(Settings(), machine=Machine(free=GB // 10, margin=GB)))
        assert "100 MB are free, less than the 1 GB that threads and other programs need; " in message

    def test_names_the_card_that_layers_do_not_fit(self) -> None:
        machine = replace(LAPTOP, gpus=(DeviceMemory("CUDA0", 2 * GB),))
        message = refusal(planner(Settings(gpu_layers=99), machine=machine))
        assert "on CUDA0 for 29 layers, and 2 GB are free; without --gpu-layers r1 uses as many as fit" in message

    def test_force_tries_anyway_and_says_so(self) -> None:
        forced = planner(Settings(force=True), "qwen-14b")
        plan = forced.plan()
        assert not plan.fits
        (note,) = forced.notes(plan)
        assert note.grave
        assert note.text.endswith("trying anyway (--force)")
        assert plan.context == 4096
        assert forced.with_settings(Settings(force=True, ctx=20_000)).plan().context == 20_000

    def test_more_context_than_the_model_was_trained_for_is_a_usage_error(self) -> None:
        with pytest.raises(UsageError, match="trained for at most 131072"):
            planner(Settings(ctx=131_073)).plan()

    def test_a_shorter_reply_gets_a_shorter_context(self) -> None:
        assert planner(Settings()).plan(512).context == 512
        assert planner(Settings()).plan(1 << 30).context <= 131_072


class TestPlanForPrompt:
    """A context for a prompt and its complete reply."""

    def test_has_the_length_of_both_rounded_up(self) -> None:
        short = planner(Settings(max_tokens=20))
        assert short.plan_for_prompt(300, loaded=0).context == 512
        assert short.plan_for_prompt(0, loaded=0).context == 256

    def test_the_users_context_does_not_grow_with_the_prompt(self) -> None:
        assert planner(Settings(ctx=1024)).plan_for_prompt(5000, loaded=0).context == 1024

    def test_a_prompt_that_exceeds_the_memory_is_refused_with_both_lengths(self) -> None:
        tight = planner(Settings(), machine=Machine(int(5.0 * GB)))
        fits = tight.plan().context
        with pytest.raises(
            NotEnoughSpace, match=rf"prompt has 100,000 tokens, and only {fits:,} tokens of context fit"
        ):
            tight.plan_for_prompt(100_000, loaded=0)

    def test_force_plans_for_it_anyway(self) -> None:
        tight = planner(Settings(force=True, max_tokens=256), machine=Machine(int(5.0 * GB)))
        plan = tight.plan_for_prompt(100_000, loaded=0)
        assert not plan.fits
        assert plan.context >= 100_256


class TestPlanForSeveral:
    """Several sequences at once: the settings are met, or fewer are planned."""

    def test_one_has_the_plan_it_always_had(self) -> None:
        for settings in (Settings(), Settings(ctx=4096), Settings(parallel=8), Settings(max_tokens=100)):
            found = planner(settings)
            assert found.plan(wanted=Wanted(1)) == found.plan()
            assert found.plan_for_prompt(500, loaded=0, wanted=Wanted(1)) == found.plan_for_prompt(500, loaded=0)

    def test_a_context_that_the_user_chose_is_that_of_each(self) -> None:
        for ctx in (8192, 20_480):
            plan = planner(Settings(ctx=ctx, parallel=64)).plan(wanted=Wanted(64))
            assert plan.context == ctx
            assert 1 < plan.sequences < 64

    def test_further_replies_have_no_more_room_than_they_may_need(self) -> None:
        roomy = planner(Settings(ctx=8192, parallel=4, max_tokens=100), machine=Machine(16 * GB))
        assert roomy.plan_for_prompt(50, loaded=0, wanted=Wanted(4)).cells == 8192 + 3 * (50 + 100)
        shared = Wanted(4, shares_prompt=True)
        assert roomy.plan_for_prompt(50, loaded=0, wanted=shared).cells == 8192 + 3 * 100

    def test_a_prompt_that_fits_alone_is_not_refused_with_others(self) -> None:
        tight = planner(Settings(parallel=8), machine=Machine(int(6.6 * GB)))
        alone = tight.plan_for_prompt(40_000, loaded=0)
        plan = tight.plan_for_prompt(40_000, loaded=0, wanted=Wanted(8))
        assert 40_000 < plan.context <= alone.context

    def test_what_does_not_fit_alone_is_refused(self) -> None:
        with pytest.raises(NotEnoughSpace, match="qwen-14b:Q4_K_M with 1,024 tokens of context"):
            planner(Settings(parallel=4), "qwen-14b").plan(wanted=Wanted(4))

    def test_fewer_than_asked_for_are_noted(self) -> None:
        found = planner(Settings(parallel=8))
        (note,) = found.notes(found.plan(wanted=Wanted(8)))
        assert note.grave
        assert re.match(
            r"memory holds only \d of 8 prompts at once: up to [\d,]+ tokens for each of \d prompts, in ", note.text
        )

    def test_fewer_than_pay_are_not(self) -> None:
        found = planner(Settings(), machine=Machine(int(6.9 * GB)))
        plan = found.plan(wanted=Wanted(8))
        assert plan.sequences < plan.wanted_sequences
        assert list(found.notes(plan)) == []

    def test_a_shorter_context_for_each_is_noted(self) -> None:
        found = planner(Settings(parallel=8), machine=Machine(int(6.5 * GB)))
        plan = found.plan(wanted=Wanted(8))
        assert plan.sequences == 8
        (note,) = found.notes(plan)
        assert note.text.startswith(f"only {plan.context:,} tokens of context fit for each of 8 prompts at once: ")

    def test_after_a_refusal_of_the_gpu_it_is_planned_for_as_many(self) -> None:
        machine = replace(LAPTOP, free=32 * GB, gpus=(DeviceMemory("CUDA0", 24 * GB),))
        found = planner(Settings(parallel=8), machine=machine)
        less = found.plan_after_refusal(found.plan(wanted=Wanted(8)))
        assert (less.gpu_layers, less.sequences) == (14, 8)

    def test_the_settings_decide_how_many_there_should_be_else_what_pays(self) -> None:
        on_gpu = replace(LAPTOP, gpus=(DeviceMemory("CUDA0", 24 * GB),))
        assert planner(Settings(parallel=3)).sequences() == 3
        assert planner(Settings()).sequences() == 1
        assert replace(planner(Settings()), threads=8).sequences() > 1
        assert planner(Settings(), machine=on_gpu).sequences() > 1


class TestNotes:
    """What the user should know about a plan."""

    def notes(self, free: float, **options: object) -> list[tuple[str, bool]]:
        found = planner(Settings(**options), machine=Machine(int(free * GB)))  # type: ignore[arg-type]
        return [(note.text, note.grave) for note in found.notes(found.plan())]

    def test_there_are_none_when_everything_fits(self) -> None:
        assert self.notes(16) == []

    def test_a_quantized_cache_is_noted(self) -> None:
        ((text, grave),) = self.notes(6)
        assert text.startswith("32,768 tokens of context do not fit in an F16 cache, so the cache is Q8_0: ")
        assert not grave

    def test_a_quantized_cache_the_user_chose_is_not(self) -> None:
        assert self.notes(6, kv_type="q8_0") == []

    def test_a_short_context_is_grave(self) -> None:
        ((text, grave),) = self.notes(5.0)
        assert "tokens of context fit, and thinking may need more: " in text
        assert grave

    def test_a_gpu_that_was_chosen_but_holds_no_layer_is_grave(self) -> None:
        machine = replace(LAPTOP, free=16 * GB, gpus=(DeviceMemory("CUDA0", GB // 10),))
        chosen = planner(Settings(device="gpu"), machine=machine)
        plan = chosen.plan()
        (note,) = chosen.notes(plan)
        assert note.grave
        assert note.text.startswith("no layer fits on the GPU, so the model runs on the CPU: ")
        assert list(chosen.with_settings(Settings()).notes(plan)) == []


class TestExplain:
    """The plan in one line."""

    def test_on_a_processor(self) -> None:
        found = planner(Settings(ctx=4096))
        text = found.explain(found.plan())
        assert text.startswith("4,096 tokens of context in an F16 cache: 5.")
        assert text.endswith(" GB of 6 GB free memory")

    def test_for_several_prompts_at_once(self) -> None:
        found = planner(Settings(parallel=4, ctx=4096), machine=replace(LAPTOP, free=16 * GB))
        text = found.explain(found.plan(wanted=Wanted(4)))
        assert text.startswith("up to 4,096 tokens for each of 4 prompts, in an F16 cache of 16,384: 5.")

    def test_with_some_layers_on_a_card(self) -> None:
        found = planner(Settings(), machine=replace(LAPTOP, gpus=(DeviceMemory("CUDA0", 4 * GB),)))
        plan = found.plan()
        assert f"{plan.gpu_layers} of 29 layers on CUDA0: " in found.explain(plan)
        assert found.placement(plan).devices == ("CUDA0",)

    def test_with_every_layer_on_a_card(self) -> None:
        found = planner(Settings(), machine=replace(LAPTOP, gpus=(DeviceMemory("CUDA0", 24 * GB),)))
        assert "cache, every layer on CUDA0: " in found.explain(found.plan())


def test_after_a_refusal_there_are_half_as_many_layers_and_in_the_end_none() -> None:
    found = planner(Settings(), machine=replace(LAPTOP, gpus=(DeviceMemory("CUDA0", 24 * GB),)))
    plan, counts = found.plan(), []
    while plan.gpu_layers:
        plan = found.plan_after_refusal(plan)
        counts.append(plan.gpu_layers)
    assert counts == [14, 7, 3, 1, 0]
    assert found.placement(plan).devices == ()


def test_this_machine_runs_the_built_in_model(tiny_path: Path) -> None:
    found = MemoryPlanner.of(tiny_path, Settings(), "tiny:Q8_0")
    assert found.plan().fits
    assert found.plan().context == 2048

"""`r1.fit.plan`: a model and a machine → the plan that fits best."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import pytest

from r1.fit.needs import Needs, needs
from r1.fit.plan import DeviceMemory, FitOptions, Machine, MemoryPlan, explain, fit, without_full_gpus
from r1.fit.recommendation import shape_of_checkpoint
from r1.fit.shape import Shape
from r1_quantize import catalog

GB = 1_000_000_000
SIX = ("qwen-1.5b", "qwen-7b", "qwen-14b", "qwen-32b", "llama-8b", "llama-70b")
LAYERS = dict(zip(SIX, (28, 28, 48, 64, 32, 80), strict=True))  # num_hidden_layers of the six config.json
KV_F16 = dict(zip(SIX, (28_672, 57_344, 196_608, 262_144, 131_072, 327_680), strict=True))  # bytes a token, of them


@cache
def shape(name: str = "qwen-7b", quant: str = "Q4_K_M") -> Shape:
    """The shape of a checkpoint of the catalogue."""
    found = shape_of_checkpoint(catalog.load()[name], quant)
    assert found is not None
    return found


def planned(name: str, machine: Machine, quant: str = "Q4_K_M", **options: object) -> MemoryPlan:
    """The plan for a checkpoint of the catalogue."""
    return fit(shape(name, quant), machine, FitOptions(**options))  # type: ignore[arg-type]


class TestLaptop:
    """8 GB of memory, no GPU."""

    def test_with_most_memory_free_the_7b_has_its_complete_context(self) -> None:
        plan = planned("qwen-7b", Machine(free=7 * GB))
        assert (plan.context, plan.kv_type, plan.gpu_layers, plan.fits) == (32_768, "f16", 0, True)
        assert not plan.is_short

    def test_with_less_the_cache_is_quantized_before_the_context_is_shortened(self) -> None:
        plan = planned("qwen-7b", Machine(free=6 * GB))  # 4.68 and 1.88 GB in F16, 1.0 in Q8_0
        assert (plan.context, plan.kv_type, plan.fits) == (32_768, "q8_0", True)

    def test_with_still_less_the_context_is_as_long_as_fits(self) -> None:
        machine = Machine(free=int(5.4 * GB))
        plan = planned("qwen-7b", machine)
        assert (plan.kv_type, plan.fits) == ("q8_0", True)
        assert 4096 <= plan.context < 32_768
        assert plan.context % 256 == 0
        assert not planned("qwen-7b", machine, context=plan.context + 256).fits

    def test_a_context_below_4096_counts_as_short(self) -> None:
        plan = planned("qwen-7b", Machine(free=int(5.0 * GB)))
        assert plan.fits
        assert 1024 <= plan.context < 4096
        assert plan.is_short

    def test_a_model_that_is_too_large_does_not_fit(self) -> None:
        plan = planned("qwen-14b", Machine(free=7 * GB))  # 8.99 GB of weights alone
        assert not plan.fits
        assert plan.needs.main > 8.99 * GB

    def test_the_margin_stays_free(self) -> None:
        free = planned("qwen-7b", Machine(1 << 50), context=4096).needs.main
        assert planned("qwen-7b", Machine(free), context=4096, kv_type="f16").fits
        assert not planned("qwen-7b", Machine(free, margin=1), context=4096, kv_type="f16").fits

    def test_the_users_choices_are_met_or_refused(self) -> None:
        machine = Machine(free=6 * GB)
        assert planned("qwen-7b", machine, context=32_768).kv_type == "q8_0"
        assert not planned("qwen-7b", machine, context=32_768, kv_type="f16").fits
        assert planned("qwen-7b", machine, context=131_072).fits is False

    def test_the_context_is_no_longer_than_the_reply_can_need(self) -> None:
        assert planned("qwen-7b", Machine(64 * GB), up_to=5000).context == 5000
        assert planned("qwen-7b", Machine(64 * GB), up_to=40_960).context == 40_960
        assert planned("qwen-7b", Machine(64 * GB)).context == 32_768

    def test_the_context_is_no_longer_than_the_model_was_trained_for(self) -> None:
        assert fit(replace(shape(), trained=2048), Machine(64 * GB), FitOptions()).context == 2048
        assert not fit(replace(shape(), trained=2048), Machine(64 * GB), FitOptions()).is_short


class TestPhone:
    """4 GB of memory, two of them free under Android."""

    PHONE = Machine(free=2 * GB, margin=400_000_000, longest=16_384)

    def test_runs_the_smallest_model_with_a_comfortable_context(self) -> None:
        plan = planned("qwen-1.5b", self.PHONE)  # 1.12 GB, and 16,384 tokens are 470 MB in F16, 250 in Q8_0
        assert (plan.context, plan.kv_type, plan.fits) == (16_384, "q8_0", True)

    @pytest.mark.parametrize("name", SIX[1:])
    def test_runs_no_other_model(self, name: str) -> None:
        assert not planned(name, self.PHONE).fits


class TestSmallGPU:
    """16 GB of memory, and a card with 6 GB; the driver and the desktop leave 5.5 of them."""

    MACHINE = Machine(free=12 * GB, gpus=(DeviceMemory("CUDA0", int(5.5 * GB)),))

    def test_the_smallest_model_goes_there_completely(self) -> None:
        plan = planned("qwen-1.5b", self.MACHINE)
        assert (plan.context, plan.kv_type, plan.gpu_layers, plan.fits) == (32_768, "f16", 29, True)
        assert plan.needs.main < 0.5 * GB  # the table of embeddings, and the program

    def test_the_7b_goes_there_completely_with_a_quantized_cache(self) -> None:
        plan = planned("qwen-7b", self.MACHINE)  # 4.37 GB go there, and 32,768 tokens are 1.0 GB in Q8_0
        assert (plan.kv_type, plan.gpu_layers, plan.fits) == ("q8_0", 29, True)
        assert 16_384 <= plan.context <= 32_768

    def test_the_14b_has_as_many_layers_there_as_leave_a_comfortable_context(self) -> None:
        plan = planned("qwen-14b", self.MACHINE)
        assert plan.fits
        assert 8 <= plan.gpu_layers < 48
        assert plan.context >= 16_384
        assert plan.needs.gpu <= 5.5 * GB
        more = planned("qwen-14b", self.MACHINE, gpu_layers=plan.gpu_layers + 1, context=16_384, kv_type=plan.kv_type)
        assert not more.fits

    def test_both_memories_together_hold_what_neither_holds(self) -> None:
        tight = Machine(free=6 * GB, gpus=(DeviceMemory("CUDA0", 5 * GB),))
        assert planned("qwen-14b", tight).fits  # 8.99 GB
        assert not planned("qwen-14b", Machine(free=6 * GB)).fits

    def test_a_q8_0_cache_is_used_where_it_gains_layers_or_context(self) -> None:
        machine = Machine(free=24 * GB, gpus=(DeviceMemory("CUDA0", 3 * GB),))
        for name in ("qwen-7b", "llama-8b"):
            plan = planned(name, machine)
            for kv_type in ("f16", "q8_0"):
                other = planned(name, machine, kv_type=kv_type)
                assert (plan.gpu_layers, plan.context) >= (other.gpu_layers, other.context)

    def test_the_users_number_of_layers_is_met_or_refused(self) -> None:
        assert planned("qwen-7b", self.MACHINE, gpu_layers=5).gpu_layers == 5
        assert planned("qwen-7b", self.MACHINE, gpu_layers=99, context=4096).gpu_layers == 29
        assert not planned("qwen-32b", self.MACHINE, gpu_layers=99).fits
        assert planned("qwen-7b", self.MACHINE, gpu_layers=0).needs.gpu == 0

    def test_a_full_card_is_not_used(self) -> None:
        plan = planned("qwen-7b", replace(self.MACHINE, gpus=(DeviceMemory("CUDA0", 200_000_000),)))
        assert (plan.gpu_layers, plan.fits) == (0, True)

    def test_a_full_second_card_does_not_count(self) -> None:
        cards = (DeviceMemory("CUDA0", 8 * GB), DeviceMemory("CUDA1", 100_000_000))
        found = without_full_gpus(shape(), Machine(free=12 * GB, gpus=cards))
        assert found.gpus == cards[:1]
        assert without_full_gpus(shape(), Machine(free=12 * GB, gpus=cards[1:])).gpus == ()

    def test_two_cards_hold_what_one_cannot(self) -> None:
        two = replace(self.MACHINE, gpus=(DeviceMemory("CUDA0", int(5.5 * GB)), DeviceMemory("CUDA1", int(5.5 * GB))))
        assert planned("qwen-14b", self.MACHINE).gpu_layers < 49
        assert planned("qwen-14b", two, context=4096).gpu_layers == 49


class TestMac:
    """64 GB shared by processor and GPU; Metal lets the GPU use three quarters."""

    MAC = Machine(free=56 * GB, gpus=(DeviceMemory("MTL0", 48 * GB, shared=True),))

    def test_the_32b_goes_on_the_gpu_completely(self) -> None:
        plan = planned("qwen-32b", self.MAC)
        assert (plan.context, plan.kv_type, plan.gpu_layers, plan.fits) == (32_768, "f16", 65, True)

    def test_the_70b_goes_there_with_a_quantized_cache(self) -> None:
        plan = planned("llama-70b", self.MAC)  # 42.5 GB; 32,768 tokens are 10.7 GB in F16, 5.7 in Q8_0
        assert (plan.kv_type, plan.gpu_layers, plan.fits) == ("q8_0", 81, True)
        assert 16_384 <= plan.context <= 32_768

    def test_a_less_than_comfortable_context_is_no_reason_to_leave_the_gpu(self) -> None:
        plan = planned("qwen-7b", Machine(free=int(5.6 * GB), gpus=(DeviceMemory("MTL0", int(5.3 * GB), shared=True),)))
        assert (plan.gpu_layers, plan.fits) == (29, True)
        assert 4096 <= plan.context < 16_384

    def test_a_server_adds_its_own_memory(self) -> None:
        machine = Machine(
            free=14 * GB, gpus=(DeviceMemory("RPC0", 64 * GB), DeviceMemory("MTL0", 12 * GB, shared=True))
        )
        assert planned("llama-70b", machine).fits
        assert not planned("llama-70b", replace(machine, gpus=machine.gpus[1:])).fits

    def test_the_gpu_uses_the_same_memory(self) -> None:
        busy = replace(self.MAC, free=24 * GB)
        assert not planned("llama-70b", busy).fits
        assert planned("qwen-32b", busy).needs.total <= 24 * GB


class TestDraftModel:
    """The 1.5B drafts for the 32B: 1.1 GB beside 19.8 GB, and a cache of its own."""

    PAIR = replace(shape("qwen-32b"), draft=shape("qwen-1.5b"))

    def card(self, gpu: float, free: int = 64) -> Machine:
        return Machine(free=free * GB, gpus=(DeviceMemory("CUDA0", int(gpu * GB)),))

    def test_both_are_on_a_card_that_holds_them(self) -> None:
        plan = fit(self.PAIR, self.card(48), FitOptions())
        assert (plan.gpu_layers, plan.draft_on_gpu, plan.context, plan.kv_type) == (65, True, 32_768, "f16")
        assert explain(plan, self.PAIR, self.card(48)).startswith(
            "32,768 tokens of context in an F16 cache, and a draft model with the same, every layer of both on CUDA0: "
        )

    def test_a_quantized_cache_comes_before_a_draft_model_in_main_memory(self) -> None:
        plan = fit(self.PAIR, self.card(30), FitOptions())
        assert fit(shape("qwen-32b"), self.card(30), FitOptions()).kv_type == "f16"
        assert (plan.gpu_layers, plan.draft_on_gpu, plan.kv_type) == (65, True, "q8_0")

    def test_the_model_stays_on_the_card_where_only_that_fits(self) -> None:
        card = self.card(23)
        alone, plan = fit(shape("qwen-32b"), card, FitOptions()), fit(self.PAIR, card, FitOptions())
        assert (alone.gpu_layers, plan.gpu_layers, plan.draft_on_gpu) == (65, 65, False)
        assert plan.context == alone.context
        assert "every layer of the model on CUDA0" in explain(plan, self.PAIR, card)

    def test_beside_a_part_of_the_layers_it_is_in_main_memory(self) -> None:
        plan = fit(self.PAIR, self.card(12), FitOptions())
        assert 0 < plan.gpu_layers < 65
        assert not plan.draft_on_gpu

    def test_layers_that_the_user_chose_leave_it_on_the_card(self) -> None:
        assert fit(self.PAIR, self.card(48), FitOptions(gpu_layers=99)).draft_on_gpu
        assert not fit(self.PAIR, self.card(48), FitOptions(gpu_layers=30)).draft_on_gpu

    def test_in_main_memory_both_have_to_fit(self) -> None:
        plan = fit(self.PAIR, Machine(24 * GB), FitOptions())
        assert plan.fits
        assert plan.needs == needs(self.PAIR, plan.context, plan.kv_type)
        assert plan.context < fit(shape("qwen-32b"), Machine(24 * GB), FitOptions()).context
        assert not fit(self.PAIR, Machine(21 * GB), FitOptions()).fits
        assert fit(shape("qwen-32b"), Machine(21 * GB), FitOptions()).fits


class TestEveryMachine:
    """Properties that hold on every machine."""

    @pytest.mark.parametrize("name", SIX)
    def test_a_plan_that_fits_does_fit(self, name: str) -> None:
        for free, gpu, shared in product([0, 1, 2, 4, 8, 16, 32, 64], [None, 0, 1, 4, 8, 24], [False, True]):
            self.check(name, free, gpu, shared)

    def check(self, name: str, free: int, gpu: int | None, shared: bool) -> None:
        gpus = () if gpu is None else (DeviceMemory("GPU", gpu * GB, shared),)
        machine = Machine(free * GB, 100_000_000, gpus)
        plan = planned(name, machine)
        assert plan.needs == needs(shape(name), plan.context, plan.kv_type, plan.gpu_layers, len(gpus))
        if plan.fits:
            main = plan.needs.total if gpus and shared else plan.needs.main
            assert main + 100_000_000 <= free * GB
            assert plan.needs.gpu <= (gpu or 0) * GB
            assert plan.context >= 1024
        else:  # then the shortest context does not fit either
            assert not planned(name, machine, context=1024).fits

    def test_more_memory_never_gives_a_worse_plan(self) -> None:
        before = MemoryPlan(0, "q8_0", 0, Needs(0, 0), 0, fits=False)
        for tenths in range(40, 90):
            plan = planned("qwen-7b", Machine(tenths * GB // 10))
            assert (plan.fits, plan.context) >= (before.fits, before.context)
            before = plan

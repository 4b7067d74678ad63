"""`r1.fit.sequences`: how many sequences share a cache, and how large it is."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest

from r1.fit.needs import needs
from r1.fit.plan import DeviceMemory, FitOptions, Machine, MemoryPlan, fit
from r1.fit.recommendation import shape_of_checkpoint
from r1.fit.sequences import TYPICAL, Wanted, parallel_gain, paying_sequences, share
from r1.fit.shape import Shape
from r1_quantize import catalog

GB = 1_000_000_000
COMFORTABLE = 16_384  # most of R1's replies end within it
MEAN = 4096  # tokens of a reply, about the mean on MATH
NAMES = ("qwen-1.5b", "qwen-7b", "qwen-32b")


@cache
def shape(name: str = "qwen-7b") -> Shape:
    """A checkpoint of the catalogue in Q4_K_M."""
    found = shape_of_checkpoint(catalog.load()[name], "Q4_K_M")
    assert found is not None
    return found


def machine(free: float, gpu: float | None = None) -> Machine:
    gpus = () if gpu is None else (DeviceMemory("CUDA0", int(gpu * GB)),)
    return Machine(int(free * GB), 256_000_000, gpus)


def planned(
    found: Machine,
    count: int,
    name: str = "qwen-7b",
    *,
    is_asked: bool = True,
    prompt: int = 0,
    further: int | None = None,
    shares_prompt: bool = False,
    **options: object,
) -> MemoryPlan:
    """The plan for `count` sequences of a checkpoint."""
    chosen = FitOptions(**options)  # type: ignore[arg-type]
    alone = fit(shape(name), found, chosen)
    assert alone.fits
    wanted = Wanted(count, prompt, further=further, shares_prompt=shares_prompt, is_asked=is_asked)
    return share(alone, shape(name), found, chosen, wanted)


class TestEnoughMemory:
    """The cache has one whole context, and a typical reply for each further sequence."""

    @pytest.mark.parametrize("count", [2, 8, 64])
    def test_the_cache_holds_one_context_and_typical_replies(self, count: int) -> None:
        plan = planned(machine(200), count)
        assert (plan.sequences, plan.context, plan.kv_type, plan.fits) == (count, 32_768, "f16", True)
        assert plan.cells == 32_768 + (count - 1) * TYPICAL

    def test_no_sequence_has_more_room_than_its_context(self) -> None:
        assert planned(machine(64), 4, up_to=512).cells == 4 * 512

    @pytest.mark.parametrize("further", [32, 160])
    def test_the_room_for_each_further_sequence_can_be_given(self, further: int) -> None:
        """A benchmark knows it."""
        plan = planned(machine(64), 16, context=256, prompt=2048, further=further)
        assert (plan.sequences, plan.context, plan.cells) == (16, 256, 256 + 15 * further)

    def test_further_prompts_have_room_besides_their_replies(self) -> None:
        plan = planned(machine(64), 3, up_to=40_960, prompt=5000)
        assert plan.cells == 40_960 + 2 * (5000 + TYPICAL)

    def test_a_prompt_that_all_have_is_in_the_cache_once(self) -> None:
        plan = planned(machine(64), 3, up_to=40_960, prompt=5000, shares_prompt=True)
        assert plan.cells == 40_960 + 2 * TYPICAL

    def test_so_more_fit_where_memory_is_short(self) -> None:
        """For 8 samples of a prompt of 16,384 tokens: 7 x 16,384 tokens of 57,344 bytes are 6.6 GB."""
        tight = machine(12)
        own, same = (planned(tight, 8, prompt=16_384, is_asked=False, shares_prompt=shares) for shares in (False, True))
        assert own.sequences < same.sequences == 8
        assert same.context == own.context

    def test_a_gpu_holds_them_all(self) -> None:
        plan = planned(machine(16, 24), 8)
        assert (plan.sequences, plan.gpu_layers, plan.kv_type) == (8, 29, "f16")


class TestParallelGain:
    """The speed of several sequences in all; never more than what was measured."""

    @pytest.mark.parametrize(
        "measured",
        [
            # tokens per second of 1, 2, 4 and 8 sequences with 8,192 tokens each, from `benches` in llama.cpp
            (71.20, 114.59, 175.80, 200.09),  # M2 Ultra, Qwen2.5-Coder 7B, Q8_0
            (127.90, 191.07, 280.72, 381.48),  # M2 Ultra, Gemma 3 4B, Q4_0
            (27.03, 47.73, 82.69, 132.13),  # DGX Spark, Qwen2.5-Coder 7B, Q8_0
            (68.52, 98.03, 156.55, 218.04),  # DGX Spark, Gemma 3 4B, Q4_0
        ],
    )
    def test_on_a_gpu(self, measured: tuple[float, ...]) -> None:
        for count, speed in zip((1, 2, 4, 8), measured, strict=True):
            assert 1 <= parallel_gain(count, on_gpu=True) <= speed / measured[0]

    @pytest.mark.parametrize("measured", [(12.4, 17.7), (6.3, 10.9)])
    def test_on_a_processor(self, measured: tuple[float, float]) -> None:
        """A 1.5B (Q4_K_M) on two cores with AVX2, and on one with AVX-512: 1 and 4 sequences."""
        assert 1 < parallel_gain(4, on_gpu=False) <= measured[1] / measured[0]
        assert parallel_gain(1, on_gpu=False) == 1

    @pytest.mark.parametrize("on_gpu", [True, False])
    def test_does_not_fall_with_more_sequences_and_is_that_of_the_next_number_below(self, *, on_gpu: bool) -> None:
        gains = [parallel_gain(count, on_gpu=on_gpu) for count in range(1, 65)]
        assert gains == sorted(gains)
        assert gains[2] == gains[1]  # three sequences: not measured, so that of two


class TestTooLittleMemory:
    """What gives way, in order: shared cells, the cache's type, the context, layers on the GPU, sequences."""

    def test_first_the_shared_part_becomes_smaller(self) -> None:
        plan = planned(machine(9), 8)  # 57,344 bytes a token in F16: 10.0 GB with typical replies, 8.4 with mean ones
        assert (plan.sequences, plan.context, plan.kv_type) == (8, 32_768, "f16")
        assert 7 * MEAN <= plan.shared < 7 * TYPICAL

    def test_then_the_cache_is_quantized(self) -> None:
        plan = planned(machine(8), 8)
        assert (plan.sequences, plan.context, plan.kv_type) == (8, 32_768, "q8_0")

    def test_then_the_context_becomes_shorter(self) -> None:
        plan = planned(machine(6.7), 8)
        assert (plan.sequences, plan.kv_type, plan.shared) == (8, "q8_0", 7 * MEAN)
        assert COMFORTABLE <= plan.context < 32_768

    def test_at_last_there_are_fewer_sequences(self) -> None:
        tight = machine(6)
        plan = planned(tight, 8)
        assert 1 < plan.sequences < 8
        assert plan.wanted_sequences == 8
        assert plan.context >= COMFORTABLE
        assert planned(tight, plan.sequences).sequences == plan.sequences
        assert planned(tight, plan.sequences + 1).sequences == plan.sequences  # one more does not fit

    def test_in_the_end_one_has_the_plan_it_has_alone(self) -> None:
        tight = machine(5.3)
        alone, plan = fit(shape(), tight, FitOptions()), planned(tight, 8)
        assert (plan.sequences, plan.wanted_sequences, plan.cells) == (1, 8, alone.context)
        assert (plan.context, plan.kv_type, plan.needs) == (alone.context, alone.kv_type, alone.needs)

    def test_a_model_that_is_split_gives_a_few_layers(self) -> None:
        small = machine(32, 5.5)
        alone, plan = fit(shape("qwen-14b"), small, FitOptions()), planned(small, 8, "qwen-14b")
        assert plan.sequences > 1
        assert 0.75 * alone.gpu_layers <= plan.gpu_layers < alone.gpu_layers

    def test_a_model_on_the_gpu_stays_there(self) -> None:
        small = machine(64, 12)
        plan = planned(small, 8, "qwen-14b")
        assert (plan.gpu_layers, plan.fits) == (49, True)
        assert 1 < plan.sequences < 8

    def test_the_users_choices_are_kept(self) -> None:
        for free in (5.5, 6, 7, 8, 10):
            assert planned(machine(free), 8, context=8192).context == 8192
            assert free < 6 or planned(machine(free), 8, context=24_576).context == 24_576
            assert planned(machine(free), 8, kv_type="q4_0").kv_type == "q4_0"
        assert planned(machine(24, 5.5), 8, "qwen-14b", gpu_layers=10).gpu_layers == 10

    def test_a_context_that_would_hold_a_long_prompt_alone_holds_it_with_others(self) -> None:
        tight = machine(6.6)
        alone = fit(shape(), tight, FitOptions(up_to=65_536))
        assert alone.context > 40_000
        assert planned(tight, 8, up_to=65_536, prompt=40_000).context > 40_000


class TestNotAskedFor:
    """A number that the user did not ask for makes no reply worse."""

    @pytest.mark.parametrize("name", NAMES)
    def test_context_type_and_layers_are_those_of_one_alone(self, name: str) -> None:
        for free, gpu in product([2, 6, 8, 12, 24, 48], [None, 5.5, 24]):
            alone = fit(shape(name), machine(free, gpu), FitOptions())
            if alone.fits:
                plan = planned(machine(free, gpu), 8, name, is_asked=False)
                assert (plan.context, plan.kv_type, plan.gpu_layers) == (alone.context, alone.kv_type, alone.gpu_layers)
                assert plan.fits

    def test_there_are_as_many_as_fit_so(self) -> None:
        assert planned(machine(12), 8, is_asked=False).sequences == 8
        assert planned(machine(7.2), 8, is_asked=False).sequences == 1  # more would need a quantized cache
        assert planned(machine(7.2), 8).sequences == 8


@pytest.mark.parametrize("name", NAMES)
def test_on_every_machine_a_plan_fits_and_keeps_a_comfortable_context(name: str) -> None:
    for free, gpu, count in product([2, 4, 8, 24, 64], [None, 4, 12, 48], [2, 5, 64]):
        found = machine(free, gpu)
        alone = fit(shape(name), found, FitOptions())
        if not alone.fits:
            continue
        plan = planned(found, count, name)
        gpus = len(found.gpus)
        assert plan.needs == needs(shape(name), plan.cells, plan.kv_type, plan.gpu_layers, gpus, plan.sequences)
        assert found.holds(plan.needs)
        assert 1 <= plan.sequences <= count
        assert min(alone.context, COMFORTABLE) <= plan.context <= alone.context
        assert plan.cells >= plan.context + (plan.sequences - 1) * min(plan.context, MEAN)


class TestPayingSequences:
    """How many prompts at once pay."""

    def test_a_large_model_with_two_threads_answers_one_at_a_time(self) -> None:
        assert paying_sequences(shape("qwen-7b"), threads=2, gpu_layers=0) == 1

    @pytest.mark.parametrize(("name", "threads"), [("qwen-1.5b", 2), ("qwen-7b", 8), ("qwen-32b", 16)])
    def test_a_small_model_or_more_threads_answer_several(self, name: str, threads: int) -> None:
        assert paying_sequences(shape(name), threads, gpu_layers=0) > 1

    def test_a_gpu_with_every_layer_answers_more(self) -> None:
        on_cpu, split, on_gpu = (paying_sequences(shape("qwen-7b"), 8, layers) for layers in (0, 28, 29))
        assert on_cpu == split < on_gpu

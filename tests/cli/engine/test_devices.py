"""`r1.engine.devices`: what there is to compute on."""

from __future__ import annotations

import psutil
import pytest

from r1.engine.devices import ALL_LAYERS, Placement, default_threads, devices, place
from r1_quantize.errors import UsageError

HAS_GPU = any(device.is_gpu for device in devices())


class TestDevices:
    """ggml's own list."""

    def test_has_the_cpu_with_the_memory_of_this_machine(self) -> None:
        cpu = next(device for device in devices() if device.kind == "cpu")
        assert cpu.memory_total == pytest.approx(psutil.virtual_memory().total, rel=0.01)


class TestPlace:
    """`--device` and `--gpu-layers` → how many layers go to the GPU."""

    def test_cpu_means_no_layer_whatever_else_is_said(self) -> None:
        assert place("cpu", 99) == Placement(0)

    @pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU that llama.cpp can use")
    def test_without_a_gpu_auto_takes_the_cpu(self) -> None:
        assert place("auto", None) == Placement(0)

    @pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU that llama.cpp can use")
    def test_without_a_gpu_asking_for_one_is_refused_with_the_remedy(self) -> None:
        with pytest.raises(UsageError, match="--device cpu"):
            place("gpu", None)

    @pytest.mark.skipif(not HAS_GPU, reason="llama.cpp finds no GPU on this machine")
    def test_with_a_gpu_every_layer_goes_there_unless_told_otherwise(self) -> None:
        assert place("auto", None) == Placement(ALL_LAYERS)
        assert place("gpu", 3) == Placement(3)


class TestThreads:
    """One a physical core."""

    def test_are_no_more_than_the_cores(self) -> None:
        assert 1 <= default_threads() <= (psutil.cpu_count() or 1)

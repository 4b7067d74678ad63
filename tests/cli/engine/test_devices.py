"""`r1.engine.devices`: what there is to compute on."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from r1.engine.devices import ALL_LAYERS, Device, Placement, default_threads, devices, place
from r1_quantize.errors import UsageError

HAS_GPU = any(device.is_gpu for device in devices())


class TestDevices:
    """ggml's own list."""

    def test_has_the_cpu(self) -> None:
        assert Device("CPU", "cpu") in devices()


class TestPlace:
    """`--device` and `--gpu-layers` → how many layers go to the GPU."""

    def test_cpu_means_no_layer(self) -> None:
        assert place("cpu", None) == place("cpu", 0) == Placement(0)

    def test_cpu_and_layers_on_the_gpu_contradict_each_other(self) -> None:
        with pytest.raises(UsageError, match="--gpu-layers 99 and --device cpu"):
            place("cpu", 99)

    @pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU that llama.cpp can use")
    def test_without_a_gpu_auto_takes_the_cpu(self) -> None:
        assert place("auto", None) == Placement(0)

    @pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU that llama.cpp can use")
    def test_without_a_gpu_asking_for_one_is_refused_with_the_remedy(self) -> None:
        for choice, layers in (("gpu", None), ("auto", 5)):
            with pytest.raises(UsageError, match="--device cpu"):
                place(choice, layers)  # type: ignore[arg-type]

    @pytest.mark.skipif(not HAS_GPU, reason="llama.cpp finds no GPU on this machine")
    def test_with_a_gpu_every_layer_goes_there_unless_told_otherwise(self) -> None:
        assert place("auto", None) == Placement(ALL_LAYERS)
        assert place("gpu", 3) == Placement(3)


class TestThreads:
    """One a physical core that this process may use."""

    def test_are_the_physical_cores(self) -> None:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        assert default_threads() == min(psutil.cpu_count(logical=False) or allowed, allowed)

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to a core")
    def test_are_no_more_than_a_process_was_given(self) -> None:
        program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" + (
            "from r1.engine.devices import default_threads; print(default_threads())"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == "1\n"

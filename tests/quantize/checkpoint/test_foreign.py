"""`r1_quantize.checkpoint.foreign`: models that r1 cannot quantize are called what they are."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.checkpoint import foreign
from r1_quantize.checkpoint.checkpoint import CheckpointFolder
from r1_quantize.checkpoint.checkpoint_source import checkpoint_source
from r1_quantize.errors import BadCheckpoint
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape, Stored

SMALL = Shape(hidden=32, inner=32, layers=1, heads=1, kv_heads=1)
LAYER = "model.layers.0.mlp.up_proj"


def stored(dtype: str, *shape: int) -> Stored:
    """A tensor of zeros."""
    size = {"U8": 1, "I8": 1, "F8_E4M3": 1, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8}[dtype]
    return dtype, shape, bytes(size * prod(shape))


def refusal(folder: Path, extra: dict[str, Stored], config: dict[str, Any]) -> str:
    """The message for a checkpoint whose up_proj was replaced by these tensors."""
    checkpoints.write(folder, SMALL)
    tensors = {name: checkpoints.stored(name, shape) for name, shape in SMALL.tensors.items()}
    del tensors[f"{LAYER}.weight"]
    checkpoints.write_safetensors(folder / "model.safetensors", tensors | extra)
    checkpoints.write_json(folder / "config.json", SMALL.config | config)
    with pytest.raises(BadCheckpoint) as caught:
        checkpoint_source(CheckpointFolder(folder), "x")
    return str(caught.value)


def method(name: str) -> dict[str, Any]:
    return {"quantization_config": {"quant_method": name}}


QUANTIZED: dict[str, tuple[dict[str, Stored], dict[str, Any], str]] = {
    # as the tools themselves store one linear layer
    "bitsandbytes, 4 bit": (
        {f"{LAYER}.weight": stored("U8", 512, 1), f"{LAYER}.weight.absmax": stored("U8", 16)},
        method("bitsandbytes") | {"load_in_4bit": True},
        "bitsandbytes",
    ),
    "bitsandbytes, 8 bit": (
        {f"{LAYER}.weight": stored("I8", 32, 32), f"{LAYER}.SCB": stored("F32", 32)},
        method("bitsandbytes"),
        "bitsandbytes",
    ),
    "GPTQ": (
        {f"{LAYER}.qweight": stored("I32", 4, 32), f"{LAYER}.g_idx": stored("I32", 32)},
        method("gptq"),
        "GPTQ",
    ),
    "AWQ": (
        {f"{LAYER}.qweight": stored("I32", 32, 4), f"{LAYER}.qzeros": stored("I32", 1, 4)},
        method("awq"),
        "AWQ",
    ),
    "GPTQ or AWQ with the method in a file of its own": ({f"{LAYER}.qweight": stored("I32", 4, 32)}, {}, "GPTQ or AWQ"),
    "MLX": (
        {
            f"{LAYER}.weight": stored("U32", 32, 4),
            f"{LAYER}.scales": stored("BF16", 32, 1),
            f"{LAYER}.biases": stored("BF16", 32, 1),
        },
        {"quantization": {"bits": 4, "group_size": 32}},
        "MLX",
    ),
    "FP8 with scales, as DeepSeek-V3": (
        {f"{LAYER}.weight": stored("F8_E4M3", 32, 32), f"{LAYER}.weight_scale_inv": stored("F32", 1, 1)},
        method("fp8"),
        "FP8",
    ),
    "FP8 without anything else": ({f"{LAYER}.weight": stored("F8_E4M3", 32, 32)}, {}, "FP8"),
    "compressed-tensors": (
        {f"{LAYER}.weight_packed": stored("I32", 32, 4), f"{LAYER}.weight_shape": stored("I64", 2)},
        method("compressed-tensors"),
        "compressed-tensors",
    ),
    "HQQ": ({f"{LAYER}.W_q": stored("U8", 16, 32)}, method("hqq"), "HQQ"),
    "EETQ": (
        {f"{LAYER}.weight": stored("I8", 32, 32), f"{LAYER}.weight_scales": stored("F16", 32)},
        method("eetq"),
        "EETQ",
    ),
    "FP8 with static scales and no config": (
        {
            f"{LAYER}.weight": stored("F8_E4M3", 32, 32),
            f"{LAYER}.weight_scale": stored("F32"),
            f"{LAYER}.input_scale": stored("F32"),
        },
        {},
        "FP8",
    ),
    "NVFP4, whose config is in hf_quant_config.json": (
        {
            f"{LAYER}.weight": stored("U8", 32, 16),
            f"{LAYER}.weight_scale": stored("F8_E4M3", 32, 2),
            f"{LAYER}.weight_scale_2": stored("F32"),
            f"{LAYER}.input_scale": stored("F32"),
        },
        {},
        "NVIDIA ModelOpt",
    ),
    "EXL2": (
        {f"{LAYER}.q_weight": stored("I32", 4, 32), f"{LAYER}.q_scale": stored("I32", 1, 4)},
        method("exl2"),
        "ExLlamaV2",
    ),
    "VPTQ": ({f"{LAYER}.indices": stored("I32", 1, 32, 4)}, method("vptq"), "VPTQ"),
    "a method that is new": ({f"{LAYER}.weight": stored("U8", 32, 32)}, method("newquant"), "newquant"),
}


class TestQuantized:
    """A quantized checkpoint is not damaged; the message names the tool."""

    @pytest.mark.parametrize(("tensors", "config", "tool"), QUANTIZED.values(), ids=QUANTIZED.keys())
    def test_is_named(self, tmp_path: Path, tensors: dict[str, Stored], config: dict[str, Any], tool: str) -> None:
        said = refusal(tmp_path / "c", tensors, config)
        assert said.startswith(
            f"{tmp_path / 'c'}: already quantized with {tool}, which r1 cannot read; start from the "
        )
        assert "damaged" not in said

    def test_a_dtype_without_any_trace_of_a_tool_is_named_itself(self, tmp_path: Path) -> None:
        said = refusal(tmp_path / "c", {f"{LAYER}.weight": stored("I32", 32, 32)}, {})
        assert "is I32, not BF16, F16 or F32" in said

    def test_floats_with_a_leftover_quantization_config_are_quantized(self, tmp_path: Path) -> None:
        folder = checkpoints.write(tmp_path / "c", SMALL)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        checkpoints.write_json(folder / "config.json", config | method("fp8"))
        assert checkpoint_source(CheckpointFolder(folder), "x").tensors


FOLDERS = [
    (["adapter_config.json", "adapter_model.safetensors", "README.md"], "a LoRA adapter, not a model; merge it"),
    (["adapter_config.json", "tokenizer.json"], "a LoRA adapter"),
    (["README.md", "model-Q4_K_M.gguf"], "GGUFs; give one of the files"),
    (["pytorch_model-00001-of-00002.bin"], "PyTorch pickles, which can run code"),
    (["consolidated.00.pth", "params.json"], "PyTorch pickles"),
    (["training_args.bin", "pytorch_model.bin"], "PyTorch pickles"),
    (["consolidated.safetensors", "params.json"], "Meta's or Mistral's layout"),
    (["onnx/model.onnx"], "an ONNX model"),
    (["weights.npz"], "a model of MLX or NumPy"),
    (["tf_model.h5"], "TensorFlow or Flax"),
    (["DeepSeek.zip"], "an archive; unpack it first"),
]


class TestByFiles:
    """A folder without a checkpoint, by the names in it."""

    @pytest.mark.parametrize(("names", "kind"), FOLDERS)
    def test_is_recognised(self, names: list[str], kind: str) -> None:
        assert kind in (foreign.by_files(names) or "")

    @pytest.mark.parametrize(
        "names", [[], ["README.md"], ["config.json", "training_args.bin", "rng_state_0.pth"], ["binary", "zip"]]
    )
    def test_other_names_say_nothing(self, names: list[str]) -> None:
        assert foreign.by_files(names) is None

    @pytest.mark.parametrize(("names", "kind"), [found for found in FOLDERS if "/" not in found[0][0]])
    def test_is_in_the_refusal_of_the_folder(self, tmp_path: Path, names: list[str], kind: str) -> None:
        for name in names:
            (tmp_path / name).write_bytes(b"x")
        with pytest.raises(BadCheckpoint) as caught:
            CheckpointFolder(tmp_path)
        assert kind in str(caught.value)

    def test_a_checkpoint_of_pickles_has_a_config_too(self, tmp_path: Path) -> None:
        checkpoints.write(tmp_path, SMALL)
        (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
        with pytest.raises(BadCheckpoint, match=r"has neither model\.safetensors nor .*; it has a model of PyTorch"):
            CheckpointFolder(tmp_path)


@pytest.mark.parametrize(
    ("name", "advice"), [("DeepseekV3ForCausalLM", "distilled from it"), ("Gemma3ForCausalLM", "`r1 list` shows")]
)
def test_an_unknown_architecture_comes_with_advice(tmp_path: Path, name: str, advice: str) -> None:
    folder = checkpoints.write(tmp_path / "c", SMALL)
    checkpoints.write_json(folder / "config.json", SMALL.config | {"architectures": [name]})
    with pytest.raises(BadCheckpoint, match=f"unknown architecture {name}; .*{advice}"):
        checkpoint_source(CheckpointFolder(folder), "x")

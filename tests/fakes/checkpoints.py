"""Small checkpoints with artificial weights, in Hugging Face's layout, the same bytes on every machine.

A `Shape` says what the model looks like; `write` puts config.json, tokenizer.json, tokenizer_config.json,
generation_config.json and the safetensors into a folder. The weights come from SHAKE-256, which, unlike a random
number generator, will never change: digests made once stay true.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import shake_256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONTROL = ("<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>", "<|EOT|>")
THINKING = ("<think>", "</think>")
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_SPLIT = SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
MERGES = ("Ġ Ġ", "Ċ Ċ", "t h", "th e")
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}"
    "{% else %}{{ '<｜Assistant｜>' + message['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A Qwen2 model, or a Llama with llama3's rope scaling. The tokenizer needs 267 of the `vocab` tokens."""

    hidden: int = 256
    inner: int = 512
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 0  # 0: what the hidden state divides into
    vocab: int = 320
    tied: bool = False
    llama: bool = False
    biased: bool = False  # a Llama with biases everywhere
    rope_scaling: Mapping[str, Any] | None = None  # of a Qwen2 model

    @property
    def config(self) -> dict[str, Any]:
        """The config.json."""
        ids = _token_ids()
        return (self._llama_config if self.llama else {"rope_scaling": self.rope_scaling}) | {
            "architectures": ["LlamaForCausalLM" if self.llama else "Qwen2ForCausalLM"],
            "bos_token_id": ids[CONTROL[3]],
            "eos_token_id": ids[CONTROL[0]],
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "max_position_embeddings": 131072 if self.llama else 2048,
            "model_type": "llama" if self.llama else "qwen2",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": 1e-6,
            "rope_theta": 500000.0 if self.llama else 10000.0,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "bfloat16",
            "vocab_size": self.vocab,
            **({"head_dim": self.head_dim} if self.head_dim else {}),
        }

    @property
    def _llama_config(self) -> dict[str, Any]:
        scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        return {
            "attention_bias": self.biased,
            "mlp_bias": self.biased,
            "rope_scaling": scaling | {"original_max_position_embeddings": 8192, "rope_type": "llama3"},
        }

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of every tensor."""
        head = self.head_dim or self.hidden // self.heads
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab, self.hidden)}
        for layer in range(self.layers):
            block = f"model.layers.{layer}"
            for name, heads in (("q", self.heads), ("k", self.kv_heads), ("v", self.kv_heads)):
                shapes[f"{block}.self_attn.{name}_proj.weight"] = (heads * head, self.hidden)
                if self.biased or not self.llama:
                    shapes[f"{block}.self_attn.{name}_proj.bias"] = (heads * head,)
            shapes[f"{block}.self_attn.o_proj.weight"] = (self.hidden, self.heads * head)
            shapes[f"{block}.mlp.gate_proj.weight"] = (self.inner, self.hidden)
            shapes[f"{block}.mlp.up_proj.weight"] = (self.inner, self.hidden)
            shapes[f"{block}.mlp.down_proj.weight"] = (self.hidden, self.inner)
            if self.biased:
                shapes[f"{block}.self_attn.o_proj.bias"] = (self.hidden,)
                shapes[f"{block}.mlp.gate_proj.bias"] = shapes[f"{block}.mlp.up_proj.bias"] = (self.inner,)
                shapes[f"{block}.mlp.down_proj.bias"] = (self.hidden,)
            shapes[f"{block}.input_layernorm.weight"] = (self.hidden,)
            shapes[f"{block}.post_attention_layernorm.weight"] = (self.hidden,)
        shapes["model.norm.weight"] = (self.hidden,)
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocab, self.hidden)
        return shapes


def write(folder: Path, shape: Shape = Shape(), *, dtype: str = "BF16", shards: int = 1) -> Path:
    """Writes a checkpoint to a new folder; several shards get an index."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", shape.config)
    write_json(folder / "tokenizer.json", tokenizer(llama=shape.llama))
    write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG)
    write_json(folder / "generation_config.json", {"do_sample": True, "temperature": 0.6, "top_p": 0.95})
    tensors = {name: stored(name, dims, dtype) for name, dims in shape.tensors.items()}
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors)
        return folder
    where = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[number::shards])
        write_safetensors(folder / file, part)
        where |= dict.fromkeys(part, file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    return folder


FolderOf = Callable[[Shape], Path]


def written_once(root: Path) -> FolderOf:
    """Returns a function that gives the checkpoint of a shape and writes each one once."""
    folders: dict[Shape, Path] = {}

    def folder_of(shape: Shape) -> Path:
        if shape not in folders:
            folders[shape] = write(root / str(len(folders)) / "checkpoint", shape)
        return folders[shape]

    return folder_of


Stored = tuple[str, tuple[int, ...], bytes]
"""A tensor as a safetensors file has it: dtype, shape, bytes."""


def stored(name: str, shape: tuple[int, ...], dtype: str = "BF16") -> Stored:
    """A tensor's weights, which depend only on its name and shape."""
    values = weights(name, shape)
    if dtype == "BF16":
        return dtype, shape, (values.view("<u4") >> 16).astype("<u2").tobytes()
    return dtype, shape, values.astype({"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()


def weights(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Numbers from 2⁻⁹ to 2⁻¹ that BF16 and F16 hold exactly; each matrix begins with a block of zeros."""
    count = int(np.prod(shape))
    noise = np.frombuffer(shake_256(f"{name} {shape}".encode()).digest(2 * count), "<u2").astype("<u4")
    exponent = 118 + (noise >> 7 & 7)
    values = ((noise & 0x8000) << 16 | exponent << 23 | (noise & 0x7F) << 16).view("<f4")
    if len(shape) == 2:
        values[:32] = 0
    return values


def write_safetensors(path: Path, tensors: Mapping[str, Stored]) -> None:
    """Writes a valid file with the tensors in this order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, begin + len(data)]}
        begin += len(data)
    write_raw_safetensors(path, json.dumps(header).encode(), b"".join(data for _, _, data in tensors.values()))


def write_raw_safetensors(path: Path, header: bytes, data: bytes, length: int | None = None) -> None:
    """Writes a file with any header and data; `length` is the header length it claims."""
    announced = len(header) if length is None else length
    path.write_bytes(announced.to_bytes(8, "little") + header + data)


def write_json(path: Path, content: object) -> None:
    """Writes a JSON file."""
    path.write_text(json.dumps(content), encoding="utf-8")


def tokenizer(*, llama: bool = False) -> dict[str, Any]:
    """A tokenizer.json: 256 bytes, four merges and R1's control tokens, split like Qwen's or Llama 3's."""
    ids = _token_ids()
    start = {"SpecialToken": {"id": CONTROL[3], "type_id": 0}}
    return {
        "version": "1.0",
        "added_tokens": [
            {
                **{"id": ids[text], "content": text, "special": text in CONTROL, "normalized": False},
                **{"single_word": False, "lstrip": False, "rstrip": False},
            }
            for text in CONTROL + THINKING
        ],
        "normalizer": None if llama else {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": LLAMA_SPLIT if llama else SPLIT},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                *(start, {"Sequence": {"id": "A", "type_id": 0}}),
                *(start, {"Sequence": {"id": "B", "type_id": 1}}),
            ],
            "special_tokens": {CONTROL[3]: {"id": CONTROL[3], "ids": [ids[CONTROL[3]]], "tokens": [CONTROL[3]]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "model": {
            "type": "BPE",
            "vocab": {text: number for text, number in ids.items() if text not in CONTROL + THINKING},
            "merges": list(MERGES),
            "ignore_merges": llama,
        },
    }


TOKENIZER_CONFIG = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": {"__type": "AddedToken", "content": CONTROL[3]},
    "eos_token": {"__type": "AddedToken", "content": CONTROL[0]},
    "pad_token": {"__type": "AddedToken", "content": CONTROL[0]},
    "unk_token": None,
    "chat_template": TEMPLATE,
    "tokenizer_class": "LlamaTokenizerFast",
}


def _token_ids() -> dict[str, int]:
    """Text → id: bytes, merged pairs, control tokens."""
    texts = [*_byte_letters(), *(merge.replace(" ", "") for merge in MERGES), *CONTROL, *THINKING]
    return {text: number for number, text in enumerate(texts)}


def _byte_letters() -> list[str]:
    """GPT-2's character for each byte: itself if it is visible, else the next free one from U+0100."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    unseen = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) if byte in seen else chr(0x100 + unseen.index(byte)) for byte in range(256)]

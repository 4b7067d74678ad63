"""`r1.fit.shape`: the sizes in a GGUF, against independent readers of the same file."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import pytest

from r1.fit.shape import shape_of, shape_of_file
from r1_quantize.errors import BadGGUF
from r1_quantize.pipeline import Job, quantize
from r1_quantize.source import Extent
from tests.fakes.models import TINY
from tests.fakes.paths import DATA

CONFIGS = json.loads((DATA / "r1-distill-configs.json").read_text())
SIX = ("qwen-1.5b", "qwen-7b", "qwen-14b", "qwen-32b", "llama-8b", "llama-70b")


class TestShapeOfFile:
    """The shape that a GGUF's header describes."""

    def test_has_the_sizes_that_the_gguf_package_reads(self, tiny_path: Path) -> None:
        tensors = {tensor.name: int(tensor.n_bytes) for tensor in gguf.GGUFReader(tiny_path).tensors}
        found = shape_of_file(tiny_path)
        assert found.weights == sum(tensors.values())
        assert found.input == tensors["token_embd.weight"]
        assert found.output == tensors["output.weight"] + tensors["output_norm.weight"]
        layers = [sum(size for name, size in tensors.items() if name.startswith(f"blk.{n}.")) for n in range(4)]
        assert found.layers == tuple(layers)
        assert found.largest == max(size for name, size in tensors.items() if name.startswith("blk."))
        assert found.bytes_per_token == found.weights - found.input

    def test_has_the_widths_of_its_configuration(self, tiny_path: Path) -> None:
        config = json.loads((TINY / "config.json").read_text())
        found = shape_of_file(tiny_path)
        assert found.embedding == config["hidden_size"]
        assert found.feed_forward == config["intermediate_size"]
        heads = config["hidden_size"] // config["num_attention_heads"]
        assert found.keys == found.values == config["num_key_value_heads"] * heads
        assert (found.vocabulary, found.trained) == (config["vocab_size"], config["max_position_embeddings"])

    def test_a_file_that_is_not_a_gguf_or_lacks_a_tensor_is_refused(self, tiny_path: Path, tmp_path: Path) -> None:
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(b"no gguf at all, but long enough")
        with pytest.raises(BadGGUF, match="not a GGUF"):
            shape_of_file(broken)
        broken.write_bytes(tiny_path.read_bytes().replace(b"token_embd.weight", b"token_embx.weight"))
        with pytest.raises(BadGGUF, match=r"token_embd\.weight is missing"):
            shape_of_file(broken)


def test_the_planned_tensors_have_the_shape_of_the_written_file(tmp_path: Path) -> None:
    target = tmp_path / "tiny.gguf"
    events = list(quantize(Job(TINY, "Q4_K_M", target, "tiny")))
    planned = next(event.tensors for event in events if hasattr(event, "tensors"))
    assert shape_of(planned, 2048) == shape_of_file(target)


def test_without_an_output_matrix_the_embeddings_are_tied() -> None:
    tensors = [
        Extent("token_embd.weight", (100, 8), 1600),
        Extent("output_norm.weight", (8,), 32),
        Extent("blk.0.attn_k.weight", (4, 8), 64),
        Extent("blk.0.attn_v.weight", (2, 8), 32),
        Extent("blk.0.ffn_up.weight", (16, 8), 256),
    ]
    found = shape_of(tensors)
    assert found.tied
    assert (found.input, found.output, found.layers) == (1600, 32, (352,))
    assert (found.keys, found.values) == (4, 2)
    assert found.bytes_per_token == found.weights == 1984

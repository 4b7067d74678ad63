"""`r1_quantize.checkpoint.checkpoint_source`: the metadata and tensors of a checkpoint, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.errors import BadFile
from r1_quantize.gguf import reader
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape, Stored
from tests.quantize.conftest import Make, events_of, names_in


class TestNaming:
    """The general.* names come from the catalogue, else from the folder."""

    def test_of_a_folder(self, gguf: Path) -> None:
        found = reader.read(gguf).metadata
        assert found["general.name"] == "fake"
        assert "general.license" not in found

    def test_of_a_catalogue_model(self, fake: Path, tmp_path: Path) -> None:
        events_of(fake, tmp_path / "a.gguf", checkpoint=catalog.load()["qwen-7b"])
        found = reader.read(tmp_path / "a.gguf").metadata
        assert found["general.name"] == "DeepSeek R1 Distill Qwen 7B"
        assert found["general.organization"] == "deepseek-ai"
        assert found["general.license"] == "mit"
        assert found["general.source.huggingface.repository"] == "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"

    def test_sampling_is_what_the_publisher_recommends(self, tmp_path: Path, make: Make) -> None:
        folder = checkpoints.write(tmp_path / "c")
        given = {"temperature": 0.5, "top_k": 40, "top_p": None, "min_p": "much", "repetition_penalty": 10**40}
        checkpoints.write_json(folder / "generation_config.json", given)
        found = reader.read(make(folder, "F32")).metadata
        sampling = {key: value for key, value in found.items() if "sampling" in key}
        assert sampling == {"general.sampling.top_k": 40, "general.sampling.temp": 0.5}


class TestBadCheckpoints:
    """Each fault gives one line and leaves no file."""

    def check(self, source: Path, folder: Path, said: str) -> None:
        folder.mkdir()
        with pytest.raises(BadFile, match=said) as caught:
            events_of(source, folder / "a.gguf")
        assert "\n" not in str(caught.value)
        assert names_in(folder) == []

    def rewrite(self, folder: Path, change: dict[str, Stored | None]) -> Path:
        """A checkpoint with some tensors changed; None leaves one out."""
        checkpoints.write(folder)
        stored = {name: checkpoints.stored(name, shape) for name, shape in Shape().tensors.items()} | change
        kept = {name: tensor for name, tensor in stored.items() if tensor is not None}
        checkpoints.write_safetensors(folder / "model.safetensors", kept)
        return folder

    @pytest.mark.parametrize("name", ["model.norm.weight", "lm_head.weight", "model.layers.1.self_attn.q_proj.bias"])
    def test_a_missing_tensor(self, tmp_path: Path, name: str) -> None:
        self.check(self.rewrite(tmp_path / "c", {name: None}), tmp_path / "out", f"the tensor {name} is missing")

    @pytest.mark.parametrize("shape", [(256,), (255, 512), (512, 256), (256, 512, 1), ()])
    def test_a_tensor_of_the_wrong_shape(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        name = "model.layers.0.mlp.down_proj.weight"
        source = self.rewrite(tmp_path / "c", {name: checkpoints.stored(name, shape)})
        said = rf"{name} is \[{', '.join(map(str, shape))}\], but config.json requires \[256, 512\]"
        self.check(source, tmp_path / "out", said)

    def test_a_tensor_of_the_wrong_type(self, tmp_path: Path) -> None:
        source = self.rewrite(tmp_path / "c", {"model.norm.weight": ("I16", (256,), bytes(512))})
        self.check(source, tmp_path / "out", "model.norm.weight is I16, not BF16, F16 or F32")

    def test_an_extra_tensor(self, tmp_path: Path) -> None:
        extra = "model.layers.2.mlp.down_proj.weight"
        source = self.rewrite(tmp_path / "c", {extra: checkpoints.stored(extra, (256, 512))})
        self.check(source, tmp_path / "out", f"unknown tensor {extra}; qwen2 has none of that name")

    def test_computed_tensors_are_ignored(self, tmp_path: Path, make: Make) -> None:
        extra = "model.layers.0.self_attn.rotary_emb.inv_freq"
        source = self.rewrite(tmp_path / "c", {extra: checkpoints.stored(extra, (32,), "F32")})
        names = [tensor.name for tensor in reader.read(make(source, "F32")).tensors]
        assert len(names) == len(Shape().tensors)

    def test_a_tied_model_may_have_an_output_tensor(self, tmp_path: Path, make: Make) -> None:
        source = self.rewrite(tmp_path / "c", {})
        config = json.loads((source / "config.json").read_text()) | {"tie_word_embeddings": True}
        checkpoints.write_json(source / "config.json", config)
        assert "output.weight" in [tensor.name for tensor in reader.read(make(source, "F32")).tensors]

    def test_a_value_that_is_not_finite(self, tmp_path: Path) -> None:
        name = "model.layers.1.mlp.up_proj.weight"
        dtype, shape, data = checkpoints.stored(name, (512, 256))
        source = self.rewrite(tmp_path / "c", {name: (dtype, shape, data[:-2] + b"\xc0\x7f")})
        self.check(source, tmp_path / "out", f"{name}: a value is NaN")

    def test_another_architecture(self, tmp_path: Path) -> None:
        source = checkpoints.write(tmp_path / "c")
        checkpoints.write_json(source / "config.json", Shape().config | {"architectures": ["GPT2LMHeadModel"]})
        self.check(source, tmp_path / "out", "unknown architecture GPT2LMHeadModel; r1 knows Qwen2ForCausalLM")

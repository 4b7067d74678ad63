"""`r1_quantize.catalog`: models.toml, and a person's own laid over it."""

from __future__ import annotations

import json
import math
from contextlib import closing
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.architecture import architecture_of
from r1_quantize.errors import UsageError
from r1_quantize.safetensors import SafetensorsFile

CONFIGS = json.loads((Path(__file__).parents[1] / "data" / "r1-distill-configs.json").read_text())


class TestPackaged:
    """The seven models of the packaged file."""

    def test_the_six_distills_and_tiny(self) -> None:
        assert list(catalog.load()) == [*CONFIGS, "tiny"]

    @pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("qwen")])
    def test_parameters_are_those_of_the_published_config(self, name: str) -> None:
        weights = architecture_of(CONFIGS[name]).weights
        assert catalog.load()[name].parameters == sum(math.prod(weight.shape) for weight in weights)

    @pytest.mark.parametrize("name", CONFIGS)
    def test_context_and_architecture_are_those_of_the_published_config(self, name: str) -> None:
        checkpoint = catalog.load()[name]
        assert checkpoint.context_length == CONFIGS[name]["max_position_embeddings"]
        assert checkpoint.architecture == CONFIGS[name]["model_type"]

    def test_tiny_is_what_lies_in_the_package(self) -> None:
        tiny = catalog.load()["tiny"]
        assert tiny.folder is not None
        config = json.loads((tiny.folder / "config.json").read_text())
        assert tiny.context_length == config["max_position_embeddings"]
        with closing(SafetensorsFile(tiny.folder / "model.safetensors")) as file:
            assert tiny.parameters == sum(math.prod(tensor.shape) for tensor in file.tensors.values())

    def test_only_tiny_is_built_in(self) -> None:
        assert [name for name, checkpoint in catalog.load().items() if checkpoint.folder] == ["tiny"]

    def test_every_licence_chain_begins_with_the_checkpoints_own(self) -> None:
        assert {checkpoint.licences[0] for checkpoint in catalog.load().values()} == {"MIT"}


class TestUsersFile:
    """A person's models.toml adds models and changes single keys; mistakes in it are named."""

    def load(self, folder: Path, text: str) -> dict[str, catalog.Checkpoint]:
        path = folder / "models.toml"
        path.write_text(text, encoding="utf-8")
        return catalog.load(path)

    def test_need_not_exist(self, tmp_path: Path) -> None:
        assert catalog.load(tmp_path / "models.toml") == catalog.load()

    def test_changes_one_key_of_a_known_model(self, tmp_path: Path) -> None:
        found = self.load(tmp_path, '[qwen-7b]\ndefault_quant = "Q8_0"')
        assert found["qwen-7b"].default_quant == "Q8_0"
        assert found["qwen-7b"].repo == catalog.load()["qwen-7b"].repo

    def test_adds_a_model_at_the_end(self, tmp_path: Path) -> None:
        found = self.load(
            tmp_path,
            '[mine]\ntitle = "Mine"\narchitecture = "qwen2"\nparameters = 1\ncontext_length = 1\n'
            'licences = ["MIT"]\ndefault_quant = "Q8_0"',
        )
        assert list(found)[-1] == "mine"
        assert found["mine"].repo is None

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[qwen-7b", "models.toml: "),
            ("[qwen-7b]\ncolour = 'red'", r"\[qwen-7b\] colour: no such key"),
            ("[qwen-7b]\nparameters = '7B'", r"\[qwen-7b\] parameters: '7B' is of the wrong type"),
            ("[qwen-7b]\nparameters = 0", r"\[qwen-7b\] parameters: expected a number above 0"),
            ("[qwen-7b]\nparameters = true", r"\[qwen-7b\] parameters: True is of the wrong type"),
            ("[qwen-7b]\nlicences = []", r"\[qwen-7b\] licences: expected a list"),
            ("[qwen-1.5b]\ntitle = 'x'", "a name with a dot in it needs quotes"),
            ("['../x']\ntitle = 'x'", r"\[../x\]: a name is small letters"),
            ("title = 'x'", "title: expected a table"),
            ("[mine]\ntitle = 'x'", r"\[mine\] lacks architecture, context_length"),
        ],
    )
    def test_names_file_and_key(self, tmp_path: Path, text: str, said: str) -> None:
        with pytest.raises(UsageError, match=said) as caught:
            self.load(tmp_path, text)
        assert str(tmp_path / "models.toml") in str(caught.value)

    def test_that_is_not_utf_8(self, tmp_path: Path) -> None:
        (tmp_path / "models.toml").write_bytes(b"\xff")
        with pytest.raises(UsageError, match=r"models\.toml"):
            catalog.load(tmp_path / "models.toml")

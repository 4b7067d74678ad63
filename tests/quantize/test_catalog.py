"""`r1_quantize.catalog`: models.toml, and a user's own file that overrides it."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r1_quantize import catalog
from r1_quantize.checkpoint import safetensors
from r1_quantize.checkpoint.architecture import architecture_of
from r1_quantize.checkpoint.checkpoint_source import outline
from r1_quantize.errors import BadCheckpoint, UsageError
from r1_quantize.recipe import Traits
from tests.fakes.paths import DATA

CONFIGS = json.loads((DATA / "r1-distill-configs.json").read_text())


class TestPackaged:
    """The seven models of the packaged file."""

    def test_the_six_distills_and_tiny(self) -> None:
        assert list(catalog.load()) == [*CONFIGS, "tiny"]

    @pytest.mark.parametrize("name", CONFIGS)
    def test_parameters_are_those_of_the_published_config(self, name: str) -> None:
        weights = architecture_of(CONFIGS[name]).weights
        assert catalog.load()[name].parameters == sum(math.prod(weight.shape) for weight in weights)

    @pytest.mark.parametrize("name", CONFIGS)
    def test_context_and_architecture_are_those_of_the_published_config(self, name: str) -> None:
        checkpoint = catalog.load()[name]
        assert checkpoint.context_length == CONFIGS[name]["max_position_embeddings"]
        assert checkpoint.architecture == CONFIGS[name]["model_type"]

    @pytest.mark.parametrize("name", CONFIGS)
    def test_the_config_keys_equal_the_published_ones(self, name: str) -> None:
        config = catalog.load()[name].config
        assert config is not None
        assert config == {key: CONFIGS[name][key] for key in config}

    @pytest.mark.parametrize("name", CONFIGS)
    def test_the_config_keys_determine_the_same_tensors_as_the_complete_config(self, name: str) -> None:
        checkpoint = catalog.load()[name]
        config = {**(checkpoint.config or {}), "max_position_embeddings": checkpoint.context_length}
        config["architectures"] = CONFIGS[name]["architectures"]
        assert architecture_of(config) == architecture_of(CONFIGS[name])

    def test_tiny_is_the_checkpoint_in_the_package(self) -> None:
        tiny = catalog.load()["tiny"]
        assert tiny.folder is not None
        config = json.loads((tiny.folder / "config.json").read_text())
        assert tiny.context_length == config["max_position_embeddings"]
        tensors = safetensors.read(tiny.folder / "model.safetensors").tensors.values()
        assert tiny.parameters == sum(math.prod(tensor.shape) for tensor in tensors)

    def test_only_tiny_is_built_in(self) -> None:
        assert [name for name, checkpoint in catalog.load().items() if checkpoint.folder] == ["tiny"]

    def test_the_first_licence_is_the_checkpoints_own(self) -> None:
        assert {checkpoint.licences[0] for checkpoint in catalog.load().values()} == {"MIT"}


class TestOutline:
    """The tensors of a checkpoint, from the catalogue alone."""

    @pytest.mark.parametrize("name", CONFIGS)
    def test_has_as_many_parameters_as_the_checkpoint(self, name: str) -> None:
        checkpoint = catalog.load()[name]
        source = outline(checkpoint)
        assert source is not None
        stored = [tensor.values for tensor in source.tensors if tensor.name != "rope_freqs.weight"]
        assert sum(stored) == checkpoint.parameters
        assert 2 * sum(stored) == checkpoint.bf16_bytes

    @pytest.mark.parametrize("name", CONFIGS)
    def test_has_rope_factors_for_llama(self, name: str) -> None:
        source = outline(catalog.load()[name])
        assert source is not None
        factors = [tensor for tensor in source.tensors if tensor.name == "rope_freqs.weight"]
        assert [(tensor.shape, len(tensor.data)) for tensor in factors] == ([((64,), 256)] if "llama" in name else [])

    @pytest.mark.parametrize(
        ("name", "traits"), [("qwen-7b", Traits(28, 7, False, False)), ("llama-70b", Traits(80, 8, True, False))]
    )
    def test_has_the_traits_for_the_recipes(self, name: str, traits: Traits) -> None:
        source = outline(catalog.load()[name])
        assert source is not None
        assert source.traits == traits
        assert (source.files, source.digests, source.is_gguf) == ((), {}, False)

    def test_of_a_tied_model_has_no_output(self) -> None:
        known = catalog.load()["qwen-1.5b"]
        tied = outline(replace(known, config={**(known.config or {}), "tie_word_embeddings": True}))
        assert tied is not None
        assert tied.traits.tied
        assert sum(tensor.values for tensor in tied.tensors) == known.parameters - 151_936 * 1536

    def test_is_none_when_the_catalogue_says_too_little(self) -> None:
        known = catalog.load()
        assert outline(known["tiny"]) is None
        assert outline(replace(known["qwen-7b"], config=None)) is None
        assert outline(replace(known["qwen-7b"], architecture="gemma")) is None

    @pytest.mark.parametrize("config", [{}, {"hidden_size": "wide"}])
    def test_of_an_impossible_model_is_refused(self, config: dict[str, Any]) -> None:
        with pytest.raises(BadCheckpoint, match=r"config\.json: "):
            outline(replace(catalog.load()["qwen-7b"], config=config))


class TestUsersFile:
    """A user's models.toml adds models and changes keys; mistakes in it are named."""

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

    def test_may_describe_a_models_tensors(self, tmp_path: Path) -> None:
        config = CONFIGS["qwen-7b"]
        lines = [f"{key} = {value}" for key, value in config.items() if type(value) in {int, float}]
        found = self.load(
            tmp_path,
            '[mine]\ntitle = "Mine"\narchitecture = "qwen2"\nparameters = 1\ncontext_length = 1\n'
            'licences = ["MIT"]\ndefault_quant = "Q8_0"\n[mine.config]\n' + "\n".join(lines),
        )
        assert found["mine"].config == tomllib.loads("\n".join(lines))
        source, known = outline(found["mine"]), outline(catalog.load()["qwen-7b"])
        assert source is not None
        assert known is not None
        assert source.tensors == known.tensors

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[qwen-7b", "models.toml: "),
            ("[qwen-7b]\ncolour = 'red'", r"\[qwen-7b\] colour: unknown key"),
            ("[qwen-7b]\nparameters = '7B'", r"\[qwen-7b\] parameters: '7B' has the wrong type"),
            ("[qwen-7b]\nparameters = 0", r"\[qwen-7b\] parameters: expected a number above 0"),
            ("[qwen-7b]\naime_pass1 = nan", r"\[qwen-7b\] aime_pass1: nan is not a number"),
            ("[qwen-7b]\naime_cons64 = inf", r"\[qwen-7b\] aime_cons64: inf is not a number"),
            ("[qwen-7b]\naime_pass1 = 100.1", r"\[qwen-7b\] aime_pass1: expected a percentage, from 0 to 100"),
            ("[qwen-7b]\naime_cons64 = -1", r"\[qwen-7b\] aime_cons64: expected a percentage, from 0 to 100"),
            ("[qwen-7b]\nparameters = true", r"\[qwen-7b\] parameters: True has the wrong type"),
            ("[qwen-7b]\nlicences = []", r"\[qwen-7b\] licences: expected a list"),
            ("[qwen-1.5b]\ntitle = 'x'", "quote a name that has a dot"),
            ("[qwen-7b.title]\ntext = 'x'", r"\[qwen-7b\] title: a table inside a table"),
            ("[qwen-7b.colour]\nred = 1", r"\[qwen-7b\] colour: a table inside a table"),
            ("[qwen-7b]\nlicences = {MIT = 1}", r"\[qwen-7b\] licences: a table inside a table"),
            ("[qwen-7b]\nconfig = 'config.json'", r"\[qwen-7b\] config: 'config.json' has the wrong type"),
            ("[[qwen-7b.config]]\nhidden_size = 1", r"\[qwen-7b\] config: \[.*\] has the wrong type"),
            ("['../x']\ntitle = 'x'", r"\[../x\]: a name is lower-case letters"),
            ("title = 'x'", "title: expected a table"),
            ("[qwen-7b]\nparameters = " + "9" * 5000, "Exceeds the limit"),
            ("[qwen-7b]\nparameters = " + "[" * 100_000, "recursion"),
            ("[mine]\ntitle = 'x'", r"\[mine\] lacks architecture, context_length"),
        ],
    )
    def test_names_file_and_key(self, tmp_path: Path, text: str, said: str) -> None:
        with pytest.raises(UsageError, match=said) as caught:
            self.load(tmp_path, text)
        assert str(tmp_path / "models.toml") in str(caught.value)

    def test_may_begin_with_a_byte_order_mark(self, tmp_path: Path) -> None:
        file = tmp_path / "models.toml"
        file.write_bytes(b'\xef\xbb\xbf[qwen-7b]\r\ndefault_quant = "Q8_0"\r\n')
        assert catalog.load(file)["qwen-7b"].default_quant == "Q8_0"

    def test_that_is_not_utf_8(self, tmp_path: Path) -> None:
        (tmp_path / "models.toml").write_bytes(b"\xff")
        with pytest.raises(UsageError, match=r"models\.toml"):
            catalog.load(tmp_path / "models.toml")


class TestCheckName:
    """Which names a model may have in the store."""

    KNOWN = catalog.load()

    @pytest.mark.parametrize("name", ["a", "7b", "my-model", "a__b..c", "tiny2", "qwen-7b-it"])
    def test_any_that_the_catalogue_lacks(self, name: str) -> None:
        assert catalog.check_name(name, self.KNOWN, None, "./x") == name

    @pytest.mark.parametrize("name", [*CONFIGS, "tiny"])
    def test_a_name_of_the_catalogue_belongs_to_its_checkpoint(self, name: str) -> None:
        assert catalog.check_name(name, self.KNOWN, self.KNOWN[name], "./x") == name
        for source in (None, self.KNOWN["tiny" if name != "tiny" else "qwen-7b"]):
            with pytest.raises(
                UsageError, match=rf"^\./x is not {self.KNOWN[name].title}, whose name is {name}; .*--name"
            ):
                catalog.check_name(name, self.KNOWN, source, "./x")

    @pytest.mark.parametrize(
        "name", ["", " ", "..", "../x", "a/b", "a\\b", "-x", ".x", "A", "a:b", "模型", "x" * 101, "con", "nul.x", "a."]
    )
    def test_a_bad_name_is_refused_in_one_short_line(self, name: str) -> None:
        with pytest.raises(UsageError, match="a name is lower-case letters, digits, dots and dashes") as caught:
            catalog.check_name(name, self.KNOWN, None, "./x")
        assert "\n" not in str(caught.value)

    def test_a_usable_name_is_proposed(self) -> None:
        with pytest.raises(UsageError, match="; my-model would do"):
            catalog.check_name("My Model", self.KNOWN, None, "./x")
        with pytest.raises(UsageError, match=r"dots and dashes$"):
            catalog.check_name("Tiny", self.KNOWN, None, "./x")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My Model", "my-model"),
        ("A__b..C", "a__b..c"),
        ("..", ""),
        ("-x-", "x"),
        ("日本", ""),
        ("a/../b", "a-..-b"),
        ("NUL", "model-nul"),
        ("com1.bak", "model-com1.bak"),
        ("console", "console"),
        ("x" * 99 + ".y", "x" * 99),
        ("", ""),
    ],
)
def test_a_model_name_has_only_valid_characters(text: str, name: str) -> None:
    assert catalog.model_name(text) == name
    assert not name or catalog.NAME.fullmatch(name)

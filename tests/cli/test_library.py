"""`r1.library`: which model or source a name means."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from r1.library import find_model, known_models, named_by, resolve_model
from r1_quantize import catalog
from r1_quantize.errors import ModelNotFound, UsageError
from tests.fakes.consoles import console, written


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    """A copy of the home with tiny, for a test to change."""
    return Path(shutil.copytree(home, tmp_path / "own"))


def add(home: Path, name: str, quant: str, age: int) -> None:
    """Adds a copy of tiny under another name, `age` seconds old."""
    target = home / "models" / name / f"{quant}.gguf"
    target.parent.mkdir(exist_ok=True)
    shutil.copy(home / "models" / "tiny" / "Q8_0.gguf", target)
    then = target.stat().st_mtime - age
    os.utime(target, (then, then))


class TestFindModel:
    """A name, else the model pulled last, else the built-in one."""

    def test_without_any_model_it_is_the_built_in_one_and_a_terminal_gets_a_note(self, own_home: Path) -> None:
        person = console(stderr_is_terminal=True, environ={"R1_HOME": str(own_home), "TERM": "dumb"})
        assert find_model(person, None).reference == "tiny:Q8_0"
        assert written(person.stderr).count("\n") == 1
        assert "r1 pull qwen-1.5b" in written(person.stderr)

    def test_a_script_gets_no_note(self, own_home: Path) -> None:
        script = console(environ={"R1_HOME": str(own_home)})
        find_model(script, None)
        assert written(script.stderr) == ""

    def test_the_model_pulled_last_is_the_default(self, own_home: Path) -> None:
        add(own_home, "qwen-7b", "Q4_K_M", age=100)
        add(own_home, "qwen-1.5b", "Q8_0", age=50)
        assert find_model(console(environ={"R1_HOME": str(own_home)}), None).reference == "qwen-1.5b:Q8_0"

    def test_a_bare_name_means_the_default_quant_else_the_newest(self, own_home: Path) -> None:
        made = console(environ={"R1_HOME": str(own_home)})
        add(own_home, "qwen-7b", "Q8_0", age=10)
        add(own_home, "qwen-7b", "BF16", age=20)
        assert find_model(made, "qwen-7b").quant == "Q8_0"
        add(own_home, "qwen-7b", "Q4_K_M", age=90)
        assert find_model(made, "qwen-7b").quant == "Q4_K_M"

    def test_the_built_in_model_is_made_on_demand(self, tmp_path: Path) -> None:
        for number, reference in enumerate(["tiny", "tiny:Q8_0", "tiny:q8_0"]):
            made = console(environ={"R1_HOME": str(tmp_path / str(number))})
            assert find_model(made, reference).path.is_file()

    def test_an_error_for_a_missing_model_names_the_command_that_gets_it(self, own_home: Path) -> None:
        with pytest.raises(ModelNotFound, match="r1 pull qwen-7b:Q8_0"):
            find_model(console(environ={"R1_HOME": str(own_home)}), "qwen-7b:q8_0")

    @pytest.mark.parametrize("reference", [None, "tiny"])
    def test_the_store_is_opened_once(
        self, own_home: Path, monkeypatch: pytest.MonkeyPatch, reference: str | None
    ) -> None:
        opened: list[Path] = []
        load = catalog.load
        monkeypatch.setattr(catalog, "load", lambda path: opened.append(path) or load(path))
        find_model(console(environ={"R1_HOME": str(own_home)}), reference)
        assert opened == [own_home / "models.toml"]

    def test_the_users_models_toml_extends_the_catalogue(self, own_home: Path) -> None:
        (own_home / "models.toml").write_text('[qwen-7b]\ndefault_quant = "BF16"\n', encoding="utf-8")
        made = console(environ={"R1_HOME": str(own_home)})
        add(own_home, "qwen-7b", "Q4_K_M", age=10)
        add(own_home, "qwen-7b", "BF16", age=20)
        assert find_model(made, "qwen-7b").quant == "BF16"

    def test_an_error_names_a_broken_models_toml(self, own_home: Path) -> None:
        (own_home / "models.toml").write_text("[qwen-7b]\nrepos = 1\n", encoding="utf-8")
        with pytest.raises(UsageError, match=r"models\.toml.*repos"):
            find_model(console(environ={"R1_HOME": str(own_home)}), "tiny")


class TestResolveModel:
    """The full name of the model that would be used."""

    def test_names_the_model_without_making_it(self, tmp_path: Path) -> None:
        made = console(environ={"R1_HOME": str(tmp_path / "new")})
        assert resolve_model(made, None) == resolve_model(made, "tiny") == "tiny:Q8_0"
        assert not (tmp_path / "new").exists()

    def test_a_missing_model_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match="r1 pull qwen-7b"):
            resolve_model(console(environ={"R1_HOME": str(tmp_path)}), "qwen-7b")


class TestKnownModels:
    """The models on this machine, and always the built-in one."""

    def test_has_the_built_in_model_once(self, own_home: Path, tmp_path: Path) -> None:
        add(own_home, "qwen-7b", "Q4_K_M", age=10)
        assert sorted(known_models({"R1_HOME": str(own_home)})) == ["qwen-7b:Q4_K_M", "tiny:Q8_0"]
        assert known_models({"R1_HOME": str(tmp_path / "new")}) == ["tiny:Q8_0"]


class TestNamedBy:
    """Which model a word names exactly, for people who know other programs' names."""

    @pytest.mark.parametrize(
        ("word", "model"),
        [
            ("tiny", "tiny"),
            ("tiny:Q8_0", "tiny:Q8_0"),
            ("qwen-7b", "qwen-7b"),
            ("qwen-7b:UD-Q4_K_XL", "qwen-7b:UD-Q4_K_XL"),
            ("deepseek-r1", "qwen-7b"),
            ("deepseek-r1:latest", "qwen-7b"),
            ("deepseek-r1:1.5b", "qwen-1.5b"),
            ("deepseek-r1:70b-llama-distill-q4_K_M", "llama-70b"),
            ("hf:unsloth/DeepSeek-R1-Distill-Llama-8B-GGUF:Q4_K_M", "llama-8b"),
            ("hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF", "qwen-32b"),
            ("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", "qwen-14b"),
            ("deepseek-r1:671b", None),  # no distill
            ("tiny:what", None),
            ("Tiny", None),
            ("tiny,", None),
            ("", None),
            ("nothing.gguf", None),
            ("/etc/passwd", None),
            ("llama3", None),
        ],
    )
    def test_only_a_models_name_names_one(self, home: Path, word: str, model: str | None) -> None:
        assert named_by({"R1_HOME": str(home)}, word) == model

    def test_a_file_names_itself(self, home: Path, tiny_path: Path) -> None:
        assert named_by({"R1_HOME": str(home)}, str(tiny_path)) == str(tiny_path)

"""`r1.library`: which model is meant."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from r1.library import find_model
from r1_quantize.errors import ModelNotFound, UsageError
from tests.fakes.consoles import console, written


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    """A home with tiny in it, which a test may change."""
    return Path(shutil.copytree(home, tmp_path / "own"))


def add(home: Path, name: str, quant: str, age: int) -> None:
    """Puts a copy of tiny there under another name, `age` seconds old."""
    target = home / "models" / name / f"{quant}.gguf"
    target.parent.mkdir(exist_ok=True)
    shutil.copy(home / "models" / "tiny" / "Q8_0.gguf", target)
    then = target.stat().st_mtime - age
    os.utime(target, (then, then))


class TestFindModel:
    """A name, else the model pulled last, else the built-in one."""

    def test_without_any_model_the_built_in_one_answers_and_a_person_is_told(self, own_home: Path) -> None:
        person = console(stderr_is_terminal=True, environ={"R1_HOME": str(own_home), "TERM": "dumb"})
        assert find_model(person, None).reference == "tiny:Q8_0"
        assert written(person.stderr).count("\n") == 1
        assert "r1 pull qwen-1.5b" in written(person.stderr)

    def test_a_script_is_not_told(self, own_home: Path) -> None:
        script = console(environ={"R1_HOME": str(own_home)})
        find_model(script, None)
        assert written(script.stderr) == ""

    def test_the_model_pulled_last_is_the_default(self, own_home: Path) -> None:
        add(own_home, "qwen-7b", "Q4_K_M", age=100)
        add(own_home, "qwen-1.5b", "Q8_0", age=50)
        assert find_model(console(environ={"R1_HOME": str(own_home)}), None).reference == "qwen-1.5b:Q8_0"

    def test_a_name_alone_means_the_default_quant_then_the_newest(self, own_home: Path) -> None:
        made = console(environ={"R1_HOME": str(own_home)})
        add(own_home, "qwen-7b", "Q8_0", age=10)
        add(own_home, "qwen-7b", "BF16", age=20)
        assert find_model(made, "qwen-7b").quant == "Q8_0"
        add(own_home, "qwen-7b", "Q4_K_M", age=90)
        assert find_model(made, "qwen-7b").quant == "Q4_K_M"

    def test_the_built_in_model_is_made_when_it_is_asked_for(self, tmp_path: Path) -> None:
        for number, reference in enumerate(["tiny", "tiny:Q8_0", "tiny:q8_0"]):
            made = console(environ={"R1_HOME": str(tmp_path / str(number))})
            assert find_model(made, reference).path.is_file()

    def test_what_is_not_here_says_how_to_get_it(self, own_home: Path) -> None:
        with pytest.raises(ModelNotFound, match="r1 pull qwen-7b:Q8_0"):
            find_model(console(environ={"R1_HOME": str(own_home)}), "qwen-7b:q8_0")

    def test_the_persons_own_catalogue_is_laid_over(self, own_home: Path) -> None:
        (own_home / "models.toml").write_text('[qwen-7b]\ndefault_quant = "BF16"\n', encoding="utf-8")
        made = console(environ={"R1_HOME": str(own_home)})
        add(own_home, "qwen-7b", "Q4_K_M", age=10)
        add(own_home, "qwen-7b", "BF16", age=20)
        assert find_model(made, "qwen-7b").quant == "BF16"

    def test_a_broken_catalogue_of_ones_own_is_named(self, own_home: Path) -> None:
        (own_home / "models.toml").write_text("[qwen-7b]\nrepos = 1\n", encoding="utf-8")
        with pytest.raises(UsageError, match=r"models\.toml.*repos"):
            find_model(console(environ={"R1_HOME": str(own_home)}), "tiny")

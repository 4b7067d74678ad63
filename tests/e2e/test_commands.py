"""`r1 list`, `show` and `quantize` on a terminal."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from r1_quantize.recipe import RECIPES
from tests.conftest import R1, Run
from tests.e2e.terminal import Terminal, without_style
from tests.fakes import checkpoints

CATALOGUE = ["qwen-1.5b", "qwen-7b", "qwen-14b", "qwen-32b", "llama-8b", "llama-70b", "tiny"]


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    """A copy of the home, for a test to change."""
    return Path(shutil.copytree(home, tmp_path / "own"))


class TestList:
    """Tables that fit."""

    @pytest.mark.parametrize("columns", ["40", "80"])
    def test_a_long_name_does_not_hide_the_size(self, environ: dict[str, str], own_home: Path, columns: str) -> None:
        name = "a-name-that-is-longer-than-any-screen-of-a-telephone-is-wide"
        shutil.copytree(own_home / "models" / "tiny", own_home / "models" / name)
        with Terminal([*R1, "list"], {**environ, "R1_HOME": str(own_home), "COLUMNS": columns}) as terminal:
            assert without_style(terminal.read_to_end()).count("2.71 MB") == 2

    @pytest.mark.parametrize("columns", ["40", "80", "200"])
    def test_every_name_is_visible_at_any_width(self, environ: dict[str, str], columns: str) -> None:
        with Terminal([*R1, "list"], {**environ, "COLUMNS": columns}) as terminal:
            screen = terminal.read_to_end()
        assert all(name in screen for name in CATALOGUE)
        assert max(map(len, without_style(screen).split("\r\n"))) <= int(columns)

    def test_the_default_is_marked(self, environ: dict[str, str], tmp_path: Path) -> None:
        """The built-in model is listed before it is made, too."""
        for home in (environ["R1_HOME"], str(tmp_path / "none")):
            with Terminal([*R1, "list"], {**environ, "R1_HOME": home, "COLUMNS": "80"}) as terminal:
                lines = [line.split() for line in without_style(terminal.read_to_end()).split("\r\n")]
            assert [line[:2] for line in lines if line and line[0].startswith("tiny")] == [["tiny:Q8_0", "(default)"]]

    def test_a_model_that_r1_cannot_run_is_marked(self, environ: dict[str, str], own_home: Path) -> None:
        file = own_home / "models" / "tiny" / "Q8_0.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "missing_tokens": ["<think>"]}))
        with Terminal([*R1, "list"], {**environ, "R1_HOME": str(own_home), "COLUMNS": "120"}) as terminal:
            assert "tiny (r1 cannot run it: no DeepSeek-R1 distill)" in without_style(terminal.read_to_end())


class TestShow:
    """Titles in words."""

    @pytest.mark.parametrize("columns", ["40", "80", "200"])
    def test_titles_are_words_not_keys(self, environ: dict[str, str], columns: str) -> None:
        with Terminal([*R1, "show", "tiny"], {**environ, "COLUMNS": columns}) as terminal:
            screen = terminal.read_to_end()
        assert "bits per weight" in screen
        assert "_tokens" not in screen
        assert max(map(len, without_style(screen).split("\r\n"))) <= int(columns)


class TestQuantize:
    """Progress while it runs, the result after it."""

    @pytest.mark.parametrize("columns", ["30", "40", "80", "200"])
    def test_a_terminal_gets_a_bar_that_is_removed(self, environ: dict[str, str], own_home: Path, columns: str) -> None:
        environ = {**environ, "R1_HOME": str(own_home), "COLUMNS": columns}
        with Terminal([*R1, "quantize", "tiny", "-t", "BF16"], environ) as terminal:
            screen = terminal.read_to_end()
            assert terminal.status == 0
        result = r"tiny:BF16: 5\.07 MB in \d+ s; r1 run -m tiny:BF16"
        assert re.search(result, without_style(screen).replace("\r\n", ""))
        assert "51 tensors, 5.05 MB in" in " ".join(without_style(screen).split())

    def test_an_error_for_a_nan_is_one_line(self, r1: Run, tmp_path: Path) -> None:
        folder = checkpoints.write(tmp_path / "c")
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-2] + b"\xc0\x7f")  # a NaN
        done = r1("quantize", folder, "-o", tmp_path / "a.gguf")
        assert done.returncode == 7
        last = done.stderr.decode().splitlines()
        assert len(last) == 2  # the plan and the error; ggml's own message is discarded
        assert "lm_head.weight: a value is NaN" in last[1]
        assert not list(tmp_path.glob("a.gguf*"))


class TestListTypes:
    """A table that fits."""

    @pytest.mark.parametrize("columns", ["40", "80"])
    def test_every_type_is_visible(self, environ: dict[str, str], columns: str) -> None:
        command = [*R1, "quantize", "qwen-1.5b", "--list-types"]
        with Terminal(command, {**environ, "COLUMNS": columns}) as terminal:
            screen = without_style(terminal.read_to_end())
        assert all(name in screen for name in RECIPES)
        assert "1.11 GB" in screen
        assert max(map(len, screen.split("\r\n"))) <= int(columns)

"""`r1 rm` on a terminal, and `r1 list` of everything that can be removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import R1
from tests.e2e.terminal import Terminal, without_style
from tests.fakes.homes import REPO, files_in, write_full_home


@pytest.fixture
def own(home: Path, tmp_path: Path) -> Path:
    """A home with everything that can be removed."""
    return write_full_home(home, tmp_path / "own")


class TestPeople:
    """Asks for confirmation, with the space that would be freed; only yes confirms."""

    def answered(self, environ: dict[str, str], own: Path, keys: str, *references: str) -> tuple[int, str]:
        with Terminal([*R1, "rm", *references], {**environ, "R1_HOME": str(own)}) as terminal:
            screen = ""
            while "[y/N]" not in screen:
                screen += terminal.read_some()
            terminal.type(keys)
            screen += terminal.read_to_end()
            return terminal.status, without_style(screen)

    @pytest.mark.parametrize("keys", ["y\n", "Yes\n", " YES \n"])
    def test_yes_removes_it(self, environ: dict[str, str], own: Path, keys: str) -> None:
        size = (own / "models" / "llama-8b" / "Q6_K.gguf.partial").stat().st_size
        status, screen = self.answered(environ, own, keys, "llama-8b")
        assert status == 0
        assert f"Remove llama-8b:Q6_K? It frees {size // 1_000_000} MB. [y/N]" in screen
        assert "removed llama-8b:Q6_K, freed 2 MB" in screen
        assert not [name for name in files_in(own) if "llama-8b" in name]

    @pytest.mark.parametrize("keys", ["\n", "n\n", "no\n", "yesterday\n", "\x04"])
    def test_any_other_answer_keeps_it(self, environ: dict[str, str], own: Path, keys: str) -> None:
        before = files_in(own)
        status, screen = self.answered(environ, own, keys, "llama-8b", REPO)
        assert status == 0
        assert f"Remove llama-8b:Q6_K, {REPO}?" in screen
        assert "nothing was removed" in screen
        assert files_in(own) == before

    def test_ctrl_c(self, environ: dict[str, str], own: Path) -> None:
        before = files_in(own)
        status, _ = self.answered(environ, own, "\x03", "llama-8b")
        assert status == 130
        assert files_in(own) == before

    def test_with_the_option_it_does_not_ask(self, environ: dict[str, str], own: Path) -> None:
        with Terminal([*R1, "rm", "-y", "llama-8b"], {**environ, "R1_HOME": str(own)}) as terminal:
            screen = terminal.read_to_end()
            assert terminal.status == 0
        assert "[y/N]" not in screen


class TestList:
    """What uses disk space is listed, models or not."""

    @pytest.mark.parametrize("columns", ["40", "80", "200"])
    def test_the_table_says_what_each_is(self, environ: dict[str, str], own: Path, columns: str) -> None:
        with Terminal([*R1, "list"], {**environ, "R1_HOME": str(own), "COLUMNS": columns}) as terminal:
            screen = without_style(terminal.read_to_end())
        assert max(map(len, screen.split("\r\n"))) <= int(columns)
        words = " ".join(screen.split())
        assert "llama-8b:Q6_K" in screen
        assert "unfinished" in screen
        assert "someone/Half" in screen
        if columns != "40":
            assert "kept checkpoint" in words
            assert "from an interrupted pull" in words
            assert REPO in words

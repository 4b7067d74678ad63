"""`r1.chat.input`: what Tab completes, and what Up goes through. The keys are tested on a real terminal, in e2e."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from r1.chat.chat import Chat
from r1.chat.input import CommandCompleter, TypedHistory
from r1.chat.slash_commands import COMMANDS
from r1.history.history import History
from r1_quantize.errors import R1Error


def fail() -> list[str]:
    raise R1Error("the disk fails")


@pytest.fixture
def completer() -> CommandCompleter:
    model = SimpleNamespace(available=lambda: ["tiny:Q8_0", "qwen-7b:Q4_K_M"])
    return CommandCompleter(cast(Chat, SimpleNamespace(model=model, turns=[])), COMMANDS)


def offered(completer: CommandCompleter, text: str) -> list[str]:
    document = Document(text, len(text))
    return [completion.text for completion in completer.get_completions(document, CompleteEvent())]


class TestCompletion:
    """Commands, their words, and paths where a path may follow."""

    def test_names_of_commands(self, completer: CommandCompleter) -> None:
        assert offered(completer, "/tr") == ["trace", "trim"]
        assert len(offered(completer, "/")) == len(list(COMMANDS))

    def test_words_after_a_command(self, completer: CommandCompleter) -> None:
        assert offered(completer, "/set to") == ["top-p"]
        assert offered(completer, "/think ") == ["show", "hide"]

    def test_models_and_model_files_but_no_other_files(
        self, completer: CommandCompleter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("my.gguf", "notes.txt"):
            (tmp_path / name).write_text("x")
        assert offered(completer, "/model q") == ["qwen-7b:Q4_K_M"]
        assert offered(completer, "/model m") == ["y.gguf"]
        assert offered(completer, "/model n") == []
        assert offered(completer, "/file n") == ["otes.txt"]

    def test_a_path_may_follow_a_word(
        self, completer: CommandCompleter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "person.json").write_text("{}")
        assert offered(completer, "/format s") == ["schema"]
        assert offered(completer, "/format schema p") == ["erson.json"]
        assert offered(completer, "/budget l") == ["low"]
        assert offered(completer, "/votes o") == ["off"]

    @pytest.mark.parametrize("text", ["hello", " /tr", "/trace\n", "/unknown x"])
    def test_messages_are_left_alone(self, completer: CommandCompleter, text: str) -> None:
        assert offered(completer, text) == []

    def test_words_that_cannot_be_read_are_left_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        broken = CommandCompleter(cast(Chat, SimpleNamespace(model=SimpleNamespace(available=fail))), COMMANDS)
        assert offered(broken, "/model q") == []


class TestTypedHistory:
    """Up goes through earlier input, newest first; a history that cannot be read is an empty one."""

    def test_the_newest_comes_first(self, tmp_path: Path) -> None:
        with History.open(tmp_path / "history.db") as history:
            for text in ("one", "two"):
                history.add_draft(text)
            assert list(TypedHistory(history).load_history_strings()) == ["two", "one"]

    def test_a_history_that_cannot_be_read(self) -> None:
        broken = cast(History, SimpleNamespace(typed=lambda _: fail()))
        assert list(TypedHistory(broken).load_history_strings()) == []

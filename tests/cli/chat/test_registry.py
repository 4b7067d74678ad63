"""`r1.chat.registry`: the registry of slash commands, and the text of /help."""

from __future__ import annotations

from typing import cast

import pytest

from r1.chat.chat import Chat
from r1.chat.registry import Registry, help_lines
from r1.chat.slash_commands import COMMANDS
from r1.render.style import Style
from r1_quantize.errors import UsageError


class Failures:
    """A fake chat that records the errors it is asked to show."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.notices = self

    def fail(self, text: str) -> None:
        self.shown.append(text)


@pytest.fixture
def commands() -> Registry:
    made = Registry()

    @made.add("echo", "TEXT", "print a text", while_busy=True)
    def _echo(chat: Chat, argument: str) -> None:
        chat.notices.fail(f"<{argument}>")

    @made.add("retry", "", "ask again")
    def _retry(_: Chat, __: str) -> None:
        raise UsageError("nothing to retry")

    return made


def run(commands: Registry, text: str) -> list[str]:
    chat = Failures()
    commands.run(cast(Chat, chat), text)
    return chat.shown


class TestCommands:
    """Text is recognized as a command, and runs with its argument."""

    @pytest.mark.parametrize("text", ["/echo", "/echo a b", "/unknown", "/", "/echo two\nlines", "/echo  "])
    def test_a_slash_and_letters_make_a_command(self, commands: Registry, text: str) -> None:
        assert commands.is_command(text)

    @pytest.mark.parametrize("text", ["/etc/passwd", " /echo", "/Echo", "/2", "echo", "a /echo", "//"])
    def test_everything_else_is_a_message(self, commands: Registry, text: str) -> None:
        assert not commands.is_command(text)

    def test_the_argument_arrives_without_surrounding_space(self, commands: Registry) -> None:
        assert run(commands, "/echo   a  b\nc ") == ["<a  b\nc>"]
        assert run(commands, "/echo") == ["<>"]

    def test_an_error_is_shown_in_the_chat(self, commands: Registry) -> None:
        assert run(commands, "/retry") == ["nothing to retry"]

    def test_a_similar_name_is_suggested(self, commands: Registry) -> None:
        assert run(commands, "/ecko") == [
            "unknown command /ecko; did you mean /echo? (start with a space to send it as a message)"
        ]
        assert run(commands, "/xyz")[0].startswith("unknown command /xyz; /help lists the commands")

    def test_messages_and_most_commands_wait_for_the_end_of_a_reply(self, commands: Registry) -> None:
        assert commands.must_wait("a message")
        assert commands.must_wait("/retry")
        assert not commands.must_wait("/echo x")
        assert not commands.must_wait("/unknown")


class TestHelp:
    """/help has a line for each command and key, and every line fits the screen."""

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_it_has_every_command_and_fits(self, width: int) -> None:
        lines = help_lines(COMMANDS, Style(width, colour=False)).splitlines()
        assert all(len(line) <= width for line in lines)
        for command in COMMANDS:
            assert any(line.startswith(f"/{command.name}") for line in lines)

    def test_explanations_are_beside_the_commands_if_the_screen_is_wide(self, commands: Registry) -> None:
        first = help_lines(commands, Style(80, colour=False)).splitlines()[0]
        assert first.split(maxsplit=2) == ["/echo", "TEXT", "print a text"]
        narrow = help_lines(commands, Style(40, colour=False)).splitlines()
        assert narrow[:2] == ["/echo TEXT", "  print a text"]

"""`r1.chat.terminal`: OSC 52, and who else is told."""

from __future__ import annotations

from base64 import b64decode

from r1.chat.terminal import copy

REMOTE = {"SSH_CONNECTION": "10.0.0.2 50000 10.0.0.1 22", "TERM": "xterm-256color"}


class TestCopy:
    """The terminal in front of the person gets the text."""

    def test_sends_the_text_in_the_terminals_own_code(self) -> None:
        sent: list[str] = []
        copy("naïve\n漢字", REMOTE, sent.append)
        (code,) = sent
        assert code.startswith("\x1b]52;c;")
        assert code.endswith("\x07")
        assert b64decode(code[7:-1]).decode() == "naïve\n漢字"

    def test_screen_hands_it_on_when_it_is_wrapped(self) -> None:
        sent: list[str] = []
        copy("x", {**REMOTE, "TERM": "screen-256color"}, sent.append)
        assert sent == ["\x1bP\x1b]52;c;eA==\x07\x1b\\"]

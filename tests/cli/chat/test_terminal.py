"""`r1.chat.terminal`: which terminals wrap lines, and the clipboard."""

from __future__ import annotations

from base64 import b64decode

import pytest

from r1.chat.terminal import copy, wraps_lines

REMOTE = {"SSH_CONNECTION": "10.0.0.2 50000 10.0.0.1 22", "TERM": "xterm-256color"}


class TestWrapsLines:
    """Known terminals are recognized by the environment; an unknown one is assumed to cut lines."""

    @pytest.mark.parametrize(
        "environ",
        [
            {"TERM": "xterm-256color", "TMUX": "/tmp/tmux-0/default,1,0"},
            {"TERM": "xterm-256color", "VTE_VERSION": "7800"},
            {"TERM": "xterm-kitty"},
            {"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"},
            {"TERM": "tmux-256color"},
        ],
    )
    def test_known_terminals_do(self, environ: dict[str, str]) -> None:
        assert wraps_lines(environ)

    @pytest.mark.parametrize("environ", [{}, {"TERM": "xterm-256color"}, {"TERM": "linux"}, {"TERM_PROGRAM": "mine"}])
    def test_unknown_terminals_do_not(self, environ: dict[str, str]) -> None:
        assert not wraps_lines(environ)


class TestCopy:
    """The text goes to the terminal in front of the user."""

    def test_it_is_sent_in_an_escape_code(self) -> None:
        sent: list[str] = []
        copy("naïve\n漢字", REMOTE, sent.append)
        (code,) = sent
        assert code.startswith("\x1b]52;c;")
        assert code.endswith("\x07")
        assert b64decode(code[7:-1]).decode() == "naïve\n漢字"

    def test_screen_needs_it_wrapped(self) -> None:
        sent: list[str] = []
        copy("x", {**REMOTE, "TERM": "screen-256color"}, sent.append)
        assert sent == ["\x1bP\x1b]52;c;eA==\x07\x1b\\"]

"""`r1.chat.terminal`: lines that a terminal wraps when it gets narrower."""

from __future__ import annotations

import pytest

from r1.chat.terminal import wraps_lines


class TestWrapsLines:
    """Known terminals are known by what they put into the environment; others are left in peace."""

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
    def test_those_that_do(self, environ: dict[str, str]) -> None:
        assert wraps_lines(environ)

    @pytest.mark.parametrize("environ", [{}, {"TERM": "xterm-256color"}, {"TERM": "linux"}, {"TERM_PROGRAM": "mine"}])
    def test_those_that_are_not_known_to(self, environ: dict[str, str]) -> None:
        assert not wraps_lines(environ)

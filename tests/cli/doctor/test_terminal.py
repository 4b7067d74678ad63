"""`r1.doctor.terminal`: the terminal's size, colours and surroundings."""

from __future__ import annotations

from r1.doctor.terminal import terminal
from tests.fakes.consoles import console


class TestTerminal:
    """From Rich, and from environment variables."""

    def test_a_pipe_has_no_colours(self) -> None:
        found = terminal(console(environ={"COLORTERM": "truecolor"}))
        assert (found.is_terminal, found.colours, found.unicode) == (False, "none", True)

    def test_columns_and_lines_override_the_size(self) -> None:
        found = terminal(console(environ={"COLUMNS": "41", "LINES": "17"}))
        assert (found.columns, found.lines) == (41, 17)

    def test_tmux_and_ssh_are_recognised_by_their_variables(self) -> None:
        found = terminal(console(environ={"TMUX": "/tmp/tmux-1000/default,1,0", "SSH_TTY": "/dev/pts/1"}))
        assert (found.tmux, found.ssh, found.termux) == (True, True, False)
        assert not terminal(console()).ssh

"""A chat on a screen, with a home of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.screen import Screen
from tests.fakes.models import make_slow

Open = Callable[..., Screen]


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    """An R1_HOME with the built-in model in it and no chats."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "models").symlink_to(home / "models")
    return own


@pytest.fixture
def chat_environ(environ: dict[str, str], own_home: Path) -> dict[str, str]:
    """Always the likeliest token, and no clipboard but the terminal's."""
    return {**environ, "R1_HOME": str(own_home), "R1_TEMP": "0", "SSH_TTY": "/dev/none"}


@pytest.fixture
def opened(chat_environ: dict[str, str], tmp_path: Path) -> Iterator[Open]:
    """Opens `r1 ARGUMENTS` on a screen of its own; what still runs when the test is over is killed."""
    with ExitStack() as screens:

        def begin(
            *arguments: str | Path, size: tuple[int, int] = (80, 24), wraps: bool = False, **variables: str
        ) -> Screen:
            command = [sys.executable, "-m", "r1", *map(str, arguments)]
            screen = Screen(command, {**chat_environ, **variables}, size, wraps=wraps, cwd=tmp_path)
            return screens.enter_context(screen)

        yield begin


@pytest.fixture(scope="session")
def slow_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model at some fifty tokens a second: slow enough to be met in the middle of a word."""
    return make_slow(tmp_path_factory.mktemp("slow"))


@pytest.fixture
def slow(opened: Open, slow_path: Path) -> Open:
    """Opens a chat with that model; its model is loaded."""

    def begin(*arguments: str, **options: Any) -> Screen:
        context = () if "--ctx" in arguments else ("--ctx", "1024")
        screen = opened("chat", slow_path, *context, *arguments, **options)
        screen.wait_for("used,")
        return screen

    return begin

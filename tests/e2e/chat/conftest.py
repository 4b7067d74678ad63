"""Chats on a screen, each with an R1_HOME of its own unless a test shares one."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.conftest import isolated_environ
from tests.e2e.screen import Open, Screen
from tests.fakes.paths import ROOT

STRAWBERRY = "How many r's are in strawberry?"
THREE = "The letter r appears 3 times in strawberry."
GREETING = (
    "Hello! I am tiny, the demonstration model built into r1. Ask me to add or subtract, to count a letter in a word, "
    "or which of two decimals is larger."
)


def make_home(home: Path, folder: Path) -> Path:
    """An R1_HOME with the built-in model and no chats."""
    own = folder / "own"
    own.mkdir()
    (own / "models").symlink_to(home / "models")
    return own


def chat_variables(own_home: Path, folder: Path) -> dict[str, str]:
    """Always the most likely token, and no clipboard but the terminal's."""
    return {**isolated_environ(own_home, folder), "R1_TEMP": "0", "SSH_TTY": "/dev/none"}


@contextmanager
def screens(environ: dict[str, str], folder: Path) -> Iterator[Open]:
    """Opens `r1 ARGUMENTS` on screens; kills at the end what still runs."""
    with ExitStack() as opened:

        def begin(
            *arguments: str | Path, size: tuple[int, int] = (80, 24), wraps: bool = False, **variables: str
        ) -> Screen:
            command = [sys.executable, "-m", "r1", *map(str, arguments)]
            screen = Screen(command, {**environ, **variables}, size, wraps=wraps, cwd=folder)
            return opened.enter_context(screen)

        yield begin


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    return make_home(home, tmp_path)


@pytest.fixture
def chat_environ(own_home: Path, tmp_path: Path) -> dict[str, str]:
    return chat_variables(own_home, tmp_path)


@pytest.fixture
def opened(chat_environ: dict[str, str], tmp_path: Path) -> Iterator[Open]:
    """Opens chats in a home of the test's own."""
    with screens(chat_environ, tmp_path) as begin:
        yield begin


@pytest.fixture
def chat(opened: Open) -> Screen:
    """A chat on a screen so wide that no sentence is wrapped; its model is loaded."""
    return ready(opened)


@pytest.fixture
def after_strawberry(chat: Screen) -> Screen:
    """The same after one turn."""
    return with_strawberry(chat)


@pytest.fixture(scope="class")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of the chat that the tests of a class share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="class")
def shared_opened(home: Path, shared_folder: Path) -> Iterator[Open]:
    environ = chat_variables(make_home(home, shared_folder), shared_folder)
    with screens(environ, shared_folder) as begin:
        yield begin


@pytest.fixture(scope="class")
def shared(shared_opened: Open) -> Screen:
    """One chat for all tests of a class; each leaves an empty draft."""
    return ready(shared_opened)


@pytest.fixture(scope="class")
def shared_after_strawberry(shared: Screen) -> Screen:
    """The same after one turn, which no test changes."""
    return with_strawberry(shared)


def ready(begin: Open) -> Screen:
    screen = begin("chat", size=(120, 60))
    screen.wait_for("context 0 used")
    return screen


def with_strawberry(screen: Screen) -> Screen:
    screen.said_after(STRAWBERRY, "thought for", THREE)
    screen.wait_for("context 90 used")
    return screen


def without_seconds(text: str) -> str:
    """`text` as if all thinking took no time; how long it took depends on the machine."""
    return re.sub(r"thought for (under )?[0-9.]+ s", "thought for 0 s", text)


def words(text: str) -> str:
    return " ".join(text.split())


def squeezed(text: str) -> str:
    """Without white space: a terminal that wraps lines also breaks words."""
    return "".join(text.split())


def wait_for_the_end(screen: Screen, answer: str = THREE) -> None:
    screen.wait_for(lambda: answer in words(screen.everything()) and " tok/s" in "\n".join(screen.screen()))


class PacedChat(Screen):
    """A chat whose model is slow, or held in the middle of its reply; see `paced`."""

    gate: Path
    _released = 0

    def release(self) -> None:
        """Lets a held model go on, up to the next hold."""
        (self.gate / str(self._released)).touch()
        self._released += 1


OpenPaced = Callable[..., PacedChat]


@pytest.fixture
def paced(chat_environ: dict[str, str], tmp_path: Path) -> Iterator[OpenPaced]:
    """Opens chats with a paced model, which is loaded.

    The model is held after each of the texts in `holds` until `release`; without any it makes fifty tokens a second.
    With `reply`, a trace and an answer, it says that.
    """
    with ExitStack() as opened:

        def begin(
            *arguments: str,
            holds: Sequence[str] = (),
            reply: tuple[str, str] | None = None,
            size: tuple[int, int] = (80, 24),
            wraps: bool = False,
            waits_for: str = "used,",
            **variables: str,
        ) -> PacedChat:
            gate = Path(mkdtemp(dir=tmp_path))
            pace = {
                "R1_TEST_PACE_S": "0" if holds else "0.02",
                "R1_TEST_HOLDS": "|".join(holds),
                "R1_TEST_GATE": str(gate),
            }
            if reply is not None:
                (gate / "reply.json").write_text(json.dumps(reply), encoding="utf-8")
                pace["R1_TEST_REPLY"] = str(gate / "reply.json")
            context = () if "--ctx" in arguments else ("--ctx", "1024")
            command = [
                sys.executable,
                str(ROOT / "tests" / "e2e" / "chat" / "paced.py"),
                "chat",
                "tiny",
                *context,
                *arguments,
            ]
            screen = PacedChat(command, {**chat_environ, **pace, **variables}, size, wraps=wraps, cwd=tmp_path)
            screen.gate = gate
            opened.enter_context(screen)
            screen.wait_for(waits_for)
            return screen

        yield begin

"""A chat with the real model, for the tests of the chat and of its commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from r1.kv_store import kv_states
from r1.kv_store.kv_folder import KvFolder
from r1.settings import Settings
from tests.fakes.views import Talk

SETTINGS = Settings(temp=0, seed=1, threads=1, ctx=1024)
SUM, LETTERS = "What is 17 + 25?", "How many r's are in strawberry?"
SUM_ANSWER = r"\(17 + 25 = \boxed{42}\)"

OpenTalk = Callable[..., Talk]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KvFolder:
    """Where KV caches are kept, as if that paid: the built-in model is too quick for it."""
    monkeypatch.setattr(kv_states, "_MIN_GAIN_S", -10.0)
    monkeypatch.setattr(kv_states, "_READ_BPS", 1e12)
    return KvFolder(tmp_path / "kv-cache", 10**9, min_free=0)


@pytest.fixture
def open_talk(tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenTalk]:
    """Opens a chat; all use the same history."""
    monkeypatch.setenv("SSH_TTY", "/dev/pts/0")  # the tests must not change the developer's clipboard
    monkeypatch.delenv("TMUX", raising=False)
    opened: list[Talk] = []

    def open_it(settings: Settings = SETTINGS, session: int | None = None) -> Talk:
        opened.append(Talk(tiny_path, tmp_path / "history.db", settings, session))
        return opened[-1]

    yield open_it
    for talk in opened:
        talk.chat.close()


@pytest.fixture
def talk(open_talk: OpenTalk) -> Talk:
    return open_talk()

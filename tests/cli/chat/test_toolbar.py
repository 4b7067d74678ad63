"""`r1.chat.toolbar`: the line below the draft, on screens of several widths."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from r1.chat.chat import Chat
from r1.chat.toolbar import toolbar
from r1.chat.worker import Ready


def chat(**changes: Any) -> Chat:
    """The parts of a chat that the toolbar shows."""
    ready = Ready("tiny:Q8_0", ctx=4096, trained=131_072)
    model = {"reference": "tiny:Q8_0", "loading": None, "ready": ready}
    model |= {"used": 1234, "left": 2862, "is_nearly_full": False}
    facts = {"shows_thinking": False, "turns": []}
    model |= {name: changes.pop(name) for name in model.keys() & changes.keys()}
    return cast(Chat, SimpleNamespace(model=SimpleNamespace(**model), **{**facts, **changes}))


def text(shown: Chat, width: int = 80) -> str:
    return "".join(part for _, part in toolbar(shown, width))


class TestToolbar:
    """Complete where there is room, brief where there is not; no part is lost."""

    def test_on_a_wide_screen(self) -> None:
        assert text(chat()) == "tiny:Q8_0 · context 1,234 used, 2,862 left · thinking hidden"

    def test_on_a_narrow_screen_it_is_brief_and_breaks_between_parts(self) -> None:
        lines = text(chat(), 40).split("\n")
        assert lines == ["tiny:Q8_0 · 1.2k used, 2.9k left", "thinking hidden"]

    def test_every_width_shows_every_part(self) -> None:
        for width in range(1, 100):
            shown = text(chat(), width)
            assert all(part in shown for part in ("tiny:Q8_0", "used", "left", "thinking hidden"))

    def test_loading_shows_its_progress(self) -> None:
        assert text(chat(loading=0.42, ready=None)).startswith("loading tiny:Q8_0 42%")
        assert text(chat(loading=1.0, ready=None)).startswith("preparing tiny:Q8_0")

    def test_a_model_that_failed_to_load(self) -> None:
        assert text(chat(ready=None)) == "tiny:Q8_0 not loaded · thinking hidden"

    def test_a_context_that_is_nearly_full_stands_out(self) -> None:
        assert ("class:warning", "context 1,234 used, 2,862 left") in toolbar(chat(is_nearly_full=True), 80)

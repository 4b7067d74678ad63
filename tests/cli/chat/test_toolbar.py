"""`r1.chat.toolbar`: the line below the draft, on screens of several widths."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from r1.chat.chat import Chat
from r1.chat.toolbar import toolbar
from r1.chat.worker import Ready
from r1.render.reply_text import ReplyText


def chat(reply: object = None, **changes: Any) -> Chat:
    """The parts of a chat that the toolbar shows."""
    ready = Ready("tiny:Q8_0", ctx=4096, trained=131_072)
    model = {"reference": "tiny:Q8_0", "loading": None, "ready": ready, "decode_tps": None}
    model |= {"used": 1234, "left": 2862, "is_nearly_full": False, "is_counted": True} | changes
    model.setdefault("loading_to_show", model["loading"])
    shown = SimpleNamespace(is_shown=False)
    return cast(Chat, SimpleNamespace(model=SimpleNamespace(**model), thinking=shown, reply=reply))


def running(tokens: int, *, budget: int | None = None, tps: float | None = None, is_thinking: bool = True) -> object:
    """A reply that is being generated."""
    text = ReplyText(thinking_tokens=tokens)
    return SimpleNamespace(text=text, budget=budget, decode_tps=tps, is_thinking=is_thinking)


def text(shown: Chat, width: int = 80, vi_mode: str = "") -> str:
    return "".join(part for _, part in toolbar(shown, width, vi_mode))


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
        assert text(chat(loading=0.42, ready=None, is_counted=False)) == "loading tiny:Q8_0 42% · thinking hidden"
        assert text(chat(loading=1.0, ready=None, is_counted=False)) == "preparing tiny:Q8_0 · thinking hidden"

    def test_a_load_that_has_just_begun_is_not_announced(self) -> None:
        begun = chat(loading=0.0, loading_to_show=None, ready=None, is_counted=False)
        assert text(begun) == "tiny:Q8_0 · thinking hidden"

    def test_a_model_that_failed_to_load(self) -> None:
        assert text(chat(ready=None, is_counted=False)) == "tiny:Q8_0 not loaded · thinking hidden"

    def test_tokens_that_are_not_counted_yet_are_left_out(self) -> None:
        assert text(chat(is_counted=False)) == "tiny:Q8_0 · thinking hidden"

    def test_the_models_last_speed_and_the_vi_mode(self) -> None:
        said = text(chat(decode_tps=12.34), vi_mode="vi: normal")
        assert said == "vi: normal · tiny:Q8_0 · 1.2k used, 2.9k left · thinking hidden · 12.3 tok/s"
        assert text(chat(decode_tps=12.34), 120, "vi: normal").startswith("vi: normal · tiny:Q8_0 · context 1,234 used")

    def test_while_it_thinks_the_tokens_and_the_speed(self) -> None:
        thinking = chat(running(1204, tps=24.04), decode_tps=12.3)
        assert text(thinking, 120) == "tiny:Q8_0 · context 1,234 used, 2,862 left · thinking 1,204 · 24.0 tok/s"

    def test_the_budget_and_on_a_phone(self) -> None:
        thinking = chat(running(1204, budget=4096, tps=24.0))
        assert text(thinking, 40).split("\n") == [
            "tiny:Q8_0 · 1.2k used, 2.9k left",
            "thinking 1,204 of 4,096 · 24.0 tok/s",
        ]

    def test_before_its_speed_is_measured_that_of_the_last_reply(self) -> None:
        assert text(chat(running(3), decode_tps=12.34), 120).endswith("thinking 3 · 12.3 tok/s")

    def test_while_it_answers_its_speed(self) -> None:
        answering = chat(running(3, tps=20.0, is_thinking=False), decode_tps=12.34)
        assert text(answering, 120).endswith("thinking hidden · 20.0 tok/s")

    def test_a_context_that_is_nearly_full_stands_out(self) -> None:
        assert ("class:warning", "context 1,234 used, 2,862 left") in toolbar(chat(is_nearly_full=True), 80)

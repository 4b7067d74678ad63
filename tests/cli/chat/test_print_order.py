"""`r1.chat.print_order`: nothing is printed between the first token of a reply and its end."""

from __future__ import annotations

import pytest

from r1.chat.print_order import PrintOrder
from r1.engine.events import Prefill
from r1.render.reply import ReplyView
from r1.render.style import Style


@pytest.fixture
def written() -> list[str]:
    return []


@pytest.fixture
def order(written: list[str]) -> PrintOrder:
    return PrintOrder(written.append)


def begun() -> ReplyView:
    reply = ReplyView(Style(80), shows_thinking=False)
    reply.show(Prefill(1, 9))
    return reply


def test_without_a_reply_lines_are_printed_at_once(order: PrintOrder, written: list[str]) -> None:
    order.print("a\n")
    assert (written, order.held) == (["a\n"], "")


def test_while_a_question_waits_for_its_model_too(order: PrintOrder, written: list[str]) -> None:
    order.begin(ReplyView(Style(80), shows_thinking=False))
    order.print("loaded\n")
    assert written == ["loaded\n"]


def test_during_a_reply_lines_wait_for_its_end(order: PrintOrder, written: list[str]) -> None:
    order.begin(begun())
    order.print("a\n")
    order.print("b\n")
    assert (written, order.held) == ([], "a\nb\n")
    assert order.end() == ["a\n", "b\n"]
    assert (written, order.held) == ([], "")


def test_after_a_reply_lines_are_printed_at_once_again(order: PrintOrder, written: list[str]) -> None:
    order.begin(begun())
    order.end()
    order.print("a\n")
    assert written == ["a\n"]

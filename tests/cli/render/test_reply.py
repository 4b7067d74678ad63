"""`r1.render.reply`: which lines of a turn are finished, which are live, and the line of activity."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from rich.cells import cell_len

from r1.engine.events import Answer, Event, Finished, Prefill, Thinking, Thought, Timings, Usage
from r1.render.reply import Frame, ReplyText, ReplyView, Trace, render_trace, thought_line, turn_lines
from r1.render.style import Style

THOUGHT = [Prefill(0, 9), Prefill(9, 9), Thinking("Let me ", 2), Thinking("see.", 4)]
ANSWERED = [*THOUGHT, Thought(5), Answer("It is ", 2), Answer("**42**.", 4)]
END = Finished("stop", Usage(9, 5, 4), Timings(0.1, 90.0, 30.0, 1.0))


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def view(clock: Clock, *, shows: bool, width: int = 40) -> ReplyView:
    return ReplyView(Style(width, colour=False), shows_thinking=shows, clock=clock)


def after(reply: ReplyView, events: Sequence[Event]) -> Frame:
    for event in events:
        reply.show(event)
    return reply.frame(10)


class TestHidden:
    """While it thinks, one line counts; afterwards one line sums it up."""

    def test_a_line_counts_seconds_and_tokens_and_names_the_keys(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        after(reply, THOUGHT)
        clock.now += 12.7
        assert reply.frame(10) == Frame("", "", "thinking · 12 s · 4 tokens")
        wide = view(clock, shows=False, width=80)
        assert after(wide, THOUGHT).activity == "thinking · 0 s · 4 tokens · Ctrl-T shows it · Esc answers now"

    def test_afterwards_one_line_sums_it_up(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        after(reply, THOUGHT)
        clock.now += 23
        frame = after(reply, [Thought(812), Answer("So", 1)])
        assert frame == Frame("thought for 23 s · 812 tokens\n\n", "So", "")
        clock.now += 100
        assert reply.frame(10).finished == ""

    def test_the_end_prints_everything(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        said = after(reply, ANSWERED).finished + after(reply, [END]).finished
        assert said == "thought for under 0.1 s · 5 tokens\n\nIt is 42.\n"

    def test_without_thinking_there_is_no_line(self, clock: Clock) -> None:
        frame = after(view(clock, shows=False), [Prefill(9, 9), Thought(2), Answer("Yes.", 2), END])
        assert frame.finished == "Yes.\n"

    def test_an_interrupted_trace_is_summed_up_too(self, clock: Clock) -> None:
        frame = after(view(clock, shows=False), [*THOUGHT, Finished("interrupted", Usage(9, 4, 0), END.timings)])
        assert frame == Frame("thought for under 0.1 s · 4 tokens\n\n", "", "")


class TestShown:
    """The trace is printed as it arrives, above the answer."""

    def test_the_last_line_is_live(self, clock: Clock) -> None:
        frame = after(view(clock, shows=True), THOUGHT)
        assert frame == Frame("", "│ Let me see.", "thinking · 0 s · 4 tokens")

    def test_the_trace_is_above_the_line_that_sums_it_up(self, clock: Clock) -> None:
        reply = view(clock, shows=True)
        said = after(reply, ANSWERED).finished + after(reply, [END]).finished
        assert said == "│ Let me see.\nthought for under 0.1 s · 5 tokens\n\nIt is 42.\n"


class TestToggled:
    """At any moment, even in the middle of a sentence."""

    def test_showing_it_prints_the_trace_so_far(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        after(reply, THOUGHT)
        reply.shows_thinking = True
        assert reply.frame(10).live == "│ Let me see."

    def test_toggling_loses_nothing_and_repeats_nothing(self, clock: Clock) -> None:
        reply, said = view(clock, shows=True, width=20), ""
        words = [Thinking(f"word{number} ", number) for number in range(30)]
        after(reply, THOUGHT[:2])
        for number, word in enumerate(words):
            reply.shows_thinking = number % 7 < 4
            said += after(reply, [word]).finished
        reply.shows_thinking = True
        said += after(reply, [Thought(31)]).finished
        trace = said.partition("thought for")[0].replace("│", " ")
        assert trace.split() == [f"word{number}" for number in range(30)]

    def test_the_trace_is_never_printed_into_the_answer(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        after(reply, ANSWERED)
        reply.shows_thinking = True
        assert reply.frame(10).finished == ""
        assert after(reply, [END]).finished == "It is 42.\n"


class TestWaiting:
    """Loading and a long prefill have an activity line, if they take longer than a moment."""

    def test_a_short_wait_has_no_line(self, clock: Clock) -> None:
        assert after(view(clock, shows=False), [Prefill(0, 9000)]).activity == ""

    def test_a_long_prompt_shows_its_progress(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        clock.now += 1
        assert after(reply, [Prefill(1024, 9000)]).activity == "reading the prompt · 1,024 of 9,000 tokens"

    def test_a_model_that_is_still_loading(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        clock.now += 1
        assert reply.frame(10).activity == "waiting for the model"


class TestThoughtLine:
    """The line that sums up the thinking."""

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            *((0.0, "under 0.1 s"), (0.04, "under 0.1 s"), (0.06, "0.1 s"), (0.4, "0.4 s"), (2.3, "2.3 s")),
            *((9.94, "9.9 s"), (9.99, "9.9 s"), (10.0, "10 s"), (23.9, "23 s"), (60, "1 min 0 s"), (245, "4 min 5 s")),
        ],
    )
    def test_it_has_tenths_of_a_second_below_ten_and_full_seconds_above(self, seconds: float, words: str) -> None:
        assert thought_line(seconds, 1234) == f"thought for {words} · 1,234 tokens"

    def test_a_reply_that_was_killed_has_none(self) -> None:
        assert thought_line(None, 0) == "thought for an unknown time"


class TestReplyText:
    """The text of a reply and its tokens, as the events add to them."""

    def test_the_pieces_and_counts_of_a_turn(self) -> None:
        text = ReplyText()
        for event in ANSWERED:
            text.add(event)
        assert ("".join(text.thinking), "".join(text.answer)) == ("Let me see.", "It is **42**.")
        assert (text.prompt_tokens, text.thinking_tokens, text.answer_tokens, text.tokens) == (9, 5, 4, 18)


class TestTurnLines:
    """A finished turn, as a chat that is continued shows it."""

    def test_question_files_thinking_and_answer_are_separated_by_blank_lines(self) -> None:
        lines = turn_lines("Why?\nSay.", ["a.txt"], (1.0, 22, "Hm."), "**Yes.**", Style(40, colour=False))
        assert lines == ("> Why?\n  Say.\n  attached: a.txt\n\n│ Hm.\nthought for 1.0 s · 22 tokens\n\nYes.\n\n")

    def test_a_turn_without_thinking_or_answer_is_its_question(self) -> None:
        assert turn_lines("Why?", [], None, "", Style(40, colour=False)) == "> Why?\n\n"


TEXT = "First, 17 + 25. Carry the one.\n\n  indented, a-word-that-is-longer-than-any-line\n漢字と仮名のまじった文。"


def plain(width: int) -> Style:
    return Style(width, colour=False)


class TestTrace:
    """Lines are returned once they are full; nothing is lost or repeated."""

    def test_each_line_has_a_bar(self) -> None:
        assert render_trace("one two three", plain(10 + 4)) == "│ one two\n│ three\n"

    def test_it_is_dim_where_there_are_colours(self) -> None:
        assert render_trace("hm", Style(40)) == "\x1b[2m│ hm\x1b[0m\n"

    def test_a_line_is_returned_when_it_is_full(self) -> None:
        trace = Trace(plain(16))
        assert trace.feed("one two three") == ""
        assert trace.live() == "│ one two three"
        assert trace.feed(" four") == "│ one two three\n"
        assert trace.live() == "│ four"
        assert trace.end() == "│ four\n"
        assert trace.live() == trace.end() == ""

    def test_blank_lines_and_indents_stay(self) -> None:
        assert render_trace("a\n\n  b", plain(40)) == "│ a\n│\n│   b\n"

    def test_escape_codes_do_not_reach_the_terminal(self) -> None:
        assert "\x1b" not in render_trace("\x1b[2Jhm\x1b]0;x\x07", plain(40))

    @pytest.mark.parametrize("width", [1, 2, 5, 13, 20, 40, 200])
    def test_every_line_fits_and_has_every_word_once(self, width: int) -> None:
        lines = render_trace(TEXT, plain(width)).splitlines()
        assert all(cell_len(line) <= max(width, 2) for line in lines)  # a wide character takes two columns
        said = "".join(line.removeprefix("│") for line in lines)
        assert "".join(said.split()) == "".join(TEXT.split())

    @pytest.mark.parametrize("seed", range(20))
    def test_the_size_of_the_pieces_makes_no_difference(self, seed: int) -> None:
        random.seed(seed)
        width = random.randint(3, 50)
        trace, said, rest = Trace(plain(width)), "", TEXT
        while rest:
            cut = random.randint(1, 9)
            said, rest = said + trace.feed(rest[:cut]), rest[cut:]
        assert said + trace.end() == render_trace(TEXT, plain(width))

    def test_chinese_breaks_between_characters_but_not_before_punctuation(self) -> None:
        """As in answers: https://www.w3.org/TR/clreq/#prohibition_rules_for_line_start_end"""
        said = [line.removeprefix("│").strip() for line in render_trace("数一数，一共三个。", plain(15)).splitlines()]
        assert "".join(said) == "数一数，一共三个。"
        assert len(said) > 1
        assert not any(line.startswith(("，", "。")) for line in said)

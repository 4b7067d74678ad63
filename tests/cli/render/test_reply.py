"""`r1.render.reply`: which lines of a turn are finished, which are live, and the line of activity."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from r1.engine.events import Answer, Event, Finished, Prefill, Rewound, Thinking, ThinkingEnd, Thought, Timings, Usage
from r1.render.reply import Frame, PastThinking, ReplyView, answer_lines, question_lines, thought_lines, turn_lines
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


def plain(width: int) -> Style:
    return Style(width, colour=False)


def view(clock: Clock, *, shows: bool, width: int = 40, is_literal: bool = False) -> ReplyView:
    return ReplyView(plain(width), shows_thinking=shows, is_literal=is_literal, clock=clock)


def after(reply: ReplyView, events: Sequence[Event]) -> Frame:
    for event in events:
        reply.show(event)
    return reply.frame(10)


class TestHidden:
    """While it thinks, one line counts; afterwards one line sums it up."""

    def test_a_line_counts_seconds_and_names_the_keys(self, clock: Clock) -> None:
        """The tokens are in the toolbar."""
        reply = view(clock, shows=False)
        after(reply, THOUGHT)
        clock.now += 12.7
        assert reply.frame(10) == Frame("", "", "thinking · 12 s · Esc answers now")
        wide = view(clock, shows=False, width=80)
        assert after(wide, THOUGHT).activity == "thinking · 0 s · Esc answers now · Ctrl-T shows it"

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
        assert frame == Frame("", "│ Let me see.", "thinking · 0 s · Esc answers now")

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


class TestVote:
    """While several replies vote, the line of activity says how the vote stands; then the winner is shown at once."""

    TALLY = ("3 of 16 · 42 ×2 · 41 ×1 · 4 running · 57 tok/s", "3 of 16 · 42 ×2 · 41 ×1 · 4 running", "3 of 16 · 42 ×2")

    @pytest.mark.parametrize(
        ("width", "line"),
        [
            (200, f"{TALLY[0]} · Esc answers now · Ctrl-C ends the vote"),
            (80, f"{TALLY[0]} · Esc answers now"),
            (60, TALLY[0]),
            (40, TALLY[1]),
            (36, TALLY[1]),
            (35, TALLY[2]),
            (10, ""),
        ],
    )
    def test_in_as_many_words_as_fit(self, clock: Clock, width: int, line: str) -> None:
        reply = view(clock, shows=True, width=width)
        reply.show_tally(self.TALLY)
        assert reply.frame(10) == Frame("", "", line)
        assert not reply.is_thinking
        assert not reply.has_begun

    def test_answers_cannot_send_codes_to_the_terminal_and_wide_letters_count_twice(self, clock: Clock) -> None:
        reply = view(clock, shows=True, width=20)
        reply.show_tally(["1 of 2 · 草莓草莓草莓 ×1", "1 of 2 · \x1b[31m3"])
        line = reply.frame(10).activity
        assert line.startswith("1 of 2 · ")
        assert line.endswith("3")
        assert "\x1b" not in line

    def test_the_winner_thought_as_long_as_it_did_before(self, clock: Clock) -> None:
        reply = view(clock, shows=True)
        reply.show_tally(self.TALLY)
        reply.show_winner(12.7)
        shown = after(reply, [Prefill(9, 9), Thinking("Let me see.", 4), Thought(5), Answer("It is **42**.", 4), END])
        assert shown == Frame("│ Let me see.\nthought for 12 s · 5 tokens\n\nIt is 42.\n", "", "")
        assert reply.thinking_s == 12.7


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
        assert thought_lines(seconds, 1234, "natural", plain(80)) == f"thought for {words} · 1,234 tokens\n"

    def test_a_reply_that_was_killed_has_none(self) -> None:
        assert thought_lines(None, 0, None, plain(40)) == "thought for an unknown time\n"

    @pytest.mark.parametrize(
        ("end", "words"),
        [
            ("budget", "stopped at the budget"),
            ("loop", "went round in circles"),
            ("user", "stopped by you"),
            ("eos", "the model was made to answer"),
            ("limit", "stopped to leave room to answer"),
        ],
    )
    def test_it_says_what_ended_the_thinking_unless_the_model_did(self, end: ThinkingEnd, words: str) -> None:
        line = "thought for 2 min 3 s · 4,096 tokens"
        assert thought_lines(123, 4096, end, plain(80)) == f"{line} · {words}\n"
        assert thought_lines(123, 4096, end, plain(40)) == f"{line}\n{words}\n"
        assert thought_lines(123, 4096, None, plain(80)) == f"{line}\n"

    def test_a_running_reply_says_it_too(self, clock: Clock) -> None:
        reply = view(clock, shows=False, width=80)
        frame = after(reply, [*THOUGHT, Thought(4, "budget"), Answer("So", 1)])
        assert frame.finished == "thought for under 0.1 s · 4 tokens · stopped at the budget\n\n"

    def test_a_reply_that_was_not_to_think_has_none(self, clock: Clock) -> None:
        end = Finished("stop", Usage(9, 0, 2), END.timings, thinking_end="budget")
        frame = after(view(clock, shows=True), [Prefill(9, 9), Thought(0, "budget"), Answer("Yes.", 2), end])
        assert frame == Frame("Yes.\n", "", "")

    def test_a_turn_that_ended_before_its_first_thought_is_named(self, clock: Clock) -> None:
        """R1 wrote nothing but the end of its turn, and was made to answer."""
        frame = after(view(clock, shows=True, width=80), [Prefill(9, 9), Thought(2, "eos"), Answer("Yes.", 1)])
        assert frame.finished == "thought for under 0.1 s · 2 tokens · the model was made to answer\n\n"


class TestGoingBack:
    """Thinking that went round in circles goes on from an earlier place; the scrollback keeps what it has."""

    LOOP = (Prefill(9, 9), Thinking("So it is 42.", 6), Thinking(" So it is 42.", 12))
    BACK = Rewound("So it is 42.", 6, 6)
    LINE = "went round in circles; back 6 tokens\n"

    def test_a_line_says_so_and_the_new_text_follows(self, clock: Clock) -> None:
        reply = view(clock, shows=True, width=60)
        assert after(reply, self.LOOP).live == "│ So it is 42. So it is 42."
        frame = after(reply, [self.BACK, Thinking("\nBut wait.", 9)])
        assert (frame.finished, frame.live) == (f"│ So it is 42. So it is 42.\n{self.LINE}", "│ But wait.")
        said = after(reply, [Thought(10), Answer("42", 1)]).finished
        assert said == "│ But wait.\nthought for under 0.1 s · 10 tokens\n\n"

    def test_what_was_not_drawn_yet_is_never_drawn(self, clock: Clock) -> None:
        frame = after(view(clock, shows=True), [*self.LOOP, self.BACK, Thinking(" But wait.", 9)])
        assert (frame.finished, frame.live) == (f"│ So it is 42.\n{self.LINE}", "│ But wait.")

    def test_hidden_it_says_nothing(self, clock: Clock) -> None:
        reply = view(clock, shows=False, width=60)
        assert after(reply, [*self.LOOP, self.BACK]) == Frame(
            "", "", "thinking · 0 s · Esc answers now · Ctrl-T shows it"
        )
        reply.shows_thinking = True
        assert after(reply, [Thinking(" But wait.", 9)]).live == "│ So it is 42. But wait."
        assert "circles" not in after(reply, [Thought(10), Answer("42", 1), END]).finished

    def test_shown_again_it_says_so_where_the_scrollback_has_more(self, clock: Clock) -> None:
        reply = view(clock, shows=True, width=60)
        after(reply, self.LOOP)
        reply.shows_thinking = False
        assert "circles" not in after(reply, [self.BACK, Thinking(" But wait.", 9)]).finished
        reply.shows_thinking = True
        frame = reply.frame(10)
        assert (frame.finished, frame.live) == (f"│ So it is 42. So it is 42.\n{self.LINE}", "│ But wait.")

    def test_tokens_and_text_are_those_that_are_left(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        after(reply, [*self.LOOP, self.BACK, Thinking(" But", 7)])
        assert ("".join(reply.text.thinking), reply.text.thinking_tokens) == ("So it is 42. But", 7)
        assert (reply.text.generated_tokens, reply.text.times_back) == (13, 1)


class TestSpeed:
    """Tokens a second since the first one, also those that were taken out again."""

    def test_it_is_measured_after_a_second(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        assert reply.decode_tps is None
        after(reply, [Prefill(9, 9), Thinking("a", 1)])
        clock.now += 0.5
        after(reply, [Thinking("b", 20)])
        assert reply.decode_tps is None
        clock.now += 1.5
        after(reply, [Thinking("c", 49)])
        assert reply.decode_tps == 24
        after(reply, [Rewound("a", 1, 48)])
        assert reply.decode_tps == 24
        clock.now += 2
        after(reply, [Thought(1), Answer("d", 48)])
        assert reply.decode_tps == 24


class TestLiteral:
    """An answer that had to have a form keeps every character: it is not Markdown."""

    JSON = '{"a*b*": "__x__ $y$", "list": [1, 2]}'

    def test_while_it_is_generated(self, clock: Clock) -> None:
        reply = view(clock, shows=False, width=80, is_literal=True)
        frame = after(reply, [*THOUGHT, Thought(5), Answer(self.JSON[:10], 2)])
        assert frame.live == self.JSON[:10]
        assert after(reply, [Answer(self.JSON[10:], 4), END]).finished == f"{self.JSON}\n"

    @pytest.mark.parametrize("answer", [JSON, "- yes", "# no", "1. a\n\n2. b", "```\nx", "~~~~\n*a*", "  *a*  b"])
    def test_when_it_is_shown_again(self, answer: str) -> None:
        assert answer_lines(answer, plain(80), is_literal=True) == f"{answer}\n"

    def test_a_long_line_is_wrapped(self) -> None:
        lines = answer_lines(f'["{"x" * 100}"]', plain(40), is_literal=True).split("\n")
        assert [len(line) for line in lines] == [40, 40, 24, 0]


class TestTurnLines:
    """A finished turn, as a chat that is continued shows it."""

    def test_question_files_thinking_and_answer_are_separated_by_blank_lines(self) -> None:
        style = plain(40)
        thinking = PastThinking(1.0, 22, "natural", "Hm.").lines(style)
        lines = turn_lines(question_lines("Why?\nSay.", style, ["a.txt"]), thinking, answer_lines("**Yes.**", style))
        assert lines == ("> Why?\n  Say.\n  attached: a.txt\n\n│ Hm.\nthought for 1.0 s · 22 tokens\n\nYes.\n\n")

    def test_a_turn_without_thinking_or_answer_is_its_question(self) -> None:
        assert turn_lines(question_lines("Why?", plain(40)), "", answer_lines("", plain(40))) == "> Why?\n\n"

    def test_thinking_that_was_ended_says_by_what(self) -> None:
        thinking = PastThinking(1.0, 22, "loop", "").lines(plain(80))
        assert thinking == "thought for 1.0 s · 22 tokens · went round in circles\n"

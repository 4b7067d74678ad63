"""Splits a reply into thinking and answer: at the `</think>` token, never at its text.

A reply starts inside the thinking, because the prompt ends with `<think>\\n`, unless there is to be none. Where the
prompt ends in the middle of something, the reply's first white space belongs to it, and is kept.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable

from r1.engine.events import Answer, Thinking
from r1.engine.prompt import Continued

_Utf8 = getincrementaldecoder("utf-8")


class Section:
    """Decodes the bytes of one part of a reply to text without white space at its ends.

    A character split over tokens is held back until it is complete, and white space until more text follows. The work
    per token does not grow with the length of the text.
    """

    def __init__(self, *, has_begun: bool = False, strips_end: bool = True) -> None:
        """`has_begun`: goes on with a text, so white space at the start is kept."""
        self.tokens = 0
        self.has_begun = has_begun  # has text other than white space
        self._strips_end = strips_end
        self._decoder = _Utf8("replace")
        self._held: list[str] = []

    def feed(self, piece: bytes) -> str:
        """The text that `piece` completes; often empty."""
        self.tokens += 1
        return self._release(self._decoder.decode(piece))

    def end(self) -> str:
        """The replacement for an unfinished character at the end, if there is one."""
        return self._release(self._decoder.decode(b"", final=True))

    def _release(self, text: str) -> str:
        if not self.has_begun:
            text = text.lstrip()
        body = text.rstrip() if self._strips_end else text
        if not body:
            if self.has_begun and text:
                self._held.append(text)
            return ""
        released = "".join([*self._held, body])
        self.has_begun = True
        self._held = [text[len(body) :]]
        return released


class ReplyDecoder:
    """Turns the tokens of one reply into events: thinking first, and the answer after `end_think`."""

    def __init__(
        self,
        end_think: int,
        piece: Callable[[int], bytes],
        *,
        is_thinking: bool = True,
        continues: Continued | None = None,
    ) -> None:
        """`piece` gives the bytes of a token. Unless `is_thinking`, the reply begins with its answer. `continues`: what
        it goes on with. White space at the end of a text without turns is kept, too.
        """
        self.is_thinking = is_thinking
        self.answer = Section(has_begun=continues in {"answer", "text"}, strips_end=continues != "text")
        self._continues_thinking = continues == "thinking"
        self.thinking = self._empty_thinking()
        self._end_think = end_think
        self._piece = piece

    def feed(self, token: int) -> Thinking | Answer | None:
        """The event for the text that `token` completes, if any."""
        if not self.is_thinking:
            text = self.answer.feed(self._piece(token))
            return Answer(text, self.answer.tokens) if text else None
        if token == self._end_think:
            self.is_thinking = False
            self.thinking.tokens += 1
            text = self.thinking.end()
        else:
            text = self.thinking.feed(self._piece(token))
        return Thinking(text, self.thinking.tokens) if text else None

    def go_back(self, tokens: Iterable[int]) -> str:
        """Replaces the thinking by these tokens; returns their text."""
        self.thinking = self._empty_thinking()
        return "".join(self.thinking.feed(self._piece(token)) for token in tokens)

    def _empty_thinking(self) -> Section:
        return Section(has_begun=self._continues_thinking)

    def end(self) -> Thinking | Answer | None:
        """The event for an unfinished character at the end, if any."""
        section = self.thinking if self.is_thinking else self.answer
        text = section.end()
        if not text:
            return None
        return Thinking(text, section.tokens) if self.is_thinking else Answer(text, section.tokens)

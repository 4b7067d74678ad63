"""Where the thinking ends and the answer begins: by the `</think>` token, never by its text.

The reply starts inside the thinking, because the prompt ends with `<think>\\n`.

Knows: one reply, token by token. Does not know: where tokens come from or where text goes.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable

from r1.engine.events import Answer, Thinking

_Utf8 = getincrementaldecoder("utf-8")


class Section:
    """The bytes of one part of a reply → its text, without white space at the ends.

    A character split over tokens is held back until it is whole, and white space until something follows it;
    the work per token does not grow with the length of the text.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._decoder = _Utf8("replace")
        self._started = False
        self._held: list[str] = []

    def feed(self, piece: bytes) -> str:
        """The text that is certain now that `piece` is there; often empty."""
        self.tokens += 1
        return self._release(self._decoder.decode(piece))

    def end(self) -> str:
        """What an unfinished character at the end comes to."""
        return self._release(self._decoder.decode(b"", final=True))

    def _release(self, text: str) -> str:
        if not self._started:
            text = text.lstrip()
        body = text.rstrip()
        if not body:
            if self._started and text:
                self._held.append(text)
            return ""
        released = "".join([*self._held, body])
        self._started = True
        self._held = [text[len(body) :]]
        return released


class ReplyDecoder:
    """A reply in the making: thinking, and from `end_think` on, the answer."""

    def __init__(self, end_think: int, piece: Callable[[int], bytes]) -> None:
        self.is_thinking = True
        self.thinking = Section()
        self.answer = Section()
        self._end_think = end_think
        self._piece = piece

    def feed(self, token: int) -> Thinking | Answer | None:
        """The event that `token` causes, if it completes any text."""
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

    def end(self) -> Thinking | Answer | None:
        """The event for a character that was never finished, if there is one."""
        section = self.thinking if self.is_thinking else self.answer
        text = section.end()
        if not text:
            return None
        return Thinking(text, section.tokens) if self.is_thinking else Answer(text, section.tokens)

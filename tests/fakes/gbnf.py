"""Grammars read a second time: random texts of a grammar, and whether a text is one of its texts.

Shares nothing with `r1.forms`, so that the two can be compared.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cached_property

_ESCAPE = re.compile(r'\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([nrt"\\\[\]-]))')
_PLAIN = {"n": "\n", "r": "\r", "t": "\t"}
_OTHERS = 'aZ09 _-"\\/é漢😀\n'


@dataclass(frozen=True, eq=False)
class Node:
    """One part of a rule: `text`, `set`, `rule`, `sequence`, `choice` or `repeat`."""

    kind: str
    text: str = ""
    parts: tuple[Node, ...] = ()
    ranges: tuple[tuple[str, str], ...] = ()
    is_negated: bool = False
    least: int = 1
    most: int | None = 1

    def has(self, char: str) -> bool:
        return any(low <= char <= high for low, high in self.ranges) != self.is_negated


class TextGrammar:
    """A grammar in GBNF, without token literals."""

    def __init__(self, gbnf: str) -> None:
        self.rules: dict[str, Node] = {}
        for line in filter(None, gbnf.split("\n")):
            name, _, content = line.partition(" ::= ")
            node, rest = self._choice(content)
            assert not rest, (line, rest)
            self.rules[name] = node

    # ---- reading ----

    def _choice(self, text: str) -> tuple[Node, str]:
        node, text = self._sequence(text)
        options = [node]
        while text.startswith("|"):
            node, text = self._sequence(text[1:])
            options.append(node)
        return (Node("choice", parts=tuple(options)) if len(options) > 1 else options[0]), text

    def _sequence(self, text: str) -> tuple[Node, str]:
        parts: list[Node] = []
        text = text.lstrip(" ")
        while text and text[0] not in "|)":
            if text[0] in "*+?{":
                (least, most), text = self._counts(text)
                parts[-1] = Node("repeat", parts=(parts[-1],), least=least, most=most)
            else:
                node, text = self._item(text)
                parts.append(node)
            text = text.lstrip(" ")
        return Node("sequence", parts=tuple(parts)), text

    def _item(self, text: str) -> tuple[Node, str]:
        if text[0] == "(":
            node, text = self._choice(text[1:])
            assert text[0] == ")", text
            return node, text[1:]
        if text[0] == '"':
            content, text = self._until('"', text[1:])
            return Node("text", "".join(content)), text
        if text[0] == "[":
            is_negated = text.startswith("[^")
            content, text = self._until("]", text[1 + is_negated :])
            return Node("set", ranges=self._ranges(content), is_negated=is_negated), text
        match = re.match(r"[a-zA-Z0-9-]+", text)
        assert match, text
        return Node("rule", match[0]), text[match.end() :]

    def _until(self, end: str, text: str) -> tuple[list[str], str]:
        """Characters up to an end. A hyphen that is not escaped is written as an empty text."""
        found: list[str] = []
        while text[0] != end:
            if match := _ESCAPE.match(text):
                code = match[1] or match[2] or match[3]
                found.append(chr(int(code, 16)) if code else _PLAIN.get(match[4], match[4]))
                text = text[match.end() :]
            else:
                assert text[0] != "\\", text
                found.append("" if end == "]" and text[0] == "-" else text[0])
                text = text[1:]
        return found, text[1:]

    def _ranges(self, content: list[str]) -> tuple[tuple[str, str], ...]:
        found: list[tuple[str, str]] = []
        while content:
            if len(content) > 2 and content[1] == "":
                found.append((content[0], content[2]))
                content = content[3:]
            else:
                found.append((content[0] or "-", content[0] or "-"))
                content = content[1:]
        return tuple(found)

    def _counts(self, text: str) -> tuple[tuple[int, int | None], str]:
        if text[0] != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[text[0]], text[1:]
        inner, _, text = text[1:].partition("}")
        least, comma, most = inner.partition(",")
        return (int(least), (int(most) if most else None) if comma else int(least)), text

    # ---- texts ----

    @cached_property
    def _heights(self) -> dict[str, int]:
        """How many rules deep the shallowest text of a rule is."""
        heights: dict[str, int] = {}
        while True:
            new = {
                name: 1 + height for name, node in self.rules.items() if (height := self._height(node, heights)) < 999
            }
            if new == heights:
                return heights
            heights = new

    def _height(self, node: Node, heights: dict[str, int]) -> int:
        if node.kind == "rule":
            return heights.get(node.text, 999)
        inner = [self._height(part, heights) for part in node.parts]
        if node.kind == "choice":
            return min(inner)
        return 0 if node.kind == "repeat" and node.least == 0 else max(inner, default=0)

    def sample(self, rng: random.Random, depth: int = 12) -> str:
        """A random text; from some depth on the shallowest one."""
        return self._sample(self.rules["root"], rng, depth)

    def _sample(self, node: Node, rng: random.Random, depth: int) -> str:
        match node.kind:
            case "text":
                return node.text
            case "rule":
                return self._sample(self.rules[node.text], rng, depth - 1)
            case "set":
                return self._char(node, rng)
            case "choice":
                options = list(node.parts)
                if depth <= 0:
                    options.sort(key=lambda option: self._height(option, self._heights))
                    options = options[:1]
                return self._sample(rng.choice(options), rng, depth)
            case "repeat":
                most = node.least + 3 if node.most is None else node.most
                count = (
                    node.least
                    if depth <= 0
                    else min(rng.randint(node.least, most), node.least + rng.choice([0, 1, 3, 40]))
                )
                return "".join(self._sample(node.parts[0], rng, depth) for _ in range(count))
        return "".join(self._sample(part, rng, depth) for part in node.parts)

    def _char(self, node: Node, rng: random.Random) -> str:
        if node.is_negated:
            return rng.choice([char for char in _OTHERS if node.has(char)])
        low, high = rng.choice(node.ranges)
        return chr(rng.choice([ord(low), ord(high), rng.randint(ord(low), ord(high))]))

    def matches(self, text: str) -> bool:
        """Whether it is a text of the grammar."""
        return len(text) in _Match(self, text).ends(self.rules["root"], 0)


class _Match:
    def __init__(self, grammar: TextGrammar, text: str) -> None:
        self._grammar, self._text = grammar, text
        self._known: dict[tuple[int, int], set[int]] = {}

    def ends(self, node: Node, start: int) -> set[int]:
        key = (id(node), start)
        if key not in self._known:
            self._known[key] = self._ends(node, start)
        return self._known[key]

    def _ends(self, node: Node, start: int) -> set[int]:
        match node.kind:
            case "text":
                return {start + len(node.text)} if self._text.startswith(node.text, start) else set()
            case "rule":
                return self.ends(self._grammar.rules[node.text], start)
            case "set":
                return {start + 1} if start < len(self._text) and node.has(self._text[start]) else set()
            case "choice":
                return set().union(*(self.ends(part, start) for part in node.parts))
        if node.kind == "sequence":
            places = {start}
            for part in node.parts:
                places = set().union(*(self.ends(part, place) for place in places))
            return places
        found, places, count = (set() if node.least else {start}), {start}, 0
        while places and (node.most is None or count < node.most):
            places = set().union(*(self.ends(node.parts[0], place) for place in places))
            count += 1
            if count >= node.least:
                places, found = places - found, found | places
        return found

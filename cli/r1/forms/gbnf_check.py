"""Checks a grammar in GBNF before llama.cpp gets it.

A grammar can be accepted by llama.cpp's parser and still be of no use: a rule that never ends leaves the model no way
to finish, and a left recursion through a rule that may be empty lets llama.cpp's stacks grow without end. A deep one
overflows the C stack. So a grammar is read here first, and given to llama.cpp when it is known to be harmless.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from r1.forms.gbnf import MAX_COUNT, MAX_SIZE
from r1_quantize.errors import UsageError

_MAX_NESTING = 100  # parentheses: llama.cpp's parser recurses, and some 20,000 overflow its stack
_MAX_ELEMENTS = 400_000  # characters and references when the repetitions are written out, each 8 bytes
_MAX_LEFT_DEPTH, _MAX_LEFT_STEPS = 2_000, 200_000  # llama.cpp's search for left recursion follows each path again


def check_grammar(gbnf: str) -> None:
    """Raises UsageError, with the reason, for a grammar that llama.cpp cannot use or that can leave a model stuck."""
    read_grammar(gbnf).check()
    _parse_by_llama(gbnf)


Symbol = str | None
"""The name of a rule, or None: a character or a token."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """The rules of a grammar, each a list of alternatives. A group and a repetition have rules of their own."""

    rules: Mapping[str, list[tuple[Symbol, ...]]]

    def check(self) -> None:
        """Raises UsageError for a grammar without a root, with undefined or endless rules, or with left recursion."""
        self._check_names()
        if endless := self.endless():
            raise UsageError(f"the grammar's rule {_shown(endless[0])} can never end; give it an alternative that does")
        if not self._has_characters():
            raise UsageError("the grammar has no text but the empty one; give root something to write")
        if recursive := self.left_recursive():
            raise UsageError(
                f"the grammar's rule {_shown(recursive)} begins with itself; "
                "write the repetition with * or + instead, of something that is not empty"
            )
        self._check_left_depth()

    def _check_names(self) -> None:
        if "root" not in self.rules:
            raise UsageError("the grammar has no rule named root; add one, the answer begins there")
        for name, alternatives in self.rules.items():
            for symbol in (symbol for alternative in alternatives for symbol in alternative if symbol is not None):
                if symbol not in self.rules:
                    raise UsageError(
                        f"the grammar's rule {_shown(name)} uses {symbol}, which is not defined; define it"
                    )

    def _has_characters(self) -> bool:
        """Whether root leads to any character. Every rule can end, so a text with that character can too."""
        reached, waiting = {"root"}, ["root"]
        while waiting:
            for symbol in (symbol for alternative in self.rules[waiting.pop()] for symbol in alternative):
                if symbol is None:
                    return True
                if symbol not in reached:
                    reached.add(symbol)
                    waiting.append(symbol)
        return False

    def endless(self) -> list[str]:
        """The rules that no finite text matches."""
        ending = self._closure(terminals=True)
        return [name for name in self.rules if name not in ending]

    def _closure(self, *, terminals: bool) -> set[str]:
        """The rules that have an alternative of such rules only, and of terminals, if these count too."""
        found: set[str] = set()
        missing: list[int] = []
        owners: list[str] = []
        users: dict[str, list[int]] = defaultdict(list)
        ready: list[str] = []
        for name, alternatives in self.rules.items():
            for alternative in alternatives:
                if None in alternative and not terminals:
                    continue
                names = [symbol for symbol in alternative if symbol is not None]
                for symbol in names:
                    users[symbol].append(len(missing))
                missing.append(len(names))
                owners.append(name)
                if not names:
                    ready.append(name)
        while ready:
            name = ready.pop()
            if name in found:
                continue
            found.add(name)
            for index in users[name]:
                missing[index] -= 1
                if not missing[index]:
                    ready.append(owners[index])
        return found

    def left_recursive(self) -> str | None:
        """A rule that can begin with itself."""
        try:
            TopologicalSorter({name: set(below) for name, below in self._left_corners().items()}).prepare()
        except CycleError as exc:
            return str(exc.args[1][0])
        return None

    def _check_left_depth(self) -> None:
        """llama.cpp expands the rules at the left of a rule before it reads a character."""
        left = self._left_corners()
        depth: dict[str, int] = {}
        steps: dict[str, int] = {}
        for name in TopologicalSorter({name: set(below) for name, below in left.items()}).static_order():
            depth[name] = 1 + max((depth[below] for below in left[name]), default=0)
            steps[name] = min(1 + sum(steps[below] for below in left[name]), _MAX_LEFT_STEPS + 1)
        if max(depth.values()) > _MAX_LEFT_DEPTH or max(steps.values()) > _MAX_LEFT_STEPS:
            raise UsageError("the grammar's rules are nested too deeply at their beginnings; make them simpler")

    def _left_corners(self) -> dict[str, list[str]]:
        """The rules that a rule can begin with, one for each way."""
        empty = self._closure(terminals=False)
        found: dict[str, list[str]] = {name: [] for name in self.rules}
        for name, alternatives in self.rules.items():
            for alternative in alternatives:
                for symbol in alternative:
                    if symbol is None:
                        break
                    found[name].append(symbol)
                    if symbol not in empty:
                        break
        return found


def _shown(rule: str) -> str:
    """The name of a rule as the user wrote it; a group inside it has a number after a point."""
    return rule.partition(".")[0]


def read_grammar(gbnf: str) -> Grammar:
    """The rules of a grammar. Raises UsageError, with the number of the line, where the text is no GBNF."""
    if len(gbnf) > MAX_SIZE:
        raise UsageError(f"the grammar has more than {MAX_SIZE:,} characters; make it smaller")
    if "\0" in gbnf:
        raise UsageError("the grammar contains a NUL character; remove it")
    return _Reader(list(_tokens(gbnf))).read()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


_TOKEN = re.compile(
    r"""(?P<space>[ \t]+|\#[^\r\n]*) | (?P<newline>[\r\n]+) | (?P<define>::=)
    | (?P<literal>"(?:[^"\\]|\\.)*") | (?P<chars>\[(?:[^\]\\]|\\.)*\]) | (?P<token>!?<[^>]*>)
    | (?P<name>[a-zA-Z0-9-]+) | (?P<count>\{\s*[0-9]+\s*(?:,\s*[0-9]*\s*)?\}) | (?P<sign>[|().*+?])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\.|.", re.DOTALL)


def _tokens(text: str) -> Iterator[_Token]:
    line, position = 1, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unexpected(line, text[position:])
        if match.lastgroup != "space":
            yield _Token(str(match.lastgroup), match[0], line)
        line += match[0].count("\n")
        position = match.end()


def _unexpected(line: int, text: str) -> UsageError:
    shown = " ".join(text[:200].split())[:30] or "the end"
    return UsageError(f"the grammar is wrong in line {line}, at {shown}; see llama.cpp's grammars/README.md")


@dataclass(slots=True)
class _Reader:
    """Reads tokens as llama.cpp's parser does: a rule ends with its line, except inside parentheses and after | ::=."""

    tokens: list[_Token]
    position: int = 0
    nesting: int = 0
    elements: int = 0
    rules: dict[str, list[tuple[Symbol, ...]]] = field(default_factory=dict)

    def read(self) -> Grammar:
        self._skip_newlines()
        while self.position < len(self.tokens):
            name = self._take("name").text
            self._take("define")
            self._skip_newlines()
            if name in self.rules:
                raise UsageError(f"the grammar defines {name} twice; remove one of them")
            self.rules[name] = []
            self.rules[name] += self._alternatives(name)
            if self.position < len(self.tokens):
                self._take("newline")
        return Grammar(self.rules)

    def _alternatives(self, name: str) -> list[tuple[Symbol, ...]]:
        found = [self._sequence(name)]
        while self._next() == "|":
            self.position += 1
            self._skip_newlines()
            found.append(self._sequence(name))
        return found

    def _sequence(self, name: str) -> tuple[Symbol, ...]:
        symbols: list[Symbol] = []
        sizes: list[int] = []  # how many elements a symbol is: a literal is one symbol here
        start: int | None = None
        while (token := self._peek()) is not None:
            if token.kind == "count" or token.text in {"*", "+", "?"}:
                if start is None or start == len(symbols):
                    raise _unexpected(token.line, token.text)
                self.position += 1
                self._repeat(name, (symbols, sizes), start, token)
            elif token.kind in {"literal", "chars", "token", "name"} or token.text in {".", "("}:
                start = len(symbols)
                self.position += 1
                symbols += self._item(name, token)
                sizes += [_length(token)] * (len(symbols) - start)
            else:
                break
            if self.nesting:
                self._skip_newlines()
        self._count(sum(sizes))
        return tuple(symbols)

    def _item(self, name: str, token: _Token) -> list[Symbol]:
        if token.kind == "name":
            return [token.text]
        if token.text == "(":
            return [self._group(name, token)]
        _check_characters(token)
        return [None] if token.text not in {'""', "[]", "[^]"} else []

    def _group(self, name: str, opening: _Token) -> str:
        self.nesting += 1
        if self.nesting > _MAX_NESTING:
            raise UsageError(f"the grammar has more than {_MAX_NESTING} nested parentheses; use rules instead")
        self._skip_newlines()
        group = self._fresh(name)
        self.rules[group] = self._alternatives(name)
        if self._next() != ")":
            raise _unexpected(opening.line, opening.text)
        self.position += 1
        self.nesting -= 1
        return group

    def _repeat(self, name: str, sequence: tuple[list[Symbol], list[int]], start: int, token: _Token) -> None:
        symbols, sizes = sequence
        low, high = _bounds(token)
        item, size = symbols[start:], sum(sizes[start:])
        self._count(size * (low if high is None else high))
        del symbols[start:], sizes[start:]
        if low:
            symbols += item
            sizes += [0] * len(item)
        if high is None or high > low:
            rest = self._fresh(name)
            self.rules[rest] = [(*item, rest) if high is None else tuple(item), ()]
            symbols.append(rest)
            sizes.append(1)

    def _count(self, elements: int) -> None:
        self.elements += elements
        if self.elements > _MAX_ELEMENTS:
            raise UsageError("the grammar is too large when its repetitions are written out; lower the counts")

    def _fresh(self, name: str) -> str:
        fresh = f"{name}.{len(self.rules)}"
        self.rules[fresh] = []
        return fresh

    def _peek(self) -> _Token | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def _next(self) -> str:
        token = self._peek()
        return token.text if token else ""

    def _take(self, kind: str) -> _Token:
        token = self._peek()
        if token is None or token.kind != kind:
            rest = self.tokens[self.position : self.position + 5]
            line = rest[0].line if rest else self.tokens[-1].line
            raise _unexpected(line, " ".join(token.text for token in rest))
        self.position += 1
        if kind == "newline":
            self._skip_newlines()
        return token

    def _skip_newlines(self) -> None:
        while (token := self._peek()) is not None and token.kind == "newline":
            self.position += 1


def _check_characters(token: _Token) -> None:
    """Raises UsageError for what llama.cpp takes and no text can match: `[z-a]`, `"\\x00"`, half a surrogate pair."""
    if token.kind not in {"literal", "chars"}:
        return
    chars = _ESCAPED.findall(token.text[1:-1])
    for char in chars if token.kind == "literal" else []:
        if not (0 < _code(char) < 0xD800 or 0xDFFF < _code(char) <= 0x10FFFF):
            raise UsageError(f"the grammar has {char} in line {token.line}, which no text can contain; leave it out")
    for low, sign, high in zip(chars, chars[1:], chars[2:], strict=False):
        if token.kind == "chars" and sign == "-" and low != "-" and _code(low) > _code(high):
            raise UsageError(f"the grammar has the range {low}-{high} in line {token.line}; write {high}-{low}")


def _code(char: str) -> int:
    """The code point of a character of a class, which may be escaped."""
    if char[:2] in {"\\x", "\\u", "\\U"} and len(char) > 2:
        return int(char[2:], 16)
    return ord({"\\n": "\n", "\\r": "\r", "\\t": "\t"}.get(char, char[-1]))


def _length(token: _Token) -> int:
    """How many elements of llama.cpp a token is: a literal has one a character, a class two a range."""
    return len(_ESCAPED.findall(token.text[1:-1])) if token.kind in {"literal", "chars"} else 1


def _bounds(token: _Token) -> tuple[int, int | None]:
    """The least and the largest number of repetitions; None: no bound. Raises UsageError for too large a number."""
    signs: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
    if token.text in signs:
        return signs[token.text]
    numbers = [number.strip().lstrip("0") for number in token.text[1:-1].split(",")]
    if any(len(number) > 9 or int(number or 0) > MAX_COUNT for number in numbers):
        raise UsageError(f"the grammar repeats something more than {MAX_COUNT:,} times in line {token.line}; lower it")
    low = int(numbers[0] or 0)
    if len(numbers) == 1:
        return low, low
    high = None if not token.text[1:-1].split(",")[1].strip() else int(numbers[1] or 0)
    if high is not None and high < low:
        raise _unexpected(token.line, token.text)
    return low, high


_stderr_lock = threading.Lock()


def _parse_by_llama(gbnf: str) -> None:
    """Raises UsageError with the reason of llama.cpp's own parser."""
    from r1.engine.llama import llama  # here, because it is heavier than all the rest of the forms

    native = llama()
    with _stderr_lock, tempfile.TemporaryFile() as captured:
        kept = _redirect_stderr(captured.fileno())
        try:
            sampler = native.llama_sampler_init_grammar(None, _without_names(gbnf).encode(), b"root")
        finally:
            _restore_stderr(kept)
        captured.seek(0)
        printed = captured.read(10_000).decode("utf-8", "replace")
    if sampler:
        native.llama_sampler_free(sampler)
        return
    raise UsageError(f"llama.cpp cannot read the grammar: {_reason(printed)}")


def _without_names(gbnf: str) -> str:
    """The grammar with token 0 for each token that is named: only a vocabulary knows the names."""

    def replaced(match: re.Match[str]) -> str:
        is_name = match.lastgroup == "token" and "<[" not in match[0]
        return f"{'!' if match[0].startswith('!') else ''}<[0]>" if is_name else match[0]

    return _TOKEN.sub(replaced, gbnf)


def _redirect_stderr(target: int) -> int | None:
    """llama.cpp prints a parser's complaint, with the whole grammar, on the file descriptor itself."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        return None
    os.dup2(target, 2)
    return kept


def _restore_stderr(kept: int | None) -> None:
    if kept is not None:
        os.dup2(kept, 2)
        os.close(kept)


def _reason(printed: str) -> str:
    """The first line of what llama.cpp said, without the text of the grammar."""
    line = next(iter(printed.splitlines()), "").rpartition("error parsing grammar: ")[2].strip() or "it gave no reason"
    return line if len(line) <= 100 else f"{line[:99]}…"

"""Lines of code → coloured lines, one by one as they arrive.

Pygments continues where it stopped: a line is lexed together with the token that it is part of, such as a string or
comment of several lines, but not with all the code before it. So the thousandth line takes no longer than the first.
"""

from __future__ import annotations

from typing import Any

from pygments.lexer import ExtendedRegexLexer, LexerContext, RegexLexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Token
from pygments.util import ClassNotFound
from rich.style import Style
from rich.text import Text

_STYLES = {  # of the eight dark colours, those that are readable on every background: no black, white, blue, yellow
    Token.Comment: Style(dim=True, italic=True),
    Token.Comment.Preproc: Style(color="magenta"),
    Token.Keyword: Style(color="magenta"),
    Token.Operator.Word: Style(color="magenta"),
    Token.Literal.String: Style(color="green"),
    Token.Literal.Number: Style(color="cyan"),
    Token.Keyword.Constant: Style(color="cyan"),
    Token.Name.Builtin: Style(color="cyan"),
    Token.Name.Decorator: Style(color="cyan"),
    Token.Name.Function: Style(bold=True),
    Token.Name.Class: Style(bold=True),
    Token.Name.Tag: Style(color="magenta"),
    Token.Generic.Heading: Style(bold=True),
    Token.Generic.Deleted: Style(color="red"),
    Token.Generic.Inserted: Style(color="green"),
}
_MAX_LINE_CHARACTERS = 500  # a longer line is data, where colours do not help
_MAX_CONTEXT_CHARACTERS = 20_000  # of one comment or string; after that, lexing starts again at the current line


class Highlighter:
    """Colours one block of code, line by line."""

    def __init__(self, language: str) -> None:
        self._lexer = _lexer(language)
        self._pending = ""  # the lines that the current token began in
        self._stack = ("root",)

    def line(self, source: str) -> Text:
        """The next line, without its newline."""
        if self._lexer is None or len(source) > _MAX_LINE_CHARACTERS:
            return Text(source)
        begin = len(self._pending)
        self._pending += source + "\n"
        try:
            return self._coloured(begin, source)
        except Exception:  # Pygments has hundreds of lexers, and a model's text can make any of them fail
            self._lexer = None
            return Text(source)

    def _coloured(self, begin: int, source: str) -> Text:
        """The pending line that begins at `begin`. Lines before the last token that starts a line are dropped."""
        result, cut, stack = Text(source), 0, self._stack
        context = LexerContext(self._pending, 0, list(self._stack), len(self._pending))
        for position, kind, value in ExtendedRegexLexer.get_tokens_unprocessed(self._lexer, context=context):
            if position <= begin and (not position or self._pending[position - 1] == "\n"):
                cut, stack = position, tuple(context.stack)
            first, last = max(position - begin, 0), min(position + len(value) - begin, len(source))
            if first < last and (style := _style(kind)):
                result.stylize(style, first, last)
        self._pending, self._stack = self._pending[cut:], stack
        if len(self._pending) > _MAX_CONTEXT_CHARACTERS:
            self._pending, self._stack = "", ("root",)
        return result


def _style(kind: Any) -> Style | None:
    while kind is not None:
        if style := _STYLES.get(kind):
            return style
        kind = kind.parent
    return None


def _lexer(language: str) -> Any:
    """None for an unknown language, and for one whose lexer cannot continue from a saved state."""
    try:
        lexer = get_lexer_by_name(language) if language else None
    except ClassNotFound:
        return None
    return lexer if isinstance(lexer, RegexLexer) else None

"""Lines of code → lines in colours, one after the other as they come.

Pygments goes on where it was: a line is lexed with what began before it, a string or a comment of many lines, but not
with all the code there is, so that the last of thousands costs no more than the first.

Knows: Pygments, colours. Does not know: Markdown, widths.
"""

from __future__ import annotations

from typing import Any

from pygments.lexer import ExtendedRegexLexer, LexerContext, RegexLexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Token
from pygments.util import ClassNotFound
from rich.style import Style
from rich.text import Text

_STYLES = {  # the sixteen colours' dark half, without black, white, blue and yellow: each is lost on some background
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
_LONGEST = 500  # characters of a line: a longer one is data, in which colours say nothing
_CONTEXT = 20_000  # characters of one comment or string, behind which its lines are lexed as they are


class Highlighter:
    """The lines of one block of code, in their order."""

    def __init__(self, language: str) -> None:
        self._lexer = _lexer(language)
        self._pending = ""  # the lines that what comes may belong to
        self._stack = ("root",)

    def line(self, source: str) -> Text:
        """The next line, without its newline."""
        if self._lexer is None or len(source) > _LONGEST:
            return Text(source)
        begin = len(self._pending)
        self._pending += source + "\n"
        try:
            return self._coloured(begin, source)
        except Exception:  # hundreds of lexers by hundreds of people, and text that none of them expects
            self._lexer = None
            return Text(source)

    def _coloured(self, begin: int, source: str) -> Text:
        """The line that begins at `begin`; what lies before the last token that begins a line is done with."""
        result, cut, stack = Text(source), 0, self._stack
        context = LexerContext(self._pending, 0, list(self._stack), len(self._pending))
        for position, kind, value in ExtendedRegexLexer.get_tokens_unprocessed(self._lexer, context=context):
            if position <= begin and (not position or self._pending[position - 1] == "\n"):
                cut, stack = position, tuple(context.stack)
            first, last = max(position - begin, 0), min(position + len(value) - begin, len(source))
            if first < last and (style := _style(kind)):
                result.stylize(style, first, last)
        self._pending, self._stack = self._pending[cut:], stack
        if len(self._pending) > _CONTEXT:
            self._pending, self._stack = "", ("root",)
        return result


def _style(kind: Any) -> Style | None:
    while kind is not None:
        if style := _STYLES.get(kind):
            return style
        kind = kind.parent
    return None


def _lexer(language: str) -> Any:
    """None for a language that nobody knows, or whose lexer cannot go on from the middle."""
    try:
        lexer = get_lexer_by_name(language) if language else None
    except ClassNotFound:
        return None
    return lexer if isinstance(lexer, RegexLexer) else None

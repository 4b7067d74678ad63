"""`r1.markdown.code`: code in colours, line by line."""

from __future__ import annotations

import re

import pytest

from r1.markdown.code import Highlighter
from r1.markdown.stream import render


def styled(highlighter: Highlighter, line: str) -> dict[str, str]:
    """The coloured parts of a line → their style."""
    text = highlighter.line(line)
    assert text.plain == line
    return {line[span.start : span.end]: str(span.style) for span in text.spans}


class TestHighlighter:
    """Colours follow the language, also from one line to the next."""

    def test_each_kind_of_token_has_its_style(self) -> None:
        found = styled(Highlighter("python"), "def f(x): return 's', 1  # c")
        assert found["def"] == "magenta"
        assert found["f"] == "bold"
        assert found["1"] == "cyan"
        assert set(found["# c"].split()) == {"italic", "dim"}

    def test_a_string_continues_on_the_next_line_and_ends_there(self) -> None:
        highlighter = Highlighter("python")
        highlighter.line('x = """one')
        assert styled(highlighter, "two")["two"] == "green"
        highlighter.line('"""')
        assert "green" not in styled(highlighter, "y = z").values()

    @pytest.mark.parametrize("language", ["", "no-such-language", "\x00", "py thon"])
    def test_an_unknown_language_has_no_colours(self, language: str) -> None:
        assert styled(Highlighter(language), "def f(): pass") == {}

    def test_a_very_long_line_has_no_colours(self) -> None:
        assert styled(Highlighter("python"), "x = 1 + " * 100) == {}

    def test_a_comment_without_an_end_does_not_make_later_lines_slow(self) -> None:
        highlighter = Highlighter("c")
        highlighter.line("/*")
        for _ in range(1000):
            highlighter.line("a line of a comment that nobody ever closes")
        assert len(highlighter._pending) < 21_000

    def test_lines_before_the_present_token_are_not_lexed_again(self) -> None:
        highlighter = Highlighter("python")
        for number in range(300):
            highlighter.line(f"value_{number} = compute({number}, 'text')  # a line")
            assert len(highlighter._pending) < 200

    def test_a_lexer_that_fails_costs_the_colours_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from r1.markdown import code

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("a fault in a lexer")

        monkeypatch.setattr(code.ExtendedRegexLexer, "get_tokens_unprocessed", broken)
        assert styled(Highlighter("python"), "def f(): pass") == {}


def test_every_colour_is_readable_on_every_background() -> None:
    python = "@x\nclass A(B):\n    '''d'''\n    s = f'{1}' + 2.5 if None else \"\\n\"  # c\n"
    code = f"```python\n{python}```\n```diff\n+a\n-b\n```"
    colours = {int(code) for codes in re.findall(r"\x1b\[([\d;]+)m", render(code, 80)) for code in codes.split(";")}
    assert colours <= {0, 1, 2, 3, 31, 32, 35, 36}


def test_a_string_of_many_lines_keeps_its_colour() -> None:
    lines = render('```python\nx = """one\ntwo\n"""\ny = 1\n```\n```c\n/* a\n b */ int c;\n```', 80).splitlines()
    assert lines[1] == "\x1b[32mtwo\x1b[0m"
    assert "\x1b[32m" not in lines[3]
    assert lines[6].startswith("\x1b[2;3m b */\x1b[0m")

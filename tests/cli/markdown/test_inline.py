"""`r1.markdown.inline`: the text of a paragraph, and from where on it can still change."""

from __future__ import annotations

import pytest

from r1.markdown.grammar import parse_inline
from r1.markdown.inline import Line, inline


def line_of(source: str) -> Line:
    return inline(parse_inline(source))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("[here](https://x.org)", "here (https://x.org)"),
        ("<https://x.org>", "https://x.org"),
        ("[https://x.org](https://x.org/)", "https://x.org"),
        ("<me@x.org>", "me@x.org"),
        ("[](https://x.org)", "https://x.org"),
        ("![a cat](cat.png)", "a cat (cat.png)"),
        ("[**bold** link](u)", "bold link (u)"),
        ("one  \ntwo\nthree", "one\ntwo\nthree"),
        ("a\tb", "a b"),
    ],
)
def test_links_show_their_address_unless_it_is_their_text(source: str, text: str) -> None:
    assert line_of(source).text.plain == text


def test_styles_add_up() -> None:
    text = line_of("**bold *both* ~~gone~~** `code`").text
    styles = {text.plain[span.start : span.end].strip(): str(span.style) for span in text.spans}
    assert styles["bold"] == "bold"
    assert set(styles["both"].split()) == {"bold", "italic"}
    assert set(styles["gone"].split()) == {"bold", "strike"}
    assert styles["code"] == "cyan"


class TestOpen:
    """The first character that later text can turn into markup."""

    @pytest.mark.parametrize(
        ("source", "beginning"),
        [
            ("a *b", "a "),
            ("a _b", "a "),
            ("a `b", "a "),
            ("a $b", "a "),
            ("a [b", "a "),
            ("a ~~b", "a "),
            ("**done** and *b", "done and "),
            ("a **b *c*", "a "),
        ],
    )
    def test_is_where_a_mark_has_no_end_yet(self, source: str, beginning: str) -> None:
        line = line_of(source)
        assert line.text.plain[: line.open] == beginning
        assert line.open is not None

    @pytest.mark.parametrize("source", ["a b", "2 * 3", "snake_case", "**done**", "`a*b`", "a ~ b"])
    def test_is_none_if_nothing_can_change(self, source: str) -> None:
        assert line_of(source).open is None

"""`r1.forms.gbnf_check`: which grammars are refused before llama.cpp or a model meets them."""

from __future__ import annotations

import pytest

from r1.forms.gbnf_check import check_grammar
from r1_quantize.errors import UsageError


@pytest.mark.parametrize(
    "gbnf",
    [
        'root ::= "yes" | "no"',
        '# a comment\nroot ::= item+ # of items\n\nitem ::=\n  "a" |\n  "b"\n',
        'root ::= ( "a"\n | "b" )* "c"\r\n',
        'root ::= [^\\n"\\]]{2,5} . "x"{3} "y"{2,}',
        'root ::= "(" root? ")"',
        'root ::= <think> "a" <[5]> !<[6]> !<end> "<b>"',
        'root ::= "" | "a"',
        r"root ::= [a-c-] [\x41-Z] [+--] [\t-\n] [^\u00e9-\U0001F600-] [-a]",
        'root ::= "a"\nb ::= "unused"',
        'root ::= a\na ::= b? "x" a | "y"\nb ::= ""',
        "root ::= " + "(" * 90 + '"a"' + ")" * 90,
        "root ::= " + " ".join(['"a"'] * 20_000),
    ],
)
def test_a_grammar_that_ends_is_accepted(gbnf: str) -> None:
    check_grammar(gbnf)


@pytest.mark.parametrize(
    ("gbnf", "reason"),
    [
        ("", "no rule named root"),
        ('a ::= "x"', "no rule named root"),
        ("root ::= x", "rule root uses x, which is not defined"),
        ("root ::= root", "rule root can never end"),
        ('root ::= "a" b\nb ::= "c" b', "rule root can never end"),
        ('root ::= "a"\nb ::= "c" b', "rule b can never end"),
        ('root ::= root "a" | "b"', "rule root begins with itself"),
        ('root ::= a\na ::= b "x" | "y"\nb ::= a', "begins with itself"),
        ('root ::= c root "z" | "x"\nc ::= d\nd ::= "" | "y"', "rule root begins with itself"),
        ('root ::= ("a"*)*', "begins with itself"),
        ('root ::= ""', "no text but the empty one"),
        ('root ::= ("" a)\na ::= "x"{0}\nb ::= "y"', "no text but the empty one"),
        ("root ::= [a-cz-x]", "the range z-x in line 1; write x-z"),
        (r"root ::= [\x42-A]", r"the range \x42-A in line 1"),
        (r'root ::= "a\x00"', r"\x00 in line 1, which no text can contain"),
        (r'root ::= "\uD83D\uDE00"', r"\uD83D in line 1, which no text can contain"),
        (r'root ::= "\U00110000"', r"\U00110000 in line 1, which no text can contain"),
        ('root ::= ("a"', "line 1, at ("),
        ('root ::= "a"\n\nb = "c"', "line 3"),
        ('root ::= "a"\n | "b"', "line 2"),
        ('root ::= "a', 'line 1, at "a'),
        ("root ::= [a-z", "line 1, at [a-z"),
        ("root ::= 'a'", "line 1, at 'a'"),
        ("root ::= a_b", "line 1, at _b"),
        ("root ::= *", "line 1, at *"),
        ('root ::= "a"{3,2}', "line 1, at {3,2}"),
        ('root ::= "a"\nroot ::= "b"', "defines root twice"),
        ('root ::= "a"{3000}', "more than 2,000 times in line 1"),
        ('root ::= "a"{1,1000000000}', "more than 2,000 times in line 1"),
        ('root ::= "a"{99999999999999999999999999}', "more than 2,000 times in line 1"),
        (f'root ::= "{"a" * 1000}"{{1000}}', "too large when its repetitions are written out"),
        ("root ::= " + "(" * 200 + '"a"' + ")" * 200, "more than 100 nested parentheses"),
        ("root ::= " + "(" * 200_000, "more than 100 nested parentheses"),
        ('root ::= "a" #' + "x" * 300_000, "more than 262,144 characters"),
        ('root ::= "a\0"', "NUL"),
        ('root ::= "\\q"', "llama.cpp cannot read the grammar: unknown escape"),
        ('root ::= "\\u12"', "llama.cpp cannot read the grammar: expecting 4 hex chars"),
        (
            "root ::= r0\n" + "".join(f"r{n} ::= r{n + 1} | r{n + 1}\n" for n in range(60)) + 'r60 ::= "a"',
            "nested too deeply at their beginnings",
        ),
        (
            "root ::= r0\n" + "".join(f"r{n} ::= r{n + 1}\n" for n in range(3000)) + 'r3000 ::= "a"',
            "nested too deeply at their beginnings",
        ),
    ],
)
def test_a_bad_grammar_is_refused_in_one_line(gbnf: str, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as error:
        check_grammar(gbnf)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200
    assert capfd.readouterr() == ("", "")  # llama.cpp prints its complaint, and the grammar, on its own

"""Whether two answers say the same: a table of pairs, and a verifier that is missing, fails or is asked twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from r1.evaluate.equivalence import Equivalence, Same
from r1.evaluate.symbolic import LONGEST, Verifier
from tests.fakes.paths import DATA

Pair = tuple[str, str, bool]


def _read_pairs() -> dict[str, list[Pair]]:
    sections: dict[str, list[Pair]] = {}
    for line in (DATA / "answer_pairs.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("[") and "=  " not in line:
            pairs = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            sign = "  ==  " if "  ==  " in line else "  !=  "
            one, other = line.split(sign)
            pairs.append((one, other, "=" in sign.strip()[0]))
    return sections


PAIRS = _read_pairs()
ALGEBRA = ("symbolic", "compared literally")


class FakeVerifier(Verifier):
    """Gives one answer, which takes so many seconds, and keeps what it was asked."""

    def __init__(self, result: bool | None, takes_s: float = 0.0) -> None:
        super().__init__()
        self.result = result
        self.takes_s = takes_s
        self.asked: list[tuple[str, str]] = []

    def verify(self, gold: str, answer: str, interrupted: Callable[[], bool] = lambda: False) -> bool | None:
        self.asked.append((gold, answer))
        self.spent_s += self.takes_s
        return None if interrupted() else self.result


@pytest.fixture(scope="module")
def equivalence() -> Iterator[Equivalence]:
    with closing(Equivalence(Verifier(limit_s=60.0))) as equivalence:
        yield equivalence


def test_the_table_is_long_and_has_both_sides() -> None:
    pairs = [pair for section in PAIRS.values() for pair in section]
    assert len(pairs) >= 300
    assert len({frozenset(pair[:2]) for pair in pairs}) == len(pairs)
    assert 80 <= sum(not is_same for *_, is_same in pairs) <= len(pairs) - 80


@pytest.mark.parametrize("section", [name for name in PAIRS if name not in ALGEBRA])
def test_pairs_that_need_no_algebra(section: str) -> None:
    without = Equivalence(None)
    for one, other, is_same in PAIRS[section]:
        results = without.same(one, other), without.same(other, one)
        assert [result.value for result in results] == [is_same, is_same], (one, other)
    assert without.literally == 0


def test_pairs_that_need_algebra(equivalence: Equivalence) -> None:
    for one, other, is_same in PAIRS["symbolic"]:
        equivalence.begin()
        for result in (equivalence.same(one, other), equivalence.same(other, one)):
            assert result == Same(is_same, "symbolic"), (one, other)
    assert equivalence.literally == 0


def test_what_algebra_would_not_read_as_it_is_meant_is_compared_literally() -> None:
    verifier = FakeVerifier(True)
    equivalence = Equivalence(verifier)
    for one, other, _ in PAIRS["compared literally"]:
        assert equivalence.same(one, other) == equivalence.same(other, one) == Same(False, "literal"), (one, other)
    assert not verifier.asked
    assert equivalence.literally == len(PAIRS["compared literally"])


def test_without_the_extra_formulas_are_compared_literally_and_counted() -> None:
    without = Equivalence(None)
    for one, other, _ in PAIRS["symbolic"]:
        assert without.same(one, other) == Same(False, "literal"), (one, other)
    assert without.literally == len(PAIRS["symbolic"])
    assert without.same(r"\sqrt2 x", r"$\sqrt{2}x$").value  # the same formula, as LaTeX goes


def test_says_how_it_knows() -> None:
    without = Equivalence(None)
    assert without.same(" x+1 ", "x+1") == Same(True, "text")
    assert without.same("Saturday", r"\text{Sunday}") == Same(False, "text")
    assert without.same("0.5", "1/2") == Same(True, "number")
    assert without.same("x+1", "1+x") == Same(False, "literal")


def test_what_the_verifier_cannot_say_is_literal_and_asked_for_once() -> None:
    verifier = FakeVerifier(None)
    equivalence = Equivalence(verifier)
    results = [equivalence.same(r"\sqrt{x}", "5"), equivalence.same("$5$", r"\sqrt{x}")]
    assert results == [Same(False, "literal")] * 2
    assert len(verifier.asked) == 1
    assert equivalence.literally == 1  # pair


def test_what_was_interrupted_is_literal_and_neither_counted_nor_remembered() -> None:
    verifier = FakeVerifier(True)
    is_interrupted = True
    equivalence = Equivalence(verifier, lambda: is_interrupted)
    assert equivalence.same("x+1", "1+x") == Same(False, "literal")
    assert equivalence.same("1/2", "0.5") == Same(True, "number")
    is_interrupted = False
    assert equivalence.literally == 0
    assert equivalence.has_skipped
    assert not verifier.asked
    assert equivalence.same("x+1", "1+x") == Same(True, "symbolic")
    is_interrupted = True
    assert equivalence.same("1+x", "x+1") == Same(True, "symbolic")


def test_all_answers_to_a_question_have_a_bounded_time() -> None:
    """What is left then is compared as text, counted once, and no more so for the next question."""
    verifier = FakeVerifier(True, takes_s=2.0)
    equivalence = Equivalence(verifier, limit_s=5.0)
    found = [equivalence.same("x+1", f"1+x+{number}y") for number in range(1, 6)]
    assert found == [*[Same(True, "symbolic")] * 3, *[Same(False, "literal")] * 2]
    assert equivalence.same("x+1", "1+x+5y") == Same(False, "literal")
    assert equivalence.same("x+1", "1+x+1y") == Same(True, "symbolic")  # remembered
    assert equivalence.same("1/2", "0.5") == Same(True, "number")
    assert equivalence.literally == 2
    equivalence.begin()
    assert equivalence.same("x+1", "1+x+5y") == Same(True, "symbolic")
    assert equivalence.literally == 2
    assert not equivalence.has_skipped


def test_the_verifier_gets_formulas_without_decoration() -> None:
    verifier = FakeVerifier(True)
    assert (
        Equivalence(verifier).same(r"$\boxed{\dfrac{\pi}{2}}$", r"\left(\tfrac{\pi}{4}\right) \cdot 2 \text{ cm}").value
    )
    assert sorted(verifier.asked[0]) == [r"(\frac{\pi}{4}) \cdot 2", r"\frac{\pi}{2}"]


@pytest.mark.parametrize(
    "hostile",
    ["x+" * 5_000_000, "\\frac{" * 10_000 + "1" + "}{2}" * 10_000, "9" * 100_000, "{" * 10_000, "$" * (LONGEST + 1)],
    ids=["10 MB", "fractions 10,000 deep", "100,000 digits", "braces", "dollars"],
)
def test_long_answers_are_compared_as_texts_at_once(hostile: str) -> None:
    verifier = FakeVerifier(True)
    equivalence = Equivalence(verifier)
    assert equivalence.same(hostile, "1") == equivalence.same("1", hostile) == Same(False, "text")
    assert equivalence.same(hostile, f" {hostile}") == Same(True, "text")
    assert not verifier.asked


@pytest.mark.parametrize(
    "hostile",
    [
        *(
            "(" * 1_900,
            "1," * 990,
            "1a" * 990,
            "1 a" + "^{2}" * 400 + "5",
            "\\pm" * 300,
            "x=" * 900,
            "\\{" * 900,
            "a and " * 300,
        ),
        *(
            "\\text{" * 300,
            "1/" * 900 + "2",
            "99999*" * 300 + "9",
            "\\frac" + "1" * 1_900,
            " " * 1_900 + "1",
            "\0",
            "\ud800",
        ),
        *("\\boxed{" * 280, "\\boxed{1}" * 220, "1e999999999", "10^{10^{10}}", "9^9^9^9", "\\(" * 900, "*" * 1_900),
    ],
    ids=lambda hostile: ascii(hostile[:10]),
)
def test_hostile_short_answers_get_a_result(hostile: str) -> None:
    equivalence = Equivalence(FakeVerifier(None))
    assert not equivalence.same(hostile, "17").value
    assert equivalence.same(hostile, hostile).value

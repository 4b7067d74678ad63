"""`r1.history.search`: words in any case, order and language."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from r1.history.history import History
from r1.history.search import Hit
from r1_quantize.errors import UsageError
from tests.fakes.chats import asked, say


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History.open(tmp_path / "history.db") as opened:
        yield opened


def found(history: History, words: str) -> list[tuple[int, int, str]]:
    return [(hit.session, hit.number, hit.where) for hit in history.search(words)]


def marked(hit: Hit) -> list[str]:
    return [hit.excerpt[start:end] for start, end in hit.spans]


class TestWords:
    """All words must occur in one turn; quotes make a phrase."""

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("une école à Paris", "ÉCOLE"),
            ("UNE ÉCOLE", "école"),
            ("une école", "OLE"),
            ("模型会思考，然后回答", "思考"),
            ("模型会思考，然后回答", "回答 模型"),
            ("Что такое вода?", "ВОДА"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("Kiss the sky", "KISS"),
            ("50 \u212aelvin", "kelvin"),
            ("the quick\n  brown fox", '"quick brown"'),
            ("the quick\n  brown fox", "fox the"),
            ("a.b*c(d", "b*c("),
            ("an \U0001f600 emoji", "\U0001f600"),
            ("100%_sure", "%_s"),
            ("unclosed quote", '"unclosed quo'),
            ("strawberry", "wber"),
        ],
    )
    def test_is_found(self, history: History, text: str, words: str) -> None:
        say(history, None, "q", text)
        assert found(history, words) == [(1, 1, "answer")]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("the quick red fox", '"quick fox"'),
            ("the quick fox", "quick dog"),
            ("abc", "a.c"),
            ("模型", "模 形"),
            ("ecole", "école"),
        ],
    )
    def test_is_not_found(self, history: History, text: str, words: str) -> None:
        say(history, None, "q", text)
        assert found(history, words) == []

    @pytest.mark.parametrize("words", ["", "  ", '""', '" "'])
    def test_an_empty_query_is_refused(self, history: History, words: str) -> None:
        with pytest.raises(UsageError, match="nothing to search for"):
            history.search(words)


class TestPlaces:
    """Every text is searched, unfinished and withdrawn turns too."""

    def test_each_place_has_its_name(self, history: History) -> None:
        say(history, None, asked("apple", ("pear.txt", "a plum")), "cherry", "quince")
        history.title(1, "Fruit")
        for words, where in {
            "apple": "question", "pear": "file", "plum": "file", "cherry": "answer", "quince": "thinking",
        }.items():  # fmt: skip
            assert found(history, words) == [(1, 1, where)], words
        assert found(history, "fruit") == [(1, 0, "title")]

    def test_words_may_be_anywhere_in_one_turn_but_not_in_two(self, history: History) -> None:
        session, _ = say(history, None, "apple", "cherry and pie")
        say(history, session, "plum", "quince")
        assert found(history, "pie apple") == [(session, 1, "question")]
        assert found(history, "pie cherry apple") == [(session, 1, "answer")]
        assert found(history, "apple quince") == []

    def test_a_title_that_repeats_the_question_is_not_a_second_hit(self, history: History) -> None:
        say(history, None, "apple")
        assert found(history, "apple") == [(1, 1, "question")]

    def test_an_unfinished_turn_is_found_across_its_pieces(self, history: History) -> None:
        session, turn = history.begin(None, asked("q"))
        history.add(turn, "straw", "")
        history.add(turn, "berry", "")
        assert found(history, "strawberry") == [(session, 1, "thinking")]

    def test_withdrawn_turns_are_marked(self, history: History) -> None:
        session, turn = say(history, None, "apple")
        history.withdraw(turn)
        say(history, session, "apples")
        assert [(hit.number, hit.withdrawn) for hit in history.search("apple")] == [(1, False), (1, True)]

    def test_deleted_chats_are_not_found(self, history: History) -> None:
        session, _ = say(history, None, "apple")
        history.delete(session)
        assert history.search("apple") == []

    def test_the_newest_come_first_and_the_limit_holds(self, history: History) -> None:
        for number in range(5):
            say(history, None, f"apple {number}")
        assert [hit.session for hit in history.search("apple", limit=3)] == [5, 4, 3]
        history.title(1, "All of my apples")
        assert found(history, "apples") == [(1, 0, "title")]


class TestExcerpts:
    """An excerpt is one line around the first match, with every match in it marked."""

    def test_a_short_text_is_its_own_excerpt(self, history: History) -> None:
        say(history, None, "q", "An École,\n\ta school; écoles.")
        (hit,) = history.search("école school")
        assert hit.excerpt == "An École, a school; écoles."
        assert marked(hit) == ["École", "school", "école"]

    def test_a_long_one_is_cut_on_both_sides(self, history: History) -> None:
        say(history, None, "q", "x" * 1000 + " needle " + "y" * 1000)
        (hit,) = history.search("NEEDLE")
        assert (hit.excerpt[0], hit.excerpt[-1], marked(hit)) == ("…", "…", ["needle"])
        assert len(hit.excerpt) <= 165

    def test_matches_that_overlap_are_one(self, history: History) -> None:
        say(history, None, "q", "strawberry")
        (hit,) = history.search("straw rawberry")
        assert hit.spans == ((0, 10),)

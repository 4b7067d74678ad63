"""`r1.history.history`: everything that was saved can be read, in this process and in the next."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from r1.history.history import History, StoredTurn
from r1_quantize.errors import ChatNotFound, UsageError
from tests.fakes.chats import TIMINGS, USAGE, asked, finished, say


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "r1" / "history.db"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    with History.open(path) as opened:
        yield opened


Again = Callable[[Path], History]


@pytest.fixture
def again() -> Iterator[Again]:
    """Opens the database as another process would."""
    with ExitStack() as opened:
        yield lambda path: opened.enter_context(History.open(path, must_exist=True))


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """The rows as any SQLite program reads them."""
    with closing(sqlite3.connect(path)) as plain:
        return plain.execute(query).fetchall()


class TestTurns:
    """A turn is saved from its question on, piece by piece."""

    def test_a_turn_comes_back_as_it_was(self, history: History, path: Path, again: Again) -> None:
        question = asked("What is in it?\nSay it.", ("a.txt", "x\n"), ("b.txt", ""), system="be kind")
        session, turn = say(history, None, question, answer="An x.", thinking="Let me see.", reason="length")
        (stored,) = again(path).turns(session)
        assert stored == StoredTurn(
            id=turn,
            number=1,
            asked=question,
            thinking="Let me see.",
            answer="An x.",
            finish_reason="length",
            thinking_s=1.5,
            usage=USAGE,
            timings=TIMINGS,
            load_s=0.125,
            started=stored.started,
            trimmed=False,
        )
        assert abs(stored.started - path.stat().st_mtime) < 60

    def test_a_question_is_saved_before_the_first_piece(self, history: History, path: Path, again: Again) -> None:
        session, _ = history.begin(None, asked("why?"))
        (stored,) = again(path).turns(session)
        assert (stored.asked.question, stored.thinking, stored.answer) == ("why?", "", "")
        assert (stored.finish_reason, stored.usage, stored.timings, stored.load_s) == (None, None, None, None)

    def test_pieces_are_read_in_order_before_the_turn_is_over(self, history: History, path: Path, again: Again) -> None:
        session, turn = history.begin(None, asked())
        for number in range(12):
            history.add(turn, f"{number},", "")
        history.add(turn, "", "so: ")
        history.add(turn, "", "yes")
        (stored,) = again(path).turns(session)
        assert (stored.thinking, stored.answer) == ("0,1,2,3,4,5,6,7,8,9,10,11,", "so: yes")

    def test_thinking_that_went_back_replaces_the_pieces_so_far(self, history: History, path: Path) -> None:
        session, turn = history.begin(None, asked())
        history.add(turn, "Hm. Again. ", "")
        history.add(turn, "Again. Again.", "")
        history.replace_thinking(turn, "Hm. Again.")
        assert [stored.thinking for stored in history.turns(session)] == ["Hm. Again."]
        history.add(turn, " So", "it is")
        (stored,) = history.turns(session)
        assert (stored.thinking, stored.answer, stored.finish_reason) == ("Hm. Again. So", "it is", None)
        assert rows(path, "SELECT count(*) FROM pieces") == [(1,)]

    def test_thinking_is_replaced_also_after_another_process_folded_its_pieces(
        self, history: History, path: Path, again: Again
    ) -> None:
        session, turn = history.begin(None, asked())
        history.add(turn, "Hm. Again. Again.", "")
        say(again(path), session, "two")
        history.replace_thinking(turn, "Hm.")
        history.add(turn, " So.", "")
        assert [stored.thinking for stored in history.turns(session)] == ["Hm. So.", "hm"]

    def test_thinking_of_a_chat_that_another_process_deleted_is_not_replaced(self, history: History) -> None:
        session, turn = history.begin(None, asked())
        history.delete(session)
        with pytest.raises(ChatNotFound, match="another r1 has deleted this chat"):
            history.replace_thinking(turn, "Hm.")

    def test_finishing_folds_the_pieces_and_keeps_the_text(self, history: History, path: Path) -> None:
        session, turn = history.begin(None, asked())
        history.add(turn, "a", "b")
        history.add(turn, "c", "d")
        history.finish(turn, finished(), None, 0.0)
        (stored,) = history.turns(session)
        assert (stored.thinking, stored.answer, stored.thinking_s) == ("ac", "bd", None)
        assert rows(path, "SELECT count(*) FROM pieces") == [(0,)]
        assert rows(path, "SELECT thinking, answer FROM turns") == [("ac", "bd")]

    def test_continuing_a_chat_folds_a_reply_that_was_cut_off(self, history: History, path: Path, again: Again) -> None:
        session, _ = say(history, None, "one", "half an ans", "hm", reason=None)
        other = again(path)
        say(other, session, "two", "whole", reason=None)
        assert [(t.asked.question, t.answer, t.finish_reason) for t in history.turns(session)] == [
            ("one", "half an ans", None),
            ("two", "whole", None),
        ]
        assert rows(path, "SELECT question, answer, thinking FROM turns") == [
            ("one", "half an ans", "hm"),
            ("two", "", ""),
        ]

    def test_a_writer_whose_pieces_another_process_folded_loses_none(
        self, history: History, path: Path, again: Again
    ) -> None:
        session, turn = history.begin(None, asked("one"))
        history.add(turn, "a", "")
        again(path).begin(session, asked("two"))
        history.add(turn, "b", "")
        assert history.turns(session)[0].thinking == "ab"
        history.finish(turn, finished(), 1.0, 0.0)
        assert history.turns(session)[0].thinking == "ab"

    def test_the_start_and_end_of_a_turn_wait_for_the_disk_but_pieces_do_not(self, history: History) -> None:
        def waits() -> bool:
            return bool(history._db.execute("PRAGMA synchronous").fetchone()[0] == 2)

        _, turn = history.begin(None, asked())
        assert waits()
        history.add(turn, "hm", "")
        assert not waits()
        history.finish(turn, finished(), 1.0, 0.0)
        assert waits()

    def test_the_cost_of_a_piece_does_not_grow_with_the_reply(self, history: History, path: Path) -> None:
        wal = path.with_name(path.name + "-wal")
        _, turn = history.begin(None, asked())
        history.add(turn, "x" * 1_000_000, "")
        rows(path, "PRAGMA wal_checkpoint(TRUNCATE)")
        for _ in range(10):
            history.add(turn, "y" * 100, "")
        assert 0 < wal.stat().st_size < 200_000

    @pytest.mark.parametrize(
        ("said", "kept"),
        [
            ("a\0b", "a�b"),
            ("\ud83d\ude00 half: \ud83d", "�� half: �"),
            ("😀 e\u0301 \u202e \x1b[31m \ufeff\r\n\u2028", "😀 e\u0301 \u202e \x1b[31m \ufeff\r\n\u2028"),
            ("思考 " * 1_000_000, "思考 " * 1_000_000),
        ],
        ids=["NUL", "surrogates", "odd", "7 MB"],
    )
    def test_text_of_any_kind_survives(self, history: History, path: Path, again: Again, said: str, kept: str) -> None:
        question = asked(said, (said[:100], said), model=said[:9], system=said[:9])
        session, _ = say(history, None, question, said, said)
        (stored,) = again(path).turns(session)
        assert (stored.asked.question, stored.thinking, stored.answer) == (kept, kept, kept)
        assert (stored.asked.files[0].content, stored.asked.system) == (kept, kept[:9])


class TestConversations:
    """Which turns belong to a conversation, and which were taken out of it."""

    def test_withdrawn_turns_are_out_and_the_others_are_renumbered(
        self, history: History, path: Path, again: Again
    ) -> None:
        session, _ = say(history, None, "one")
        _, second = say(history, session, "two")
        history.withdraw(second)
        say(history, session, "two, better")
        assert [(t.number, t.asked.question) for t in again(path).turns(session)] == [(1, "one"), (2, "two, better")]
        assert rows(path, "SELECT number, question, withdrawn FROM transcript") == [
            (1, "one", 0),
            (2, "two", 1),
            (2, "two, better", 0),
        ]

    def test_trimmed_turns_are_still_shown(self, history: History) -> None:
        session, first = say(history, None, "one")
        say(history, session, "two")
        history.trim(session, [first])
        assert [turn.trimmed for turn in history.turns(session)] == [True, False]

    def test_the_latest_chat_is_the_one_with_the_latest_turn(self, history: History) -> None:
        first, _ = say(history, None, asked("one", model="a:Q8_0"))
        second, _ = say(history, None, "two")
        assert history.latest() == second
        say(history, first, asked("three", model="b:Q8_0"))
        assert history.latest() == first
        listed = history.sessions()
        assert [(s.id, s.title, s.model, s.turns) for s in listed] == [
            (first, "one", "b:Q8_0", 2),
            (second, "two", "tiny:Q8_0", 1),
        ]
        assert history.sessions(limit=1) == listed[:1]
        assert listed[0].started < listed[0].updated

    def test_a_chat_without_a_turn_leaves_nothing(self, history: History, path: Path, again: Again) -> None:
        assert (history.sessions(), history.latest()) == ([], None)
        later, _ = history.begin(None, asked("later"))
        assert say(history, None, "another")[0] != later
        say(history, later, "and on")
        assert len(again(path).turns(later)) == 2
        with pytest.raises(ChatNotFound):
            again(path).begin(later + 99, asked())

    @pytest.mark.parametrize(
        ("question", "title"),
        [
            ("How many?\nSay it.", "How many?"),
            ("\n \n  two\tspaces  here\n", "two spaces here"),
            ("x" * 60, "x" * 60),
            ("x" * 61, "x" * 59 + "…"),
            ("思" * 100, "思" * 59 + "…"),
            (" \n", "notes.txt"),
        ],
    )
    def test_the_title_is_the_first_line_of_the_first_question(
        self, history: History, question: str, title: str
    ) -> None:
        session, _ = history.begin(None, asked(question, ("notes.txt", "x")))
        history.begin(session, asked("something else"))
        assert history.info(session).title == title

    def test_a_title_can_be_given_in_one_line(self, history: History) -> None:
        session, _ = say(history, None, "one")
        history.title(session, " Wood\nand water ")
        assert history.info(session).title == "Wood and water"
        with pytest.raises(UsageError, match="a title cannot be blank"):
            history.title(session, " \n")

    @pytest.mark.parametrize("reference", ["1", " 1 ", "#1", "01"])
    def test_a_chat_is_found_by_its_number(self, history: History, reference: str) -> None:
        say(history, None, "one")
        assert history.find(reference) == 1

    @pytest.mark.parametrize("reference", ["2", "0", "#2", "002", "9" * 18, str(2**63), "9" * 40, "9" * 5000])
    def test_a_chat_that_does_not_exist_is_not_found(self, history: History, reference: str) -> None:
        say(history, None, "one")
        with pytest.raises(ChatNotFound, match=r"^no chat [0-9]+…?; r1 history lists the chats$"):
            history.find(reference)

    @pytest.mark.parametrize("reference", ["-1", "", "x", "1.0", "９", "1 2", "##1"])
    def test_what_is_no_number_is_a_usage_error(self, history: History, reference: str) -> None:
        say(history, None, "one")
        with pytest.raises(UsageError, match="is not a chat number; r1 history lists the chats"):
            history.find(reference)

    def test_preferences_are_remembered(self, history: History, path: Path, again: Again) -> None:
        assert history.preference("thinking") is None
        history.set_preference("thinking", "show")
        history.set_preference("thinking", "hide")
        assert again(path).preference("thinking") == "hide"


class TestDeleting:
    """Deleted text is gone from the disk, and a process that still writes to the chat gets an error."""

    def test_no_byte_of_the_text_is_left(self, history: History, path: Path, again: Again) -> None:
        other = again(path)  # an idle chat in another process must not keep the log alive
        doomed, kept = None, None
        for number in range(150):
            question = asked(f"SECRET{number}" * (number % 7), ("SECRETS.txt", "SECRET" * number))
            answer, thinking = "SECRET" * (number * 31 % 2000), "SECRET thought" * (number % 50)
            doomed, _ = say(history, doomed, question, answer, thinking, "stop" if number % 3 else None)
            kept, _ = say(other, kept, f"harmless {number}" * (number % 9), "fine " * (number * 17 % 900))
        assert doomed is not None
        assert kept is not None
        before = other.turns(kept)
        history.title(doomed, "SECRET title")
        assert b"SECRET" in path.read_bytes()
        history.delete(doomed)
        for file in path.parent.iterdir():
            assert b"SECRET" not in file.read_bytes(), file
        assert other.turns(kept) == before
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]

    def test_its_number_is_never_used_again(self, history: History) -> None:
        first, _ = say(history, None, "one")
        history.delete(first)
        assert say(history, None, "two")[0] != first

    def test_several_chats_are_deleted_together_or_not_at_all(self, history: History) -> None:
        first, _ = say(history, None, "one")
        second, _ = say(history, None, "two")
        with pytest.raises(ChatNotFound):
            history.delete(first, 99)
        assert len(history.sessions()) == 2
        history.delete(first, second)
        assert history.sessions() == []

    def test_writing_to_a_deleted_chat_is_an_error(self, history: History, path: Path, again: Again) -> None:
        session, turn = say(history, None, "one", reason=None)
        again(path).delete(session)
        for write in (
            lambda: history.add(turn, "more", ""),
            lambda: history.finish(turn, finished(), 1.0, 0.0),
            lambda: history.begin(session, asked("two")),
            lambda: history.withdraw(turn),
            lambda: history.trim(session, [turn]),
            lambda: history.title(session, "x"),
        ):
            with pytest.raises(ChatNotFound, match="another r1 has deleted this chat; start a new one"):
                write()
        fresh, _ = say(history, None, "three")
        assert [one.id for one in history.sessions()] == [fresh]


class TestPlainPrograms:
    """The file is an ordinary SQLite database that only its owner may read."""

    def test_only_its_owner_may_read_it(self, history: History, path: Path) -> None:
        say(history, None, "one")
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert files == dict.fromkeys((path.name, f"{path.name}-wal", f"{path.name}-shm"), 0o600)

    def test_the_sqlite3_program_reads_a_turn_while_it_is_made(self, history: History, path: Path) -> None:
        session, turn = history.begin(None, asked("why?", ("a.txt", "x"), ("b.txt", "y")))
        history.add(turn, "hm, ", "")
        history.add(turn, "so", "beca")
        query = "SELECT session, number, title, question, files, thinking, answer, model, finish_reason FROM transcript"
        expected = (session, 1, "why?", "why?", "a.txt, b.txt", "hm, so", "beca", "tiny:Q8_0")
        assert rows(path, query) == [(*expected, None)]
        try:
            done = subprocess.run(["sqlite3", "-readonly", path, query], capture_output=True, check=True)
        except FileNotFoundError:
            pytest.skip("the sqlite3 program is not installed")
        assert done.stdout.decode() == "|".join(map(str, expected)) + "|\n"

    def test_only_the_standard_library_is_needed(self) -> None:
        program = "import sys, r1.history.history, r1.history.export; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert not {"rich", "typer", "prompt_toolkit", "llama_cpp", "numpy"} & set(done.stdout.split())

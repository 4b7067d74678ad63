"""`r1 chat` in a pipe, and which model and session it opens."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from r1.history.history import History, StoredTurn
from tests.conftest import Run
from tests.fakes.chats import asked, say

STRAWBERRY = "How many r's are in strawberry?"
RAW_THREE = "The letter r appears \\(\\boxed{3}\\) times in strawberry."

Chat = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def chat(r1: Run, own_home: Path) -> Chat:
    """Runs `r1 chat ARGUMENTS` in a home of its own, with a question from a pipe."""

    def run(*arguments: str, question: str = STRAWBERRY) -> subprocess.CompletedProcess[bytes]:
        return r1("chat", *arguments, stdin=question.encode(), R1_HOME=str(own_home), R1_TEMP="0")

    return run


def turns(home: Path, session: int) -> list[StoredTurn]:
    with History.open(home / "history.db") as history:
        return history.turns(session)


class TestPipe:
    """The pipe is one question, and gets only its answer; the exit status says if it is complete."""

    def test_an_answer_is_printed_and_saved(self, chat: Chat, own_home: Path) -> None:
        done = chat()
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{RAW_THREE}\n".encode(), b"")
        assert [turn.answer for turn in turns(own_home, 1)] == [RAW_THREE]

    def test_the_preference_of_a_chat_on_a_screen_does_not_reach_a_pipe(self, chat: Chat, own_home: Path) -> None:
        with History.open(own_home / "history.db") as history:
            history.set_preference("thinking", "show")
        done = chat()
        assert (done.returncode, done.stdout, done.stderr.count(b"Count r")) == (0, f"{RAW_THREE}\n".encode(), 0)
        assert b"Count r" in chat("--thinking", "show").stderr

    def test_thinking_that_was_ended_is_one_line_as_for_run(self, chat: Chat, own_home: Path) -> None:
        done = chat("--think-budget", "5")
        assert (done.returncode, done.stderr) == (0, b"r1: the thinking was ended at the budget of 5 tokens\n")
        assert turns(own_home, 1)[0].thinking_end == "budget"
        assert chat("--think-budget", "5", "--quiet").stderr == b""

    def test_an_incomplete_answer_has_its_own_exit_status(self, chat: Chat) -> None:
        done = chat("--max-tokens", "60")
        assert done.returncode == 3
        assert RAW_THREE.encode().startswith(done.stdout.rstrip(b"\n"))
        assert done.stderr == (
            b"r1: the answer is incomplete: the limit of 60 tokens was reached; raise --max-tokens\n"
        )

    @pytest.mark.parametrize(
        ("arguments", "question", "status", "says"),
        [
            (["--device", "nosuch"], STRAWBERRY, 2, b"no device 'nosuch' (--device nosuch); use CPU"),
            (["--ctx", "100000"], STRAWBERRY, 2, b"--ctx 100000 is too long: the model was trained for at most"),
            ([], "word " * 3000, 2, b"the prompt has 15,00"),
        ],
        ids=["device", "context", "prompt"],
    )
    def test_what_fails_is_one_line_as_of_any_command(
        self, chat: Chat, arguments: list[str], question: str, status: int, says: bytes
    ) -> None:
        done = chat(*arguments, question=question)
        assert (done.returncode, done.stdout) == (status, b"")
        assert done.stderr.startswith(b"r1: " + says)
        assert done.stderr.count(b"\n") == 1
        assert b"/set" not in done.stderr

    def test_a_vote_answers_it(self, chat: Chat, own_home: Path) -> None:
        done = chat("--votes", "3", "--temp", "1.0", "--seed", "1")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{RAW_THREE}\n".encode(), b"")
        assert [turn.answer for turn in turns(own_home, 1)] == [RAW_THREE]

    def test_a_vote_without_a_winner_is_incomplete(self, chat: Chat) -> None:
        done = chat("--votes", "2", "--temp", "1.0", "--max-tokens", "5", "--reserve", "0")
        assert (done.returncode, done.stdout) == (3, b"")
        assert done.stderr.count(b"\n") == 1

    def test_a_vote_of_the_same_replies_is_a_usage_error(self, chat: Chat) -> None:
        done = chat("--votes", "3")
        assert done.returncode == 2
        assert b"at temperature 0 all votes are the same" in done.stderr

    def test_an_empty_pipe_is_a_usage_error(self, chat: Chat) -> None:
        done = chat(question="\n")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"stdin is empty" in done.stderr

    def test_a_home_that_cannot_be_written_is_one_line(self, r1: Run, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        done = r1("chat", stdin=b"hello", R1_HOME=str(tmp_path / "file"))
        assert done.returncode not in {0, 3, 70}
        assert done.stderr.count(b"\n") == 1
        assert b"Traceback" not in done.stderr


class TestSession:
    """--continue and --session."""

    def test_continue_opens_the_latest_chat(self, chat: Chat, own_home: Path) -> None:
        chat()
        assert chat("--continue", question="What is\n2 + 2?").returncode == 0
        assert [turn.asked.question for turn in turns(own_home, 1)] == [STRAWBERRY, "What is\n2 + 2?"]

    def test_session_opens_any_chat(self, chat: Chat, own_home: Path) -> None:
        for question in ("one", "two"):
            chat(question=question)
        assert chat("--chat", "#1", question="three").returncode == 0
        assert [turn.asked.question for turn in turns(own_home, 1)] == ["one", "three"]

    @pytest.mark.parametrize(
        ("arguments", "status", "says"),
        [
            (["--continue", "--chat", "1"], 2, b"--continue and --chat cannot be combined"),
            (["--continue"], 4, b"there is no chat to continue; `r1` starts one"),
            (["--chat", "7"], 4, b"no chat 7; r1 history lists the chats"),
            (["--chat", "x"], 2, b"'x' is not a chat number; r1 history lists the chats"),
        ],
    )
    def test_chats_that_cannot_be_opened(self, chat: Chat, arguments: list[str], status: int, says: bytes) -> None:
        done = chat(*arguments)
        assert (done.returncode, done.stdout) == (status, b"")
        assert says in done.stderr

    def test_a_chat_whose_model_was_removed_continues_with_the_default(self, chat: Chat, own_home: Path) -> None:
        with History.open(own_home / "history.db") as history:
            say(history, None, asked("one", model="qwen-7b:Q4_K_M"))
        done = chat("--continue")
        assert done.returncode == 0
        assert b"this chat used qwen-7b:Q4_K_M, which is no longer on this machine" in done.stderr
        assert turns(own_home, 1)[-1].asked.model == "tiny:Q8_0"

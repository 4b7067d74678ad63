"""A chat that is treated badly: random keys, kills, escape codes, company, and no terminal to speak of."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from r1.history.history import History, StoredTurn
from tests.conftest import Run
from tests.e2e.conftest import Open
from tests.e2e.screen import Screen
from tests.fakes.chats import asked, say

STRAWBERRY = "How many r's are in strawberry?"
THREE = "The letter r appears 3 times in strawberry."
RAW_THREE = "The letter r appears \\(\\boxed{3}\\) times in strawberry."
CUT_OFF = "this reply was cut off when the program ended (/retry asks again)"
TITLE, WIPE = "\x1b]0;x\x07", "\x1b[2J"


def ctrl(letter: str) -> str:
    return chr(ord(letter) & 0x1F)


def squeezed(text: str) -> str:
    return "".join(text.split())


class TestRandomKeys:
    """Whatever is pressed, it stays alive and leaves the terminal as it found it."""

    # Ctrl-D leaves, Ctrl-Z suspends, and Ctrl-E may follow Ctrl-X.
    CONTROLS = tuple(chr(code) for code in range(1, 0x20) if chr(code) not in {ctrl("D"), ctrl("Z"), ctrl("E"), "\x1b"})
    SEQUENCES = (
        *(
            "\x1b",
            "\x1b\r",
            "\x1b[A",
            "\x1b[B",
            "\x1b[C",
            "\x1b[D",
            "\x1b[H",
            "\x1b[F",
            "\x1b[3~",
            "\x1b[5~",
            "\x1b[6~",
        ),
        *("\x1bOP", "\x1b[15~", "\x1b[1;5C", "\x1b[1;5D", "\x1bb", "\x1bf", "\x1bd", "\x1b\x7f", "\x1b[Z", "\x7f"),
        *("\x1b[200~a\nb\x1b[201~", "\x1b[I", "\x1b[<0;1;1M", "\x1b[999~", "\x1b[?1;2c"),
    )
    WORDS = ("/", "/help\r", "/set temp 0\r", "hello\r", "é", "草", "🦆", "\u0301")

    def keys(self, seed: int, count: int) -> list[str]:
        chance = random.Random(seed)
        kinds = (
            lambda: chr(chance.randrange(0x20, 0x7F)),
            lambda: chance.choice(self.CONTROLS),
            lambda: chance.choice(self.SEQUENCES),
            lambda: chance.choice(self.WORDS),
        )
        return [chance.choices(kinds, weights=(60, 20, 15, 5))[0]() for _ in range(count)]

    @pytest.mark.parametrize(
        ("size", "seed", "keys"), [((80, 24), 1, "emacs"), ((30, 8), 2, "emacs"), ((80, 24), 3, "vi")]
    )
    def test_it_outlives_them(self, opened: Open, size: tuple[int, int], seed: int, keys: str) -> None:
        screen = opened("chat", size=size, R1_KEYS=keys, EDITOR="true", VISUAL="true")
        screen.wait_for("used")
        for number, key in enumerate(self.keys(seed, 2000)):
            if keys == "vi" and key == "\x1c":
                continue  # v opens an editor, and meanwhile Ctrl-\\ means what it means to every program
            screen.type(key)
            screen.pump(0.002 if number % 5 == 0 else 0)
            assert screen.running, (number, key, screen.everything())
        self.leave(screen)
        assert screen.status == 0
        assert screen.is_given_back
        shown = screen.everything()
        assert "Traceback" not in shown
        assert keys == "vi" or "unforeseen" not in shown  # prompt-toolkit's vi has mistakes of its own

    def leave(self, screen: Screen) -> None:
        """Ctrl-C until there is nothing left to stop or put away, and Ctrl-D."""
        for _ in range(20):
            screen.settle()
            if "ctrl-d leaves" in "\n".join(screen.screen()):
                break
            screen.type(ctrl("C"))
        screen.type(ctrl("D"))


class TestKills:
    """kill -9 in the middle of a reply costs half a second of text at most."""

    @pytest.mark.parametrize("seed", [1, 2, 3, 4])
    def test_what_was_on_the_screen_a_second_before_is_there_afterwards(
        self, slow: Open, own_home: Path, seed: int
    ) -> None:
        chance = random.Random(seed)
        screen = slow("--thinking", "show")
        for question in chance.choices(("hello", STRAWBERRY), k=5):
            seen = self.killed_in_the_middle(screen, question, chance.uniform(0.1, 1.9))
            turn = self.kept(own_home)
            assert turn.asked.question == question
            said = squeezed(turn.thinking + turn.answer.replace("\\(\\boxed{3}\\)", "3"))
            assert said.startswith(seen)
            screen = slow("--thinking", "show", "--continue")
            assert self.reply_on(screen, question).removesuffix(squeezed(CUT_OFF)) == said
            assert (CUT_OFF in " ".join(screen.everything().split())) == (turn.finish_reason is None)
            assert screen.said_after("/clear") == "a new chat"

    def killed_in_the_middle(self, screen: Screen, question: str, after: float) -> str:
        """What of the reply was on the screen a second before the kill, which comes so long after the first token."""
        screen.enter(question)
        screen.wait_for(lambda: re.search(r"thinking · . s · [0-9]+ tokens", "\n".join(screen.screen())))
        frames = [(time.monotonic(), "")]
        end = frames[0][0] + after
        while time.monotonic() < end:
            screen.pump(0.05)
            frames.append((time.monotonic(), self.reply_on(screen, question)))
        screen.kill(signal.SIGKILL)
        killed = time.monotonic()
        assert screen.status == -signal.SIGKILL
        return max([frames[0], *(frame for frame in frames if frame[0] <= killed - 1)])[1]

    def reply_on(self, screen: Screen, question: str) -> str:
        below = screen.everything().rpartition(f"\n> {question}\n")[2].rpartition("\n>")[0]
        lines = [line for line in below.split("\n") if not line.startswith(("thinking ·", "thought"))]
        return squeezed("".join(line.removeprefix("│") for line in lines))

    def kept(self, own_home: Path) -> StoredTurn:
        with History.open(own_home / "history.db") as history:
            latest = history.latest()
            assert latest is not None
            return history.turns(latest)[-1]


class TestEscapeCodes:
    """Nothing that was typed, attached or said steers the terminal."""

    def assert_none_came_through(self, screen: Screen) -> None:
        screen.settle()
        assert b"\x1b]0;" not in screen.raw
        assert b"\x1b[2J" not in screen.raw

    def paste(self, screen: Screen, text: str) -> None:
        screen.type(f"\x1b[200~{text}\x1b[201~")
        screen.wait_for(lambda: "^[" in screen.draft())
        screen.type("\r")
        screen.wait_for(lambda: "^[" not in screen.draft())

    def test_in_a_question_a_file_a_title_and_an_unknown_name(self, opened: Open, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text(f"How {WIPE} many {TITLE}?", encoding="utf-8")
        (tmp_path / f"of{WIPE}{TITLE}.txt").write_text("x", encoding="utf-8")
        screen = opened("chat", "--thinking", "show", size=(120, 60))
        screen.wait_for("0 used")
        screen.said_after("/file notes.txt", "goes along")
        self.paste(screen, f"/file of{WIPE}{TITLE}.txt")
        screen.wait_for("of[2J]0;x.txt goes along")
        self.paste(screen, f"How many {WIPE}r's{TITLE} are in strawberry?")
        screen.wait_for("with of[2J]0;x.txt")
        screen.wait_for("thought for")
        self.paste(screen, f"/title a{WIPE}b{TITLE}c")
        screen.wait_for("this chat is now called: a[2Jb]0;xc")
        for command in ("/model", "/load", "/export", "/file", "/set temp", "/trace"):
            self.paste(screen, f"{command} {WIPE}{TITLE}")
        screen.said_after("/sessions", "a[2Jb]0;xc")
        screen.said_after("/context", "trained")
        self.assert_none_came_through(screen)

    def test_in_what_was_said_before(self, opened: Open, own_home: Path) -> None:
        table = f"| a{WIPE} | b |\n|---|---|\n| `c{TITLE}` | \\(x{WIPE}\\) |\n"
        code = f"One {WIPE}{TITLE}two.\n\n```sh\nls {WIPE}{TITLE}\n```\n\n{table}"
        with History.open(own_home / "history.db") as history:
            say(history, None, asked(f"a{WIPE}{TITLE}", (f"n{WIPE}", TITLE)), code, f"Hm{WIPE}{TITLE}m.")
        screen = opened("chat", "--continue", "--thinking", "show", size=(120, 60))
        screen.wait_for("used")
        screen.said_after("/trace", "the thinking of turn 1")
        screen.said_after("/copy", "copied")
        screen.type("\x1b[A" * 3)  # through what was typed before, up to the question
        self.assert_none_came_through(screen)

    def test_in_what_the_model_says(self, slow: Open) -> None:
        """It repeats the word it was asked about, byte by byte."""
        screen = slow("--thinking", "show")
        self.paste(screen, f"How many r's are in r{WIPE}?")
        screen.wait_for("tok/s")
        self.assert_none_came_through(screen)


class TestCompany:
    """Two chats at once, on one R1_HOME."""

    def test_each_keeps_its_own_and_both_are_listed(self, opened: Open, own_home: Path) -> None:
        first, second = opened("chat", size=(100, 40)), opened("chat", size=(100, 40))
        for screen in (first, second):
            screen.wait_for("0 used")
        first.enter(STRAWBERRY)
        second.enter("hello")
        first.wait_for(THREE)
        second.wait_for("larger.")
        first.said_after("What is 2 + 2?", "2 + 2 = 4")
        listed = second.said_after("/sessions", "/load ID")
        assert STRAWBERRY in listed
        assert "hello" in listed
        for screen in (first, second):
            screen.settle()
            screen.type(ctrl("D"))
            assert screen.status == 0
        with History.open(own_home / "history.db") as history:
            chats = {
                info.title: [turn.asked.question for turn in history.turns(info.id)] for info in history.sessions()
            }
        assert chats == {STRAWBERRY: [STRAWBERRY, "What is 2 + 2?"], "hello": ["hello"]}


class TestPlain:
    """Where there is no terminal to draw on, or it is not to be drawn on."""

    @pytest.mark.parametrize(
        ("arguments", "variables"), [(("--plain",), {}), ((), {"TERM": "dumb"})], ids=["--plain", "TERM=dumb"]
    )
    def test_a_terminal_gets_lines_and_no_codes(
        self, opened: Open, arguments: tuple[str, ...], variables: dict[str, str]
    ) -> None:
        screen = opened("chat", *arguments, size=(120, 40), NO_COLOR="1", **variables)
        screen.wait_for(lambda: ">" in screen.screen())
        screen.type(f"{STRAWBERRY}\n")
        screen.wait_for(RAW_THREE)
        screen.settle()
        screen.type("/context\n")
        screen.wait_for("1,958 left")
        screen.type("/quit\n")
        assert screen.status == 0
        assert screen.is_given_back
        assert b"\x1b" not in screen.raw

    def test_the_end_of_what_is_typed_leaves(self, opened: Open) -> None:
        screen = opened("chat", "--plain")
        screen.wait_for(lambda: ">" in screen.screen())
        screen.type(ctrl("C"))
        screen.wait_for("ctrl-d leaves")
        screen.type(ctrl("D"))
        assert screen.status == 0

    def test_a_pipe_is_one_message_and_gets_the_answer_alone(self, r1: Run, chat_environ: dict[str, str]) -> None:
        done = r1("chat", stdin=f"{STRAWBERRY}\n".encode(), **chat_environ)
        assert (done.returncode, done.stdout) == (0, f"{RAW_THREE}\n".encode())
        assert b"Count r" not in done.stderr
        went_on = r1("chat", "--continue", stdin=b"What is\n2 + 2?", **chat_environ)
        assert went_on.returncode == 0
        with History.open(Path(chat_environ["R1_HOME"]) / "history.db") as history:
            assert [turn.asked.question for turn in history.turns(1)] == [STRAWBERRY, "What is\n2 + 2?"]
            assert history.turns(1)[0].answer == RAW_THREE

    def test_an_answer_that_is_not_whole_has_a_status_of_its_own(self, r1: Run, chat_environ: dict[str, str]) -> None:
        done = r1("chat", "--max-tokens", "60", stdin=STRAWBERRY.encode(), **chat_environ)
        assert done.returncode == 3
        assert RAW_THREE.encode().startswith(done.stdout.rstrip(b"\n"))
        assert b"the limit of 60 tokens was reached" in done.stderr.replace(b"\n", b" ")

    def test_an_empty_pipe_is_a_mistake(self, r1: Run, chat_environ: dict[str, str]) -> None:
        done = r1("chat", stdin=b"\n", **chat_environ)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"nothing on stdin" in done.stderr


def test_without_colours_there_is_no_style_at_all(opened: Open) -> None:
    screen = opened("chat", "--thinking", "show", NO_COLOR="1")
    screen.wait_for("0 used")
    screen.said_after(STRAWBERRY, THREE)
    screen.said_after("/help", "ctrl-d")
    screen.type("/t\t")
    screen.settle()
    assert set(re.findall(rb"\x1b\[[0-9;]*m", screen.raw)) <= {b"\x1b[m", b"\x1b[0m"}


class TestTheFirstPrompt:
    """It does not wait for llama.cpp."""

    GATE = """
import os, sys, time

class Gate:
    def find_spec(self, name, path=None, target=None):
        if name == "llama_cpp":
            open(os.environ["GATE"] + ".reached", "w").close()
            while not os.path.exists(os.environ["GATE"]):
                time.sleep(0.01)

sys.meta_path.insert(0, Gate())
"""

    def test_it_is_there_before_llama_cpp_is_imported(self, opened: Open, tmp_path: Path) -> None:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(self.GATE, encoding="utf-8")
        gate = tmp_path / "gate"
        path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
        screen = opened("chat", PYTHONPATH=path, GATE=str(gate))
        screen.wait_for("loading tiny:Q8_0 0%")
        screen.enter("hello")  # while it cannot even be imported
        screen.wait_for("waiting for the model")
        screen.wait_for(lambda: gate.with_suffix(".reached").exists())
        screen.type("and a dra")
        screen.wait_for(lambda: screen.draft().startswith("> and a dra\n"))
        gate.touch()
        screen.wait_for("larger.")
        assert screen.draft().startswith("> and a dra\n")


def test_ctrl_c_ends_a_search_and_nothing_else(opened: Open) -> None:
    screen = opened("chat")
    screen.wait_for("0 used")
    screen.said_after("hello", "larger.")
    screen.type(ctrl("R"))
    screen.type("hel")
    screen.wait_for("I-search backward: hel")
    screen.type(ctrl("C"))
    screen.wait_for(lambda: "I-search" not in "\n".join(screen.screen()))
    screen.type("abc")
    screen.wait_for(lambda: screen.draft().startswith("> abc\n"))


def test_a_chat_whose_reader_went_away_has_kept_what_was_said(slow: Open, own_home: Path) -> None:
    """The window is closed in the middle of a reply."""
    screen = slow("--thinking", "show")
    screen.enter(STRAWBERRY)
    screen.wait_for("│ s0 t0")
    screen.close()
    assert screen.status in {0, 129}
    with History.open(own_home / "history.db") as history:
        (turn,) = history.turns(1)
    assert turn.thinking.startswith("Count r in strawberry:\ns0 t0")


def test_a_home_that_cannot_be_written_is_one_line(r1: Run, chat_environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done: subprocess.CompletedProcess[bytes] = r1(
        "chat", stdin=b"hello", **{**chat_environ, "R1_HOME": str(tmp_path / "file")}
    )
    assert done.returncode not in {0, 3, 70}
    assert done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr

"""`r1.jsonl.earlier_answers`: which lines an earlier output answers, and what a kill leaves at its end."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r1.jsonl import earlier_answers as module
from r1.jsonl.earlier_answers import EarlierAnswers, read
from r1.prompt_input import PromptLine
from r1_quantize.errors import UsageError
from tests.fakes.consoles import console, written

WHOLE = {"answer": "42", "thinking": "hm", "finish_reason": "stop"}


def line(number: int, prompt: str = "p", **fields: Any) -> PromptLine:
    return PromptLine(number, prompt, fields=fields)


def result(answered: PromptLine, **more: Any) -> bytes:
    """The object for a line, as `--jsonl` prints it."""
    return json.dumps({**answered.labels, **WHOLE, **more}, ensure_ascii=False).encode() + b"\n"


def reading(
    tmp_path: Path, content: bytes, *, stdout: Any = None, terminal: bool = False
) -> tuple[EarlierAnswers, str]:
    """What is found in a file with this content, and what is said about it. `stdout` is open on the file."""
    file = tmp_path / "out.jsonl"
    if stdout is None:
        file.write_bytes(content)
    made = console(stderr_is_terminal=terminal)
    made.stdout = stdout or made.stdout
    return read(made, file, "answer"), written(made.stderr).replace(str(file), "FILE")


class TestKeys:
    """By `id`; without one by number and prompt."""

    @pytest.mark.parametrize(
        ("done", "asked", "is_skipped"),
        [
            (line(1, id=7), line(1, id=7), True),
            (line(1, id=7), line(9, "other", id=7), True),
            (line(1, id=7), line(1, id=8), False),
            (line(1, id=7), line(1, id="7"), False),
            (line(1, id=1), line(1, id=True), False),
            (line(1, id=1), line(1, id=1.0), False),
            (line(1, id=None), line(1, id=None), True),
            (line(1, id={"a": 1, "b": [2]}), line(1, id={"b": [2], "a": 1}), True),
            (line(1, id="日本 😀"), line(1, id="日本 😀"), True),
            (line(1), line(1), True),
            (line(1), line(2), False),
            (line(1), line(1, "other"), False),
            (line(1, id=1), line(1), False),
            (line(1), line(1, id=1), False),
        ],
    )
    def test_a_line_is_skipped_if_its_key_has_an_answer(
        self, tmp_path: Path, done: PromptLine, asked: PromptLine, is_skipped: bool
    ) -> None:
        found, said = reading(tmp_path, result(done))
        assert found.has(asked) == is_skipped
        assert found.skipped == is_skipped
        assert said == ""

    def test_each_answer_serves_one_line(self, tmp_path: Path) -> None:
        found, _ = reading(tmp_path, result(line(1, id=7)) + result(line(2, id=7)) + result(line(3, id=8)))
        assert [found.has(line(number, id=7)) for number in (4, 5, 6)] == [True, True, False]

    def test_an_id_with_another_prompt_is_skipped_and_counted(self, tmp_path: Path) -> None:
        answers = (
            result(line(1, "a", id=7)) + result(line(2, "b", id=7)) + result(line(3, id=8)).replace(b"prompt_", b"")
        )
        found, _ = reading(tmp_path, answers)
        assert found.has(line(1, "b", id=7))
        assert found.changed == 0
        assert found.has(line(1, "c", id=7))
        assert found.changed == 1
        assert found.has(line(1, "anything", id=8))  # its prompt is not known
        assert found.changed == 1

    def test_a_bad_line_is_never_skipped(self, tmp_path: Path) -> None:
        found, _ = reading(tmp_path, result(line(1, id=7)))
        assert not found.has(PromptLine(1, error="line 1 is not JSON", fields={"id": 7}))


class TestComplete:
    """Only a complete answer counts."""

    @pytest.mark.parametrize(
        "more",
        [
            {"finish_reason": "length"},
            {"finish_reason": "context"},
            {"finish_reason": "interrupted"},
            {"answer": ""},
            {"valid": False},
            {"finish_reason": "loop"},
            {"error": "line 1: no"},
            {"finish_reason": None},
        ],
    )
    def test_others_are_answered_again(self, tmp_path: Path, more: dict[str, Any]) -> None:
        found, said = reading(tmp_path, result(line(1), **more))
        assert not found.has(line(1))
        assert said == ""
        found, _ = reading(tmp_path, result(line(1), **more) + result(line(1)))
        assert found.has(line(1))

    @pytest.mark.parametrize("more", [{"valid": True}, {"valid": None}, {"valid": True, "answer": ""}])
    def test_one_that_has_its_form_is_complete(self, tmp_path: Path, more: dict[str, Any]) -> None:
        found, _ = reading(tmp_path, result(line(1), **more))
        assert found.has(line(1))

    def test_with_thinking_only_the_thinking_is_the_answer(self, tmp_path: Path) -> None:
        file = tmp_path / "out.jsonl"
        file.write_bytes(result(line(1), answer="") + result(line(2), thinking=""))
        found = read(console(), file, "thinking")
        assert (found.has(line(1)), found.has(line(2))) == (True, False)


class TestFile:
    """Missing, of another kind, or damaged."""

    def test_a_file_that_does_not_exist_yet_has_no_answers(self, tmp_path: Path) -> None:
        made = console(stderr_is_terminal=True)
        assert not read(made, tmp_path / "none", "answer").has(line(1))
        assert "none does not exist yet, so all lines are answered\n" in written(made.stderr)
        made = console()
        read(made, tmp_path / "none", "answer")
        assert written(made.stderr) == ""

    def test_what_cannot_be_read_is_a_usage_error(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=f"--resume {tmp_path}: cannot be read"):
            read(console(), tmp_path, "answer")

    def test_a_file_of_another_kind(self, tmp_path: Path) -> None:
        found, said = reading(tmp_path, b'{"prompt": "a", "id": 1}\n')
        assert not found.has(line(1, id=1))
        assert said == "r1: FILE has no results of r1 run --jsonl; --resume takes the file that the answers went to\n"

    @pytest.mark.parametrize(
        "damage", [b"}\n", b"[1]\n", b'{"id": 2, "ans{"id": 3}\n', b"\xff\n", b"[" * 10**6 + b"\n"]
    )
    def test_damaged_lines_are_left_out_with_one_warning(self, tmp_path: Path, damage: bytes) -> None:
        found, said = reading(tmp_path, result(line(1)) + damage + result(line(2)) + b"\n" + damage + result(line(3)))
        assert all(found.has(line(number)) for number in (1, 2, 3))
        assert said == "r1: FILE: line 2 is not a JSON object and was ignored, like 1 other line\n"

    def test_a_line_without_an_end_takes_no_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_LONGEST", 1000)
        found, said = reading(tmp_path, result(line(1)) + b"x" * 5500 + b"\n" + result(line(2)))
        assert found.has(line(1))
        assert found.has(line(2))
        assert said == "r1: FILE: line 2 is not a JSON object and was ignored\n"

    @pytest.mark.parametrize("tail", [b'{"id": 2, "line": 1, "ans', b'{"i', b"\xe2\x9c"])
    def test_an_incomplete_last_line_is_ignored(self, tmp_path: Path, tail: bytes) -> None:
        found, said = reading(tmp_path, result(line(1)) + tail)
        assert found.has(line(1))
        assert said.startswith("r1: FILE ends with ")
        assert said.count("\n") == 1

    def test_a_complete_last_line_without_a_newline_counts(self, tmp_path: Path) -> None:
        found, said = reading(tmp_path, result(line(1)) + result(line(2)).strip())
        assert found.has(line(2))
        assert said == "r1: FILE ends with no newline; add one before anything is appended\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there, a stream does not say whether it appends")
class TestAppending:
    """Stdout is the file itself: `--resume FILE >> FILE`."""

    def appending(self, tmp_path: Path, content: bytes) -> tuple[bytes, str]:
        """The file after reading it and printing an object, and what was said."""
        file = tmp_path / "out.jsonl"
        file.write_bytes(content)
        with file.open("a", encoding="utf-8") as stdout:
            made = replace(console(), stdout=stdout)
            read(made, file, "answer")
            made.json({"line": 9}, one_line=True)
        return file.read_bytes(), written(made.stderr).replace(str(file), "FILE")

    @pytest.mark.parametrize("tail", [b'{"id": 2, "line": 1, "ans', b"{", b'{"line": 4, "answer": "\xe2\x9c'])
    def test_an_incomplete_object_is_cut_off(self, tmp_path: Path, tail: bytes) -> None:
        after, said = self.appending(tmp_path, result(line(1)) + tail)
        assert after == result(line(1)) + b'{"line": 9}\n'
        assert said == "r1: FILE ended with an incomplete object, which was cut off\n"

    @pytest.mark.parametrize("tail", [result(line(2)).strip(), b"a note of mine", b"\xff\xfe"])
    def test_any_other_text_stays_and_gets_a_newline(self, tmp_path: Path, tail: bytes) -> None:
        after, said = self.appending(tmp_path, result(line(1)) + tail)
        assert after == result(line(1)) + tail + b'\n{"line": 9}\n'
        assert said == ""

    @pytest.mark.parametrize("content", [b"", result(line(1))])
    def test_a_file_that_ends_well_is_only_appended_to(self, tmp_path: Path, content: bytes) -> None:
        assert self.appending(tmp_path, content) == (content + b'{"line": 9}\n', "")

    @pytest.mark.parametrize("mode", ["w", "r+"])
    def test_a_stdout_that_overwrites_the_file_is_refused(self, tmp_path: Path, mode: str) -> None:
        file = tmp_path / "out.jsonl"
        file.write_bytes(result(line(1)))
        with file.open(mode, encoding="utf-8") as stdout, pytest.raises(UsageError, match=r"overwrites .*; use >> "):
            read(replace(console(), stdout=stdout), file, "answer")

    def test_a_file_that_grows_meanwhile_is_not_cut(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "out.jsonl"
        file.write_bytes(b'{"line": 1, "ans')

        def parse(_: bytes) -> None:
            file.write_bytes(b'{"line": 1, "answer')

        with file.open("a", encoding="utf-8") as stdout:
            monkeypatch.setattr(module, "_parse", parse)
            with pytest.raises(UsageError, match="another program is writing to this file"):
                read(replace(console(), stdout=stdout), file, "answer")
        assert file.read_bytes() == b'{"line": 1, "answer'

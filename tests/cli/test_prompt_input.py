"""`r1.prompt_input`: words, stdin and files → prompts."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path

import pytest

from r1.prompt_input import PromptOptions, read_lines, read_prompt, require_prompt
from r1_quantize.errors import UsageError
from tests.fakes.consoles import console


def prompt(*words: str, stdin: bytes | None = None, files: tuple[Path, ...] = (), use_stdin: bool = True) -> str:
    return read_prompt(console(stdin), PromptOptions(words, files, use_stdin))


def lines(stdin: bytes, *words: str) -> list[tuple[str | None, str | None, dict[str, object]]]:
    return [(line.prompt, line.error, line.fields) for line in read_lines(console(stdin), PromptOptions(words))]


class TestReadPrompt:
    """One prompt from words, files and stdin."""

    def test_joins_words_by_a_space(self) -> None:
        assert prompt("How", "are", "you?") == "How are you?"

    def test_reads_stdin_to_its_end_without_the_final_newline(self) -> None:
        assert prompt(stdin=b"a\n\nb\n") == "a\n\nb"

    def test_puts_stdin_after_the_words_and_a_blank_line(self) -> None:
        assert prompt("Sum up:", stdin=b"text\n") == "Sum up:\n\ntext"

    def test_a_dash_alone_stands_for_stdin(self) -> None:
        assert prompt("-", stdin=b"text\n") == "text"

    def test_does_not_read_stdin_with_no_stdin(self) -> None:
        stream = io.BytesIO(b"left")
        read_prompt(console(stream), PromptOptions(("hi",), use_stdin=False))
        assert stream.read() == b"left"

    def test_empty_stdin_adds_nothing_to_the_words(self) -> None:
        assert prompt("hi", stdin=b"") == "hi"

    def test_strips_a_windows_line_end_and_a_byte_order_mark(self) -> None:
        assert prompt(stdin=b"\xef\xbb\xbfhi\r\n") == "hi"

    def test_attaches_files_in_deepseeks_template(self, tmp_path: Path) -> None:
        file = tmp_path / "notes.txt"
        file.write_text("one\ntwo\n", encoding="utf-8")
        assert prompt("What?", files=(file,)) == (
            "[file name]: notes.txt\n[file content begin]\none\ntwo\n[file content end]\nWhat?"
        )

    def test_attaches_several_files_in_order(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).write_text(name.upper(), encoding="utf-8")
        text = prompt("?", files=(tmp_path / "a", tmp_path / "b"))
        assert text.index("[file name]: a\n") < text.index("A\n") < text.index("[file name]: b\n") < text.index("B\n")

    @pytest.mark.parametrize("stdin", [None, b"", b" \n"])
    def test_no_prompt_is_a_usage_error(self, stdin: bytes | None) -> None:
        with pytest.raises(UsageError, match="no prompt"):
            prompt(stdin=stdin)

    def test_an_error_names_the_byte_that_is_not_utf8(self) -> None:
        with pytest.raises(UsageError, match="stdin is not UTF-8: byte 0xff at position 4"):
            prompt(stdin=b"caf\xc3\xa9"[:3] + b"!\xff")

    def test_an_error_names_the_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"missing\.txt: cannot be read \(No such file"):
            prompt("?", files=(tmp_path / "missing.txt",))

    @pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="file names are Unicode here")
    def test_a_file_name_that_is_not_utf8_gets_replacement_characters(self, tmp_path: Path) -> None:
        file = tmp_path / os.fsdecode(b"caf\xe9.txt")
        file.write_text("x", encoding="utf-8")
        assert prompt("?", files=(file,)).startswith("[file name]: caf\N{REPLACEMENT CHARACTER}.txt\n")

    def test_words_that_are_not_utf8_are_refused(self) -> None:
        with pytest.raises(UsageError, match="not UTF-8"):
            prompt("caf\udce9")

    def test_a_dash_and_no_stdin_contradict_each_other(self) -> None:
        with pytest.raises(UsageError, match="--no-stdin"):
            prompt("-", stdin=b"x", use_stdin=False)


class TestRequirePrompt:
    """Refuses, before the model is looked for, if there cannot be a prompt."""

    def test_refuses_if_stdin_is_a_terminal(self) -> None:
        with pytest.raises(UsageError, match="no prompt"):
            require_prompt(console(None), PromptOptions(()))

    def test_refuses_with_no_stdin(self) -> None:
        with pytest.raises(UsageError, match="no prompt"):
            require_prompt(console(b"x"), PromptOptions((), use_stdin=False))

    def test_does_not_read_stdin(self) -> None:
        stream = io.BytesIO(b"later")
        require_prompt(console(stream), PromptOptions(()))
        assert stream.read() == b"later"


class TestReadLines:
    """JSON Lines: a prompt per line, or the error in it."""

    def test_accepts_strings_and_objects(self) -> None:
        assert lines(b'"a"\n{"prompt": "b", "id": 7}\n') == [("a", None, {}), ("b", None, {"id": 7})]

    def test_needs_no_final_newline(self) -> None:
        assert lines(b'"a"') == [("a", None, {})]

    def test_skips_blank_lines(self) -> None:
        assert lines(b'\n"a"\n  \n') == [("a", None, {})]

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (b"{", "not JSON"),
            (b"3", 'neither a string nor an object with a "prompt"'),
            (b'{"text": "a"}', 'neither a string nor an object with a "prompt"'),
            (b'{"prompt": null}', 'neither a string nor an object with a "prompt"'),
            (b'""', "empty prompt"),
            (b'"\xff"', r"not UTF-8 \(byte 2\)"),
            (rb'"\ud800"', "surrogate"),
            (b'{"prompt": "a", "id": ' + b"9" * 5000 + b"}", "not JSON"),
            (b'{"prompt": "a", "id": NaN}', "NaN is not JSON"),
            (b'{"prompt": "a", "id": 1e999}', "an id that JSON cannot represent"),
            (b"[" * 100_000, "not JSON"),
        ],
    )
    def test_a_bad_line_has_an_error_and_the_rest_continues(self, bad: bytes, reason: str) -> None:
        (first, error, _), after = lines(bad + b'\n"next"\n')
        assert first is None
        assert error is not None
        assert error.startswith("line 1")
        assert re.search(reason, error)
        assert after[0] == "next"

    def test_a_bad_line_keeps_its_id(self) -> None:
        assert lines(b'{"id": "x", "prompt": 1}')[0][2] == {"id": "x"}

    def test_words_precede_every_prompt(self) -> None:
        assert [text for text, _, _ in lines(b'"a"\n"b"\n', "Translate:")] == ["Translate:\n\na", "Translate:\n\nb"]

    def test_files_are_read_once_before_the_first_line(self, tmp_path: Path) -> None:
        file = tmp_path / "notes"
        file.write_text("one", encoding="utf-8")
        made = read_lines(console(b'"a"\n"b"\n'), PromptOptions((), (file,)))
        first = next(made)
        file.write_text("two", encoding="utf-8")
        assert next(made).prompt == (first.prompt or "").removesuffix("a") + "b"
        with pytest.raises(UsageError, match="cannot be read"):
            next(read_lines(console(b""), PromptOptions((), (tmp_path / "none",))))

    def test_no_stdin_is_a_usage_error(self) -> None:
        with pytest.raises(UsageError, match="--no-stdin"):
            next(read_lines(console(b'"a"'), PromptOptions((), use_stdin=False)))

    def test_yields_a_line_as_soon_as_it_arrives(self) -> None:
        read, write = os.pipe()
        with os.fdopen(read, "rb") as stream:
            os.write(write, json.dumps("first").encode() + b"\n")
            assert next(read_lines(console(stream), PromptOptions(()))).prompt == "first"
            os.close(write)

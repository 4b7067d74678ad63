"""`r1.prompt_input`: words, stdin and files → prompts."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from r1.prompt_input import PromptOptions, read_attachment, read_lines, read_prompt, read_stdin, require_prompt
from r1.prompt_limit import UNCHECKED, PromptLimit
from r1_quantize.errors import UsageError
from tests.fakes.consoles import console, written

LIMIT = PromptLimit(tokens=100_000, bytes=1_000_000)


def limit() -> PromptLimit:
    return LIMIT


def prompt(
    *words: str, stdin: bytes | BinaryIO | None = None, files: tuple[Path | str, ...] = (), use_stdin: bool = True
) -> str:
    return read_prompt(console(stdin), PromptOptions(words, tuple(map(Path, files)), use_stdin), limit)


def lines(stdin: bytes | BinaryIO, *words: str) -> list[tuple[str | None, str | None, dict[str, object]]]:
    return [(line.prompt, line.error, line.fields) for line in read_lines(console(stdin), PromptOptions(words), limit)]


class Endless(io.RawIOBase):
    """A stream without an end, which counts what is read of it."""

    def __init__(self, pattern: bytes) -> None:
        self._pattern = pattern
        self.read_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        buffer[:] = (self._pattern * (size // len(self._pattern) + 1))[:size]
        self.read_bytes += size
        return size


def buffered(raw: io.RawIOBase) -> BinaryIO:
    return io.BufferedReader(raw)


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
        read_prompt(console(stream), PromptOptions(("hi",), use_stdin=False), limit)
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


class TestLongPrompts:
    """What no context can hold is refused while it is read."""

    MESSAGE = r"the prompt has more than 1 MB, and 100,000 tokens of context hold at most 1 MB; send a part of it"

    @pytest.mark.parametrize("words", [(), ("-",), ("Sum up:",)])
    def test_an_endless_stdin_is_refused_soon(self, words: tuple[str, ...]) -> None:
        endless = Endless(b"y\n")
        with pytest.raises(UsageError, match=f"^stdin: {self.MESSAGE}$"):
            prompt(*words, stdin=buffered(endless))
        assert endless.read_bytes < 2 * LIMIT.bytes

    def test_an_endless_stdin_of_a_chat_too(self) -> None:
        endless = Endless(b"y\n")
        with pytest.raises(UsageError, match=self.MESSAGE):
            read_stdin(console(buffered(endless)), limit)
        assert endless.read_bytes < 2 * LIMIT.bytes

    @pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
    def test_an_endless_file_is_refused(self) -> None:
        with pytest.raises(UsageError, match=f"^/dev/zero: {self.MESSAGE}$"):
            prompt("hi", files=("/dev/zero",))

    def test_the_parts_of_a_prompt_count_together(self, tmp_path: Path) -> None:
        files = tuple(tmp_path / name for name in "abc")
        for file in files:
            file.write_bytes(b"x" * 400_000)
        assert len(prompt("hi", files=files[:2])) > 800_000
        with pytest.raises(UsageError, match=r"c: the prompt has 1.2 MB, and"):
            prompt("hi", files=files)
        with pytest.raises(UsageError, match="stdin: the prompt has"):
            prompt("hi", files=files[:2], stdin=b"x" * 400_000)

    def test_a_large_file_is_refused_without_reading_it(self, tmp_path: Path) -> None:
        file = tmp_path / "big.txt"
        with file.open("wb") as opened:
            opened.truncate(1 << 40)
        with pytest.raises(UsageError, match=r"big\.txt: the prompt has 1.1 TB, and"):
            prompt("hi", files=(file,))
        with file.open("rb") as stdin, pytest.raises(UsageError, match=r"stdin: the prompt has 1.1 TB, and"):
            prompt("hi", stdin=stdin)
        with pytest.raises(UsageError, match=r"big\.txt: the prompt has 1.1 TB"):
            read_attachment(file, limit)

    def test_a_prompt_of_the_longest_length_is_read(self) -> None:
        assert len(prompt(stdin=b"x" * LIMIT.bytes)) == LIMIT.bytes
        with pytest.raises(UsageError, match="the prompt has more than"):
            prompt(stdin=b"x" * (LIMIT.bytes + 1))

    def test_the_model_is_not_looked_at_for_a_short_prompt(self, tmp_path: Path) -> None:
        def unwanted() -> PromptLimit:
            raise AssertionError

        file = tmp_path / "a"
        file.write_bytes(b"x" * (UNCHECKED // 2))
        options = PromptOptions(("hi",), (file,))
        assert read_prompt(console(b"x" * (UNCHECKED // 2)), options, unwanted)
        assert list(read_lines(console(b'"a"\n"b"\n' * 1000), PromptOptions(()), unwanted))

    def test_an_endless_line_of_json_is_an_error_as_soon_as_it_is_too_long(self) -> None:
        endless = Endless(b"y")
        found = read_lines(console(buffered(endless)), PromptOptions(()), limit)
        assert next(found).error == (
            "line 1 is longer than 6 MB, and 100,000 tokens of context hold at most 1 MB"  # \\u0079 for each y
        )
        assert endless.read_bytes < 8 * LIMIT.bytes

    def test_an_endless_line_of_json_ends_at_last(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("r1.prompt_input._MAX_SKIPPED", 10_000_000)
        with pytest.raises(UsageError, match="a line of more than 10 MB"):
            lines(buffered(Endless(b"y")))

    def test_the_lines_after_one_that_is_too_long_are_answered(self) -> None:
        found = lines(b'"a"\n"' + b"y" * 7_000_000 + b'"\n"b"\n')
        assert [text for text, _, _ in found] == ["a", None, "b"]
        assert "line 2 is longer than" in str(found[1][1])

    def test_the_line_after_one_that_is_a_byte_too_long_is_answered(self) -> None:
        found = lines(b'"' + b"y" * (6_000_000 - 2) + b'"\n"b"\n')
        assert [text for text, _, _ in found] == [None, "b"]

    def test_a_long_line_of_escapes_is_read(self) -> None:
        assert lines(b'"' + b"\\u0079" * 900_000 + b'"\n')[0][0] == "y" * 900_000


class TestStdinByName:
    """`-` and its other names: read once, where it stands."""

    @pytest.mark.parametrize("name", ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
    def test_as_a_file_it_is_attached_and_not_read_again(self, name: str) -> None:
        assert prompt("What?", files=(name,), stdin=b"one\n") == (
            "[file name]: stdin\n[file content begin]\none\n[file content end]\nWhat?"
        )

    def test_as_a_file_it_needs_no_words(self) -> None:
        assert "\none\n" in prompt(files=("-",), stdin=b"one")
        require_prompt(console(None), PromptOptions((), (Path("-"),)))

    @pytest.mark.parametrize(
        ("words", "files"), [(("-",), ("-",)), (("hi",), ("-", "-")), ((), ("-", "/dev/stdin"))], ids=str
    )
    def test_twice_is_a_usage_error(self, words: tuple[str, ...], files: tuple[str, ...]) -> None:
        stream = io.BytesIO(b"left")
        with pytest.raises(UsageError, match="stdin can be read only once"):
            prompt(*words, files=files, stdin=stream)
        assert stream.read() == b"left"

    def test_it_contradicts_no_stdin_and_json_lines(self) -> None:
        with pytest.raises(UsageError, match="`-` reads stdin and --no-stdin forbids it"):
            prompt("hi", files=("-",), stdin=b"x", use_stdin=False)
        with pytest.raises(UsageError, match="so `-` has nothing to read"):
            next(read_lines(console(b'"a"'), PromptOptions((), (Path("-"),)), limit))

    def test_it_must_be_open(self) -> None:
        closed = replace(console(b""), stdin=None)
        with pytest.raises(UsageError, match="the file `-` is stdin, and stdin is closed"):
            read_prompt(closed, PromptOptions(("hi",), (Path("-"),)), limit)

    def test_a_dash_among_other_words_is_a_word(self) -> None:
        assert prompt("4", "-", "2", stdin=b"") == "4 - 2"


class TestWhatWasRead:
    """Words are followed by stdin although nobody named it: what was read is said where that may surprise."""

    def read(self, stdin: BinaryIO, *words: str, terminal: bool = False, files: tuple[Path, ...] = ()) -> str:
        made = console(stdin, stderr_is_terminal=terminal)
        read_prompt(made, PromptOptions(words, files), limit)
        return written(made.stderr)

    @pytest.fixture
    def begun(self, tmp_path: Path) -> Iterator[BinaryIO]:
        """A file of three lines, of which `while read` has taken the first."""
        file = tmp_path / "questions"
        file.write_bytes(b"first\nsecond\nthird\n")
        with file.open("rb") as opened:
            opened.seek(len(b"first\n"))
            yield opened

    @pytest.mark.parametrize("terminal", [True, False])
    def test_the_rest_of_a_file_is_warned_about(self, begun: BinaryIO, terminal: bool) -> None:
        assert "r1: read 13 bytes of stdin after the words, the rest of a file that another program had begun to " in (
            self.read(begun, "first", terminal=terminal)
        )

    def test_the_warning_says_what_to_do(self, begun: BinaryIO) -> None:
        assert self.read(begun, "first").endswith("; in a loop, use --no-stdin or < /dev/null\n")

    def test_after_files_alone_too(self, begun: BinaryIO, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("x")
        assert "after the files, the rest of a file" in self.read(begun, files=(tmp_path / "a",))

    def test_nothing_is_said_about_a_file_read_to_its_end(self, begun: BinaryIO) -> None:
        begun.seek(0, os.SEEK_END)
        assert self.read(begun, "third") == ""

    def test_nothing_is_said_if_stdin_is_the_only_part(self, begun: BinaryIO) -> None:
        assert self.read(begun) == ""

    def test_nothing_is_said_if_stdin_is_named(self, begun: BinaryIO) -> None:
        assert self.read(begun, "-") == ""
        begun.seek(6)
        assert self.read(begun, "first", files=(Path("-"),)) == ""

    def test_a_pipe_is_silent_unless_a_person_watches(self) -> None:
        assert self.read(io.BytesIO(b"diff\n"), "Sum up:") == ""
        said = self.read(io.BytesIO(b"diff\n"), "Sum up:", terminal=True)
        assert "r1: read 5 bytes of stdin after the words; --no-stdin leaves it unread\n" in said
        assert self.read(io.BytesIO(b""), "Sum up:", terminal=True) == ""


class TestWhatIsNoText:
    """One line says what it is instead."""

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\x7fELF\x02\x01", "is not text: byte 0x00 at position 6"),
            (b"\x7fELF\xff", "is not UTF-8: byte 0xff at position 4"),
            (b"\x7fELF\x00\xff", "is not text: byte 0x00 at position 4"),
            ("hi".encode("utf-16"), "is not UTF-8: byte 0xff at position 0"),
            ("hi".encode("utf-16-le"), "is not text: byte 0x00 at position 1; convert it first if it is UTF-16"),
        ],
    )
    def test_a_binary_file(self, tmp_path: Path, content: bytes, message: str) -> None:
        file = tmp_path / "file"
        file.write_bytes(content + bytes(2))
        with pytest.raises(UsageError, match=f"^{re.escape(str(file))} {message}"):
            prompt("?", files=(file,))
        with pytest.raises(UsageError, match=f"^stdin {message}"):
            prompt(stdin=content + bytes(2))

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"cannot be read \((Is a directory|Permission denied)\)"):
            prompt("?", files=(tmp_path,))

    @pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no /proc here")
    def test_a_file_that_fails_while_it_is_read(self) -> None:
        with pytest.raises(UsageError, match=r"^/proc/self/mem: cannot be read \(Input/output error\)$"):
            prompt("?", files=("/proc/self/mem",))
        failed = pytest.raises(UsageError, match=r"^stdin cannot be read \(Input/output error\)$")
        with Path("/proc/self/mem").open("rb") as stdin, failed:
            prompt("?", stdin=stdin)

    @pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders")
    def test_a_named_pipe_is_read_like_a_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"one\n",))
        writer.start()
        assert "\none\n" in prompt("?", files=(tmp_path / "pipe",))
        writer.join()


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
            *[
                (b'{"prompt": "a", "%s": %s}' % (name, b"[" * 600 + b"1" + b"]" * 600), "nested more than 500 levels")
                for name in (b"id", b"seed", b"effort", b"schema", b"choices")
            ],
        ],
    )
    def test_a_bad_line_has_an_error_and_the_rest_continues(self, bad: bytes, reason: str) -> None:
        (first, error, _), after = lines(bad + b'\n"next"\n')
        assert first is None
        assert error is not None
        assert error.startswith("line 1")
        assert re.search(reason, error)
        assert after[0] == "next"

    def test_what_is_nested_less_deep_is_kept(self) -> None:
        nested: list[object] = []
        for _ in range(450):
            nested = [nested]
        line = json.dumps({"prompt": "a", "id": nested, "other": nested, "schema": {"const": nested}})
        assert lines(line.encode()) == [("a", None, {"id": nested})]

    def test_a_bad_line_keeps_its_id(self) -> None:
        assert lines(b'{"id": "x", "prompt": 1}')[0][2] == {"id": "x"}

    def test_words_precede_every_prompt(self) -> None:
        assert [text for text, _, _ in lines(b'"a"\n"b"\n', "Translate:")] == ["Translate:\n\na", "Translate:\n\nb"]

    def test_sizes_add_up_to_what_was_read(self) -> None:
        stdin = b'\n  \n"a"\n\n{"prompt": "b"}\n{\n"c"'
        found = list(read_lines(console(stdin), PromptOptions(("words",)), limit))
        assert [line.size for line in found] == [8, 17, 2, 3]
        assert sum(line.size for line in found) == len(stdin)

    def test_the_digest_is_of_the_complete_prompt(self, tmp_path: Path) -> None:
        """`printf '%s' PROMPT | sha256sum | cut -c1-16`"""
        found = [*read_lines(console(b'"a"\n{"prompt": "\\u00e9", "id": 1}\n'), PromptOptions(()), limit)]
        assert [line.labels for line in found] == [
            {"line": 1, "prompt_sha256": "ca978112ca1bbdca"},
            {"id": 1, "line": 2, "prompt_sha256": "4a99557e4033c353"},
        ]
        assert list(found[1].labels) == ["id", "line", "prompt_sha256"]
        prefixed = next(read_lines(console(b'"lazy dog"'), PromptOptions(("The",)), limit))
        assert prefixed.digest == hashlib.sha256(b"The\n\nlazy dog").hexdigest()[:16]
        assert next(read_lines(console(b"\n{"), PromptOptions(()), limit)).labels == {"line": 2}

    def test_options_of_a_line_are_taken_as_they_are(self) -> None:
        """They are checked when the line is answered; null counts as not given, and other keys are no options."""
        stdin = b'{"prompt": "a", "seed": 7, "schema": {"type": "null"}, "temp": "x", "top_p": null, "ctx": 5, "id": 1}'
        found = next(read_lines(console(stdin), PromptOptions(()), limit))
        assert (found.options, found.fields) == ({"seed": 7, "temp": "x", "schema": {"type": "null"}}, {"id": 1})
        assert next(read_lines(console(b'"a"'), PromptOptions(()), limit)).options == {}

    def test_files_are_read_once_before_the_first_line(self, tmp_path: Path) -> None:
        file = tmp_path / "notes"
        file.write_text("one", encoding="utf-8")
        made = read_lines(console(b'"a"\n"b"\n'), PromptOptions((), (file,)), limit)
        first = next(made)
        file.write_text("two", encoding="utf-8")
        assert next(made).prompt == (first.prompt or "").removesuffix("a") + "b"
        with pytest.raises(UsageError, match="cannot be read"):
            next(read_lines(console(b""), PromptOptions((), (tmp_path / "none",)), limit))

    def test_no_stdin_is_a_usage_error(self) -> None:
        with pytest.raises(UsageError, match="--no-stdin"):
            next(read_lines(console(b'"a"'), PromptOptions((), use_stdin=False), limit))

    def test_yields_a_line_as_soon_as_it_arrives(self) -> None:
        read, write = os.pipe()
        with os.fdopen(read, "rb") as stream:
            os.write(write, json.dumps("first").encode() + b"\n")
            assert next(read_lines(console(stream), PromptOptions(()), limit)).prompt == "first"
            os.close(write)

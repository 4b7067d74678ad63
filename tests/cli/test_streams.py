"""`r1.streams`: stdin and stdout on real descriptors, in the states that a parent process can leave them in."""

from __future__ import annotations

import errno
import io
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO
from unittest.mock import patch

import pytest

from r1 import streams
from r1_quantize.errors import NotEnoughSpace, R1Error, UsageError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="on Windows the streams are Python's own")

FULL = Path("/dev/full")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A reading and a writing descriptor; a test may close them."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def output(descriptor: int, made: type[streams._Output] = streams._Output) -> TextIO:
    return streams._text(made(descriptor), io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))


@contextmanager
def stdin_on(descriptor: int) -> Iterator[BinaryIO | None]:
    with os.fdopen(os.dup(descriptor), "rb", buffering=0) as stdin, patch.object(sys, "stdin", stdin):
        yield streams.input_stream()


class TestOutput:
    """Complete writes, and errors that name the stream, once."""

    def test_a_text_longer_than_the_pipe_arrives_whole(self, pipe: tuple[int, int]) -> None:
        text, received = "é" * 300_000, bytearray()

        def read() -> None:
            while len(received) < 600_000:
                received.extend(os.read(pipe[0], 4096))

        reader = threading.Thread(target=read)
        reader.start()
        output(pipe[1]).write(text)
        reader.join(60)
        assert received.decode() == text

    def test_a_non_blocking_pipe_is_waited_for_and_stays_non_blocking(self, pipe: tuple[int, int]) -> None:
        os.set_blocking(pipe[1], False)
        self.test_a_text_longer_than_the_pipe_arrives_whole(pipe)
        assert not os.get_blocking(pipe[1])  # the setting is shared with other processes

    def test_each_text_is_one_write(self, pipe: tuple[int, int]) -> None:
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)  # keeps writes apart
        with ours, theirs:
            stream = output(ours.fileno())
            stream.write("one\ntwo\n")
            stream.write("x" * 50_000)
            assert theirs.recv(100_000) == b"one\ntwo\n"
            assert theirs.recv(100_000) == b"x" * 50_000

    def test_a_reader_that_is_gone(self, pipe: tuple[int, int]) -> None:
        stream = output(pipe[1])
        os.close(pipe[0])
        with pytest.raises(BrokenPipeError):
            stream.write("x")
        stream.write("what follows is discarded")

    def test_a_socket_whose_other_side_is_gone(self) -> None:
        ours, theirs = socket.socketpair()
        with ours:
            theirs.close()
            with pytest.raises(BrokenPipeError):
                output(ours.fileno()).write("x")

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems do not report it as EIO")
    def test_a_terminal_that_is_gone_is_a_reader_that_is_gone(self) -> None:
        ours, theirs = os.openpty()
        os.close(ours)
        try:
            with pytest.raises(BrokenPipeError):
                output(theirs).write("x")
        finally:
            os.close(theirs)

    @pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
    def test_a_full_disk(self) -> None:
        with FULL.open("wb") as full, pytest.raises(NotEnoughSpace, match="cannot write to stdout: no space left"):
            output(full.fileno()).write("x")

    def test_a_descriptor_for_reading(self, pipe: tuple[int, int]) -> None:
        stream = output(pipe[0])
        with pytest.raises(UsageError, match="stdout is not open for writing"):
            streams.check_output(stream)
        with pytest.raises(UsageError, match="stdout is not open for writing"):
            stream.write("x")

    def test_any_other_error_is_one_line(self, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
        def write(_descriptor: int, _data: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "write", write)
        with pytest.raises(R1Error, match="cannot write to stdout: Input/output error"):
            output(pipe[1]).write("x")

    def test_errors_of_stderr_are_ignored(self, pipe: tuple[int, int]) -> None:
        stream = output(pipe[0], streams._Errors)
        stream.write("x")
        stream.write("y")


class TestInput:
    """None if it cannot be read at all; otherwise UsageError where reading fails."""

    def test_a_descriptor_for_writing_is_none(self, pipe: tuple[int, int]) -> None:
        with stdin_on(pipe[1]) as stdin:
            assert stdin is None

    def test_a_closed_one_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        assert streams.input_stream() is None

    def test_lines_and_the_rest(self, pipe: tuple[int, int]) -> None:
        os.write(pipe[1], b"one\ntwo\n" + b"x" * 20_000)
        os.close(pipe[1])
        with stdin_on(pipe[0]) as stdin:
            assert stdin is not None
            assert stdin.readline() == b"one\n"
            assert stdin.read() == b"two\n" + b"x" * 20_000

    def test_a_non_blocking_one_is_waited_for(self, pipe: tuple[int, int]) -> None:
        os.set_blocking(pipe[0], False)

        def write() -> None:
            os.write(pipe[1], b"late")
            os.close(pipe[1])

        with stdin_on(pipe[0]) as stdin:
            assert stdin is not None
            timer = threading.Timer(0.05, write)
            timer.start()
            assert stdin.read() == b"late"
            timer.join()

    def test_the_position_in_a_file_is_known(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"one\ntwo\n")
        with (tmp_path / "file").open("rb", buffering=0) as file:
            file.seek(4)
            with stdin_on(file.fileno()) as stdin:
                assert stdin is not None
                assert stdin.tell() == 4
                assert stdin.read() == b"two\n"

    def test_a_pipe_has_no_position(self, pipe: tuple[int, int]) -> None:
        with stdin_on(pipe[0]) as stdin:
            assert stdin is not None
            with pytest.raises(OSError, match="seek"):
                stdin.tell()

    def test_a_socket_is_read_if_it_is_connected(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, stdin_on(ours.fileno()) as stdin:
            theirs.sendall(b"hello")
            theirs.shutdown(socket.SHUT_WR)
            assert stdin is not None
            assert stdin.read() == b"hello"
        with socket.socket() as unconnected, stdin_on(unconnected.fileno()) as stdin:
            assert stdin is None

    def test_a_terminal_is_read_until_it_is_gone(self) -> None:
        ours, theirs = os.openpty()
        try:
            with stdin_on(theirs) as stdin:
                assert stdin is not None
                assert stdin.isatty()
            os.close(ours)
            with stdin_on(theirs) as stdin:
                assert stdin is None
        finally:
            os.close(theirs)

    def test_an_error_while_reading_is_one_line(self, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
        def read(_descriptor: int, _count: int) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with stdin_on(pipe[0]) as stdin:
            assert stdin is not None
            monkeypatch.setattr(os, "read", read)
            with pytest.raises(UsageError, match=r"stdin cannot be read \(Input/output error\)"):
                stdin.read()


class TestModeOfWriting:
    """Whether a stream writes to a file, and whether it keeps what is there."""

    @pytest.mark.parametrize(("mode", "expected"), [("a", "append"), ("w", "overwrite"), ("r+", "overwrite")])
    def test_of_a_file_under_any_of_its_names(self, tmp_path: Path, mode: str, expected: str) -> None:
        file, link, other = tmp_path / "file", tmp_path / "link", tmp_path / "other"
        file.touch()
        other.touch()
        link.symlink_to(file)
        with file.open(mode, encoding="utf-8") as stream:
            made = output(stream.fileno())
            assert streams.mode_of_writing(made, file) == expected
            assert streams.mode_of_writing(made, link) == expected
            assert streams.mode_of_writing(made, other) is None
            assert streams.mode_of_writing(made, tmp_path / "none") is None

    def test_a_device_or_memory_overwrites_nothing(self) -> None:
        with Path(os.devnull).open("w", encoding="utf-8") as stream:
            assert streams.mode_of_writing(output(stream.fileno()), Path(os.devnull)) is None
        assert streams.mode_of_writing(io.StringIO(), Path(os.devnull)) is None

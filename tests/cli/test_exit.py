"""`r1.exit`: an error becomes one line on stderr and an exit code."""

from __future__ import annotations

import errno

import pytest
import typer

from r1.exit import run_app
from r1_quantize.errors import BadGGUF, ModelNotFound, NetworkError, NotEnoughSpace, R1Error, UsageError


def status_of(error: BaseException) -> int:
    def fails(*, standalone_mode: bool) -> None:
        raise error

    return run_app(fails)


class TestRunApp:
    """Our own errors have an exit code; all others get one here."""

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (R1Error("x"), 1),
            (UsageError("x"), 2),
            (typer.BadParameter("x"), 2),
            (ModelNotFound("x"), 4),
            (NotEnoughSpace("x"), 5),
            (OSError(errno.ENOSPC, "No space left on device"), 5),
            (NetworkError("x"), 6),
            (BadGGUF("x"), 7),
            (RuntimeError("x"), 1),
            (OSError(errno.EIO, "Input/output error"), 1),
        ],
        ids=repr,
    )
    def test_an_error_is_one_line_and_its_status(
        self, capsys: pytest.CaptureFixture[str], error: BaseException, status: int
    ) -> None:
        assert status_of(error) == status
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("r1: ")
        assert err.count("\n") == 1

    def test_ctrl_c_prints_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert status_of(KeyboardInterrupt()) == 130
        assert capsys.readouterr() == ("", "")

    def test_a_message_becomes_one_line_without_control_codes(self, capsys: pytest.CaptureFixture[str]) -> None:
        status_of(UsageError("first\nsecond\x1b[31m"))
        assert capsys.readouterr().err == "r1: first second[31m\n"

    @pytest.mark.parametrize(
        ("typers", "ours"),
        [
            ("Not an option (Possible options: --ctx)", "invalid value: Not an option; did you mean --ctx?"),
            ("File 'My notes. Part 2.md' does not exist.", "invalid value: File 'My notes. Part 2.md' does not exist;"),
        ],
    )
    def test_typers_messages_follow_our_style_and_keep_the_users_words(
        self, capsys: pytest.CaptureFixture[str], typers: str, ours: str
    ) -> None:
        status_of(typer.BadParameter(typers))
        assert ours in capsys.readouterr().err

    @pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
    def test_r1_debug_prints_the_traceback_of_an_unexpected_error(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, value: str, shown: bool
    ) -> None:
        monkeypatch.setenv("R1_DEBUG", value)
        status_of(RuntimeError("boom"))
        err = capsys.readouterr().err
        assert ("Traceback" in err) == shown
        assert "r1: unexpected error: RuntimeError: boom (R1_DEBUG=1 prints the traceback)" in err

    @pytest.mark.parametrize(("filename", "where"), [(None, "stdout"), ("/data/model.gguf", "/data/model.gguf")])
    def test_a_full_disk_is_named(self, capsys: pytest.CaptureFixture[str], filename: str | None, where: str) -> None:
        status_of(OSError(errno.ENOSPC, "No space left on device", filename))
        assert capsys.readouterr().err == f"r1: cannot write to {where}: no space left\n"

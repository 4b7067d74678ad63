"""`r1.app`: whatever goes wrong becomes one line and a status."""

from __future__ import annotations

import errno

import pytest
import typer

from r1.app import run_app
from r1_quantize.errors import BadGGUF, ModelNotFound, NetworkError, NotEnoughSpace, R1Error, UsageError


def status_of(error: BaseException) -> int:
    def fails(*, standalone_mode: bool) -> None:
        raise error

    return run_app(fails)


class TestRunApp:
    """Errors of the tree carry their status, the rest is translated at this one place."""

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

    def test_ctrl_c_is_not_talked_about(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert status_of(KeyboardInterrupt()) == 130
        assert capsys.readouterr() == ("", "")

    def test_a_message_of_many_lines_becomes_one_and_steers_no_terminal(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        status_of(UsageError("first\nsecond\x1b[31m"))
        assert capsys.readouterr().err == "r1: first second[31m\n"

    @pytest.mark.parametrize(("wish", "shown"), [("1", True), ("0", False), ("", False)])
    def test_the_traceback_of_the_unforeseen_is_had_on_request(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, wish: str, shown: bool
    ) -> None:
        monkeypatch.setenv("R1_DEBUG", wish)
        status_of(RuntimeError("boom"))
        err = capsys.readouterr().err
        assert ("Traceback" in err) == shown
        assert "r1: unforeseen: RuntimeError: boom (R1_DEBUG=1 shows where)" in err

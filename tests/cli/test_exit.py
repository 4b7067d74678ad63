"""`r1.exit`: an error becomes one line on stderr and an exit code."""

from __future__ import annotations

import errno
import io
import json
import sys
from pathlib import Path

import pytest
import typer

from r1.exit import run_app
from r1_quantize.errors import BadGGUF, ExitStatus, ModelNotFound, NetworkError, NotEnoughSpace, R1Error, UsageError


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
            (PermissionError(errno.EACCES, "Permission denied"), 1),
            (PermissionError(errno.EACCES, "Permission denied", "/root/x"), 2),
            (OSError(errno.EROFS, "Read-only file system", "/mnt/x"), 2),
            (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), 2),
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

    @pytest.mark.parametrize(
        ("error", "remedy", "status"),
        [
            (MemoryError(), "raise ulimit -v", 5),
            (OSError(errno.ENOMEM, "Cannot allocate memory"), "raise ulimit -v", 5),
            (RuntimeError("can't start new thread"), "raise ulimit -u", 5),
            (OSError(errno.EMFILE, "Too many open files"), "raise ulimit -n", 2),
            (OSError(errno.ENFILE, "Too many open files in system", "/m.gguf"), "raise ulimit -n", 2),
        ],
        ids=["memory", "ENOMEM", "thread", "EMFILE", "ENFILE"],
    )
    def test_what_the_system_has_run_out_of_is_named_also_where_it_seems_to_be_a_files_fault(
        self, capsys: pytest.CaptureFixture[str], error: Exception, remedy: str, status: int
    ) -> None:
        seems = BadGGUF("/m.gguf: damaged")
        seems.__cause__ = error
        assert [status_of(error), status_of(seems)] == [status, status]
        first, second = capsys.readouterr().err.splitlines()
        assert first == second
        assert remedy in first
        assert "unexpected" not in first

    def test_a_message_about_memory_with_its_own_figures_stays(self, capsys: pytest.CaptureFixture[str]) -> None:
        precise = NotEnoughSpace("the model needs 5 GB of memory, and 4 GB are free")
        precise.__cause__ = MemoryError()
        assert status_of(precise) == 5
        assert capsys.readouterr().err == "r1: the model needs 5 GB of memory, and 4 GB are free\n"

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
    @pytest.mark.parametrize(("limit", "status"), [(400 << 20, 5), (-1, 1)])
    @pytest.mark.parametrize(
        "error",
        [
            ImportError("x.so: failed to map segment from shared object"),  # also where it may not be executed
            SystemError("error return without exception set"),
        ],
        ids=["library", "CPython"],
    )
    def test_what_may_be_a_lack_of_memory_is_one_where_memory_is_limited(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception, limit: int, status: int
    ) -> None:
        monkeypatch.setattr("resource.getrlimit", lambda _: (limit, -1))
        assert status_of(error) == status

    def test_ctrl_c_prints_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert status_of(KeyboardInterrupt()) == 130
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize("status", [129, 143])
    def test_a_signal_prints_nothing(self, capsys: pytest.CaptureFixture[str], status: int) -> None:
        assert status_of(SystemExit(status)) == status
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

    def test_a_path_that_cannot_be_used_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        status_of(PermissionError(errno.EACCES, "Permission denied", "/root/models.toml"))
        assert capsys.readouterr().err == (
            "r1: /root/models.toml: Permission denied; check the path and its permissions\n"
        )

    def test_a_current_folder_that_was_deleted_is_named(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A library's relative path then fails without a name."""
        monkeypatch.chdir(tmp_path)
        tmp_path.rmdir()
        assert status_of(FileNotFoundError(errno.ENOENT, "No such file or directory")) == 2
        assert "the current folder was deleted" in capsys.readouterr().err

    @pytest.mark.parametrize(("filename", "where"), [(None, "stdout"), ("/data/model.gguf", "/data/model.gguf")])
    def test_a_full_disk_is_named(self, capsys: pytest.CaptureFixture[str], filename: str | None, where: str) -> None:
        status_of(OSError(errno.ENOSPC, "No space left on device", filename))
        assert capsys.readouterr().err == f"r1: cannot write to {where}: no space left\n"


class TestErrorObject:
    """With --json an error is also one JSON object on stdout, so that a script that parses stdout always can."""

    def objects(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, error: BaseException
    ) -> list[object]:
        monkeypatch.setattr(sys, "argv", ["r1", *command.split()])
        status_of(error)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    @pytest.mark.parametrize(
        "command", ["run --json q", "run --jsonl", "--json q", "list --json", "history show 3 --json", "--json history"]
    )
    def test_has_the_message_and_the_exit_code(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        error = ModelNotFound("no model\nis “here”")
        printed = self.objects(capsys, monkeypatch, command, error)
        assert printed == [{"error": "no model is “here”", "exit_code": 4}]

    @pytest.mark.parametrize(
        "command", ["pull --json x", "--json quantize x", "quantize -q x -t Q8_0 --json", "serve --json"]
    )
    def test_is_an_event_among_events(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        printed = self.objects(capsys, monkeypatch, command, NetworkError("gone"))
        assert printed == [{"event": "failed", "error": "gone", "exit_code": 6}]

    @pytest.mark.parametrize("command", ["run q", "run -- --json", "list", "pull x -- --jsonl"])
    def test_is_absent_without_the_option(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        assert self.objects(capsys, monkeypatch, command, ModelNotFound("x")) == []

    @pytest.mark.parametrize(
        ("error", "text", "status"),
        [
            (typer.BadParameter("No", param_hint="'--ctx'"), "invalid value for '--ctx': No; see r1 --help", 2),
            (KeyboardInterrupt(), "interrupted", 130),
            (SystemExit(143), "interrupted", 143),
            (RuntimeError("boom"), "unexpected error: RuntimeError: boom (R1_DEBUG=1 prints the traceback)", 1),
            (OSError(errno.ENOSPC, "No space left", "/m.gguf"), "cannot write to /m.gguf: no space left", 5),
        ],
        ids=["usage", "Ctrl-C", "SIGTERM", "unexpected", "full disk"],
    )
    def test_every_kind_of_error_has_one(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        error: BaseException,
        text: str,
        status: int,
    ) -> None:
        assert self.objects(capsys, monkeypatch, "doctor --json", error) == [{"error": text, "exit_code": status}]

    def test_typers_status_for_ctrl_c_has_one(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["r1", "doctor", "--json"])
        assert run_app(lambda *, standalone_mode: 130) == 130
        assert json.loads(capsys.readouterr().out) == {"error": "interrupted", "exit_code": 130}

    def test_a_command_that_printed_its_own_result_has_none(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["r1", "run", "--json", "x"])
        assert run_app(lambda *, standalone_mode: ExitStatus.INTERRUPTED) == 130
        assert capsys.readouterr().out == ""

    def test_a_reader_that_has_gone_does_not_change_the_exit_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Gone(io.StringIO):
            def write(self, _: str) -> int:
                raise BrokenPipeError

        monkeypatch.setattr(sys, "argv", ["r1", "list", "--json"])
        monkeypatch.setattr(sys, "stdout", Gone())
        assert status_of(UsageError("x")) == 2

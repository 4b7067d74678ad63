"""`r1.engine.llama`: the log is kept, the stop flag reaches C, and an abort is one line and an exit code."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from r1.engine import llama as llama_module
from r1.engine.llama import Log, Stop

WARN, ERROR, INFO, CONTINUE = 3, 4, 2, 5


class TestLog:
    """Warnings and errors are kept, everything else is dropped."""

    def test_keeps_warnings_and_errors_only(self) -> None:
        log = Log()
        log.write(INFO, "loading\n")
        log.write(WARN, "odd\n")
        log.write(ERROR, "broken\n")
        assert list(log.complaints) == ["odd", "broken"]

    def test_a_continued_line_has_the_level_of_its_start(self) -> None:
        log = Log()
        log.write(INFO, "dots")
        log.write(CONTINUE, "....")
        log.write(ERROR, "broken")
        log.write(CONTINUE, " more")
        assert list(log.complaints) == ["broken", "more"]

    def test_the_reason_is_the_error_without_the_functions_name(self) -> None:
        log = Log()
        log.write(WARN, "something: odd\n")
        log.write(ERROR, "llama_model_load: error loading model: tensor 'a' is missing\n")
        log.write(ERROR, "llama_model_load_from_file_impl: failed to load model\n")
        assert log.reason() == "tensor 'a' is missing"

    def test_without_complaints_it_says_so(self) -> None:
        assert Log().reason() == "llama.cpp gave no reason"


def seen_by_c(stop: Stop) -> bool:
    """The flag as llama.cpp reads it: its callback is a `bool (*)(void *)`."""
    callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(stop.callback)
    return bool(callback(stop.data))


class TestStop:
    """A flag that Python sets and C reads."""

    def test_is_not_set_at_first(self) -> None:
        stop = Stop()
        assert (stop(), seen_by_c(stop)) == (False, False)

    def test_can_be_set_and_cleared_repeatedly(self) -> None:
        stop = Stop()
        for _ in range(3):
            stop.set()
            assert (stop(), seen_by_c(stop)) == (True, True)
            stop.clear()
            assert (stop(), seen_by_c(stop)) == (False, False)

    def test_is_independent_of_other_flags(self) -> None:
        one, other = Stop(), Stop()
        one.set()
        assert (seen_by_c(one), seen_by_c(other)) == (True, False)


class TestAbort:
    """When llama.cpp ends the process, it does so with one line, an exit code, and nothing on stdout."""

    @pytest.mark.parametrize(
        ("reason", "status", "message"),
        [
            ("the graph is\nwrong", 1, "r1: llama.cpp aborted: a.c:1: the graph is wrong"),
            (
                "Remote RPC server crashed or returned malformed response",
                6,
                "r1: lost the connection to an --rpc server",
            ),
        ],
    )
    def test_is_a_line_and_a_status(self, reason: str, status: int, message: str) -> None:
        program = (
            "import ctypes\n"
            "from r1.engine import llama as module\n"
            "from r1_quantize.binding import function\n"
            "module.llama()\n"
            "module.before_abort += [lambda: 1 / 0, lambda: print('restored', flush=True)]\n"
            "abort = function('ggml_abort', [ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p], None)\n"
            f"abort(b'a.c', 1, {reason.encode()!r})\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
        assert (done.returncode, done.stdout) == (status, "restored\n")
        (line,) = done.stderr.splitlines()
        assert line.startswith(message)


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "30000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_waiting_threads_sleep_soon_unless_the_user_chose(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], spins: str | None
) -> None:
    monkeypatch.setattr(llama_module.os, "environ", environ := dict(given))
    llama_module._limit_spinning()
    assert environ.get("GOMP_SPINCOUNT") == spins

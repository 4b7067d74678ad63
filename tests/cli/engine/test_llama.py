"""`r1.engine.llama`: the library, initialised once; its log kept, not shown."""

from __future__ import annotations

import subprocess
import sys

import pytest

from r1.engine.llama import Log

WARN, ERROR, INFO, CONTINUE = 3, 4, 2, 5


class TestLog:
    """Complaints are kept, everything else goes by."""

    def test_keeps_warnings_and_errors_only(self) -> None:
        log = Log()
        log.write(INFO, "loading\n")
        log.write(WARN, "odd\n")
        log.write(ERROR, "broken\n")
        assert list(log.complaints) == ["odd", "broken"]

    def test_a_continued_line_has_the_level_of_its_beginning(self) -> None:
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


class TestAbort:
    """llama.cpp may end the process: then with one line and an exit code, and nothing on stdout."""

    @pytest.mark.parametrize(
        ("words", "status", "said"),
        [
            ("the graph is\nwrong", 1, "r1: llama.cpp gave up: "),
            ("Remote RPC server crashed or returned malformed response", 6, "r1: a server of --rpc went away"),
        ],
    )
    def test_is_a_line_and_a_status(self, words: str, status: int, said: str) -> None:
        program = (
            "import ctypes\n"
            "from r1.engine import llama as module\n"
            "from r1_quantize.binding import function\n"
            "module.llama()\n"
            "module.before_abort += [lambda: 1 / 0, lambda: print('restored', flush=True)]\n"
            "abort = function('ggml_abort', [ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p], None)\n"
            f"abort(b'a.c', 1, {words.encode()!r})\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (status, "restored\n")
        (line,) = done.stderr.splitlines()
        assert line.startswith(said)

"""`r1 run --jsonl` as a process: slow and endless producers, Ctrl-C, kills, and output that is continued later."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import R1, Start
from tests.e2e.terminal import Terminal, without_style

WAIT_S = 300  # for a process; a busy machine takes much longer than an idle one
PIPE_BYTES = 64 << 10  # that a pipe holds on Linux

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and pipes")


def objects(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


class TestProducers:
    """Stdin is read as it comes, and no faster than it is answered."""

    def test_answers_come_while_it_waits_for_the_next_line(self, start: Start) -> None:
        """Stdin stays open, so a read blocks all the time; several lines are answered nevertheless."""
        process = start("run", "--jsonl", "--temp", "0", "--parallel", "3")
        for number in range(3):
            process.stdin.write(b'"2+3"\n' * number)
            process.stdin.write(b'"2+3"\n')
            process.stdin.flush()
            for _ in range(number + 1):
                assert json.loads(process.stdout.readline())["finish_reason"] == "stop"
        process.stdin.close()
        assert process.wait(timeout=WAIT_S) == 0
        process.stdout.close()

    def test_an_endless_producer_is_held_up_and_ctrl_c_prints_what_is_under_way(
        self, start: Start, endless_path: Path
    ) -> None:
        """The model never ends a reply, so only the first lines are read: those of four replies, and what a pipe and a
        buffer hold.
        """
        ours, theirs = os.pipe()
        endless = ("-m", endless_path, "--loop-guard", "off")
        process = start("run", *endless, "--jsonl", "--temp", "0", "--parallel", "4", stdin=ours)
        os.close(ours)
        written = 0
        line = json.dumps("hi" + " " * 1000).encode() + b"\n"

        def produce() -> None:
            nonlocal written
            try:
                while True:
                    written += os.write(theirs, line)
            except BrokenPipeError:
                os.close(theirs)

        producer = threading.Thread(target=produce)
        producer.start()
        while not process.poll() and written < PIPE_BYTES:
            threading.Event().wait(0.01)
        threading.Event().wait(0.5)  # time in which it could read far more
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=WAIT_S)
        producer.join(WAIT_S)
        assert (process.returncode, errors) == (130, b"")
        assert written < 2 * PIPE_BYTES
        found = objects(out)
        assert [each["line"] for each in found] == [1, 2, 3, 4]
        assert [each["finish_reason"] for each in found] == ["interrupted"] * 4

    def test_a_reader_that_goes_away_ends_it_silently(self, start: Start) -> None:
        process = start("run", "--jsonl", "--parallel", "4")
        process.stdin.write(b'"2+3"\n' * 20)
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=WAIT_S) == 141
        assert process.stderr.read() == b""
        process.stdin.close()
        process.stderr.close()


class TestResume:
    """`--resume FILE >> FILE`: a night's work survives a kill."""

    def command(self, file: Path, *options: str) -> list[str | Path]:
        return [*R1, "run", "--jsonl", "--temp", "0", "--parallel", "4", *options, "--resume", file]

    def test_after_kills_no_line_is_missing_and_none_is_there_twice(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        prompts, file = tmp_path / "prompts", tmp_path / "out.jsonl"
        asked = [f"{number % 20}+3" for number in range(40)]
        prompts.write_text("".join(json.dumps(prompt) + "\n" for prompt in asked), encoding="utf-8")
        statuses = []
        for kill_at in (8, 25, 1000):
            with prompts.open("rb") as stdin, file.open("ab") as stdout:
                process = subprocess.Popen(
                    self.command(file, "--unordered"), env=environ, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE
                )
                while process.poll() is None and file.read_bytes().count(b"\n") < kill_at:
                    threading.Event().wait(0.005)
                process.kill()
                _, errors = process.communicate(timeout=WAIT_S)
            assert errors in {b"", f"r1: {file} ended with an incomplete object, which was cut off\n".encode()}
            statuses.append(process.returncode)
            if process.returncode:
                with file.open("ab") as torn:  # as if it had been killed in the middle of a write
                    torn.write(b'{"line": 40, "prompt_sha256": "0123456789abcdef", "answ')
        assert statuses == [-signal.SIGKILL] * 2 + [0]
        found = objects(file.read_bytes())
        assert Counter(each["line"] for each in found) == Counter(range(1, 41))
        assert {each["finish_reason"] for each in found} == {"stop"}

    def test_a_file_that_the_shell_would_overwrite_is_refused_from_the_first_night(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        file = tmp_path / "out.jsonl"
        with file.open("wb") as stdout:
            done = subprocess.run(
                self.command(file), env=environ, input=b'"hi"\n', stdout=stdout, stderr=subprocess.PIPE, check=False
            )
        assert done.returncode == 2
        assert done.stderr.startswith(f"r1: --resume {file}: > overwrites this file".encode())


class TestTerminal:
    """The progress of all, in a line that is replaced."""

    def test_progress_of_a_file_has_the_time_left(
        self, environ: dict[str, str], tmp_path: Path, endless_path: Path
    ) -> None:
        prompts = tmp_path / "prompts"
        prompts.write_text('"hi"\n' * 1000, encoding="utf-8")
        command = subprocess.list2cmdline(
            [*R1, "run", "-m", str(endless_path), "--jsonl", "--max-tokens", "300", "--parallel", "2"]
        )
        with Terminal(["/bin/sh", "-c", f"exec {command} < {prompts} > {tmp_path / 'out'}"], environ) as terminal:
            screen = ""
            while " tok/s · about " not in without_style(screen):
                screen += terminal.read_some()
            terminal.type("\x03")
            screen += terminal.read_to_end()
            assert terminal.status == 130
        assert " done · 2 running · " in screen
        assert objects((tmp_path / "out").read_bytes())[-1]["finish_reason"] == "interrupted"

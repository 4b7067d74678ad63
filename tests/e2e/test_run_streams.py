"""`r1 run` with streams that are terminals, close early or are full, and with Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import R1, Run, Start
from tests.e2e.terminal import Terminal, without_style

SUM = "What is 17 + 25?"
WAIT_S = 300  # for a process; a busy machine takes much longer than an idle one


class TestStreamsThatGoAway:
    """Closed pipes and full disks."""

    def test_a_reader_that_goes_away_ends_it_silently(self, start: Start) -> None:
        process = start("run", "--jsonl")
        process.stdin.write(b'"hi"\n')
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b'"hi"\n' * 3)
        process.stdin.close()
        assert process.wait(timeout=WAIT_S) == 141
        assert process.stderr.read() == b""
        process.stderr.close()

    @pytest.mark.parametrize("arguments", [["run", "--no-stdin", "hi"], ["run", "--json", "hi"], ["list"], ["--help"]])
    def test_a_stdout_closed_from_the_start_is_an_error(self, environ: dict[str, str], arguments: list[str]) -> None:
        command = subprocess.list2cmdline([*R1, *arguments])
        done = subprocess.run(
            f"{command} >&-", shell=True, env=environ, capture_output=True, timeout=WAIT_S, check=False
        )
        assert (done.returncode, done.stderr) == (2, b"r1: stdout is closed; run r1 without >&-\n")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    @pytest.mark.parametrize("thinking", ["hide", "only"])
    def test_a_full_disk_behind_stdout(self, environ: dict[str, str], thinking: str) -> None:
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [*R1, "run", "--no-stdin", "--temp", "0", "--thinking", thinking, SUM],
                stdout=full,
                stderr=subprocess.PIPE,
                env=environ,
                timeout=WAIT_S,
                check=False,
            )
        assert done.returncode == 5
        assert done.stderr.startswith(b"r1: cannot write to stdout: no space left")
        assert done.stderr.count(b"\n") == 1

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    @pytest.mark.parametrize(
        ("arguments", "status", "output"),
        [
            (["run", "--no-stdin", "--temp", "0", "--thinking", "show", SUM], 0, rb"[^\n]*42[^\n]*\n"),
            (["run", "--no-stdin", "--max-tokens", "2", "hi"], 3, rb""),
            (["run", "--no-such-option"], 2, rb""),
        ],
    )
    def test_a_full_disk_behind_stderr_changes_neither_answer_nor_status(
        self, environ: dict[str, str], arguments: list[str], status: int, output: bytes
    ) -> None:
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [*R1, *arguments], stdout=subprocess.PIPE, stderr=full, env=environ, timeout=WAIT_S, check=False
            )
        assert done.returncode == status
        assert re.fullmatch(output, done.stdout)

    def test_a_non_blocking_stdin_is_waited_for(self, start: Start) -> None:
        theirs, ours = os.pipe()
        os.set_blocking(theirs, False)
        process = start("run", "--temp", "0", stdin=theirs)
        os.close(theirs)
        time.sleep(0.5)
        os.write(ours, SUM.encode())
        os.close(ours)
        out, _ = process.communicate(timeout=WAIT_S)
        assert (process.returncode, b"42" in out) == (0, True)


class TestSharedPipe:
    """Several processes that write to one pipe, as under `xargs -P`: every line stays whole."""

    def lines_of(self, start: Start, command: list[str], stdin: Path, stream: str) -> list[bytes]:
        """The lines that three processes write to one pipe, which is read in small parts, so that it fills up."""
        ours, theirs = os.pipe()
        with ExitStack() as files:
            inputs = [files.enter_context(stdin.open("rb")) for _ in range(3)]
            processes = [start(*command, **{"stdin": each, stream: theirs}) for each in inputs]
        os.close(theirs)
        received = b""
        while part := os.read(ours, 1000):
            received += part
        os.close(ours)
        assert [process.wait(WAIT_S) for process in processes] == [0] * 3
        assert received.endswith(b"\n")
        return received.splitlines(keepends=True)

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a pipe cannot be locked")
    def test_json_lines_longer_than_a_pipe_holds(self, start: Start, tmp_path: Path) -> None:
        ids = [letter * 100_000 for letter in "abc"]
        prompts = tmp_path / "prompts"
        prompts.write_text("".join(json.dumps({"id": each, "prompt": "hi"}) + "\n" for each in ids), encoding="utf-8")
        lines = self.lines_of(start, ["run", "--jsonl"], prompts, "stdout")
        assert sorted(json.loads(line)["id"] for line in lines) == sorted(ids * 3)

    @pytest.mark.parametrize(("form", "stream"), [("only", "stdout"), ("show", "stderr")])
    def test_lines_of_thinking(self, r1: Run, start: Start, tmp_path: Path, form: str, stream: str) -> None:
        prompt = tmp_path / "prompt"
        prompt.write_text("How many r's are in strawberry?", encoding="utf-8")
        command = ["run", "--temp", "0", "--thinking", form]
        alone = getattr(r1(*command, stdin=prompt.read_bytes()), stream).splitlines(keepends=True)
        assert len(alone) > 1
        assert sorted(self.lines_of(start, command, prompt, stream)) == sorted(alone * 3)


class TestInterrupt:
    """Ctrl-C ends a reply, keeps its text, and exits with 130."""

    def test_while_it_replies(self, start: Start, endless_path: Path) -> None:
        arguments = ("-m", endless_path, "--no-stdin", "--temp", "0", "--thinking", "show", "hi")
        process = start("run", *arguments, bufsize=0)
        first = process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=WAIT_S)
        assert process.returncode == 130
        assert (first + rest).endswith(b"\n")
        assert out == b"" or out.endswith(b"\n")

    def test_while_it_replies_to_many(self, start: Start, endless_path: Path) -> None:
        process = start("run", "-m", endless_path, "--jsonl", "--thinking", "show", "--parallel", "1")
        process.stdin.write(b'"hi"\n' * 3)
        process.stdin.flush()
        process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=WAIT_S)
        assert process.returncode == 130
        assert [json.loads(line)["finish_reason"] for line in out.splitlines()] == ["interrupted"]

    @pytest.mark.parametrize("arguments", [["run"], ["run", "--jsonl"]], ids=" ".join)
    def test_while_it_waits_for_stdin(self, start: Start, arguments: list[str]) -> None:
        process = start(*arguments)
        process.stdin.write(b" " * 200_000)  # more than a pipe holds, so that it has begun to read when this returns
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=WAIT_S)
        assert (process.returncode, out, errors) == (130, b"", b"")

    def test_there_is_never_a_traceback_from_the_program(self, start: Start) -> None:
        """Python itself may print one, of its start or an import: with frames of its own modules and none of ours."""
        for milliseconds in range(40, 240, 10):
            process = start("run", "--no-stdin", "hi")
            time.sleep(milliseconds / 1000)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=WAIT_S)
            assert not re.search(rb'File ".*/cli/r1/(?!__main__\.py)', errors), errors.decode()
            if not any(own in errors for own in (b"site.py", b"runpy", b"frozen importlib")):
                assert b"Traceback" not in errors
                assert process.returncode in {0, 130, -signal.SIGINT}

    @pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGHUP])
    def test_an_ignored_signal_stays_ignored(self, start: Start, ignored: signal.Signals) -> None:
        """A shell ignores SIGINT for a job in the background, and `nohup` SIGHUP."""
        process = start("run", "--jsonl", preexec_fn=lambda: signal.signal(ignored, signal.SIG_IGN))
        for _ in range(2):
            process.stdin.write(b'"hi"\n')
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["finish_reason"] == "stop"
            process.send_signal(ignored)
        process.stdin.close()
        assert process.wait(timeout=WAIT_S) == 0
        process.stdout.close()


class TestTerminal:
    """On a terminal the thinking is dim and the answer plain; nothing else has style."""

    def test_dim_thinking_then_a_blank_line_then_the_answer(self, environ: dict[str, str]) -> None:
        with Terminal([*R1, "run", "--temp", "0", SUM], environ) as terminal:
            screen = terminal.read_to_end()
            assert terminal.status == 0
        trace, _, answer = screen.rpartition("\r\n\r\n")
        assert re.sub("\x1b\\[2m.*?\x1b\\[22m", "", trace, flags=re.DOTALL) == ""
        assert "17" in without_style(trace)
        assert re.fullmatch(r"[^\x1b]*\\boxed\{42\}[^\x1b]*\r\n", answer)

    def test_without_a_prompt_it_does_not_wait_for_a_terminal(self, environ: dict[str, str]) -> None:
        with Terminal([*R1, "run"], environ) as terminal:
            screen = terminal.read_to_end()
            assert terminal.status == 2
        assert screen.startswith("r1: no prompt; try: ")

    def test_a_dumb_terminal_gets_no_escape_codes(self, environ: dict[str, str]) -> None:
        with Terminal([*R1, "run", "--temp", "0", SUM], {**environ, "TERM": "dumb"}) as terminal:
            assert "\x1b" not in terminal.read_to_end()

    def test_ctrl_c_at_the_keyboard(self, environ: dict[str, str], endless_path: Path) -> None:
        with Terminal([*R1, "run", "-m", str(endless_path), "--temp", "0", "hi"], environ) as terminal:
            terminal.read_some()
            terminal.type("\x03")
            terminal.read_to_end()
            assert terminal.status == 130

    def test_ctrl_c_while_tokens_are_counted_leaves_a_clean_line(
        self, environ: dict[str, str], endless_path: Path
    ) -> None:
        with Terminal([*R1, "run", "-m", str(endless_path), "--temp", "0", "--json", "hi"], environ) as terminal:
            screen = ""
            while not re.search(r"(thinking|answering) · \d+ s · \d+ tokens", screen):
                screen += terminal.read_some()
            terminal.type("\x03")
            screen += terminal.read_to_end()
            assert terminal.status == 130
        counter, removed, report = screen.rpartition("\r\x1b[K")
        assert removed
        assert "\n" not in counter
        assert json.loads(report)["finish_reason"] == "interrupted"

    def test_the_answer_is_clean_when_only_stdout_is_redirected(self, environ: dict[str, str], tmp_path: Path) -> None:
        file = tmp_path / "answer.txt"
        command = f"{subprocess.list2cmdline(R1)} run --temp 0 '{SUM}' > {file}"
        with Terminal(["/bin/sh", "-c", command], environ) as terminal:
            screen = terminal.read_to_end()
        assert "17" in without_style(screen)  # the thinking, on the terminal
        assert re.fullmatch(rb"[^\x1b]*\\boxed\{42\}[^\x1b\n]*\n", file.read_bytes())

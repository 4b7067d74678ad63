"""`r1 run` as a process: the real program, the built-in model, real pipes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import R1, Run, Start

STRAWBERRY = b"How many r's are in strawberry?\n"
SUM = "What is 17 + 25?"
WAIT_S = 300  # for a process; a busy machine takes much longer than an idle one

CAN_UNSHARE = (
    shutil.which("unshare") is not None
    and subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0
)


class TestStdout:
    """The answer, and only the answer."""

    def test_a_piped_question_is_answered_on_stdout_alone(self, r1: Run) -> None:
        done = r1("run", "--temp", "0", stdin=STRAWBERRY)
        assert done.returncode == 0
        assert done.stderr == b""
        assert re.fullmatch(rb"[^\n]*\\boxed\{3\}[^\n]*\n", done.stdout)

    def test_reasoning_goes_to_stderr_not_stdout(self, r1: Run) -> None:
        shown = r1("run", "--temp", "0", "--thinking", "show", stdin=STRAWBERRY)
        hidden = r1("run", "--temp", "0", "--thinking", "hide", stdin=STRAWBERRY)
        assert shown.stdout == hidden.stdout
        assert hidden.stderr == b""
        assert b"strawberry" in shown.stderr
        assert b"think>" not in shown.stdout + shown.stderr

    def test_output_is_utf8_in_any_locale(self, r1: Run) -> None:
        odd = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        done = r1("run", "--jsonl", stdin='{"id": "日本 é 😀", "prompt": "hi"}'.encode(), **odd)
        assert done.returncode == 0
        assert '"id": "日本 é 😀"'.encode() in done.stdout

    def test_the_same_seed_gives_the_same_bytes(self, r1: Run) -> None:
        wild = ("run", "--seed", "11", "--temp", "3", "--top-p", "1", "--max-tokens", "80", "--thinking", "only", SUM)
        first, again = r1(*wild), r1(*wild)
        assert first.stdout == again.stdout
        assert r1(*wild[:2], "12", *wild[3:]).stdout != first.stdout


class TestStdin:
    """Read to its end, however slow, unless it must not be read."""

    def test_a_slow_producer_is_waited_for(self, start: Start) -> None:
        process = start("run", "--temp", "0")
        for part in (b"What is ", b"17 + ", b"25?"):
            process.stdin.write(part)
            process.stdin.flush()
            time.sleep(0.6)
        out, _ = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
        assert rb"\boxed{42}" in out

    def test_no_stdin_ignores_an_inherited_stdin_that_is_never_closed(self, start: Start) -> None:
        process = start("run", "--no-stdin", "--temp", "0", SUM)
        assert process.wait(timeout=WAIT_S) == 0
        assert rb"\boxed{42}" in process.stdout.read()
        process.stdout.close()
        process.stdin.close()

    def test_a_closed_stdin_is_a_usage_error(self, environ: dict[str, str]) -> None:
        command = subprocess.list2cmdline([*R1, "run"])
        done = subprocess.run(
            f"{command} <&-", shell=True, env=environ, capture_output=True, timeout=WAIT_S, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith(b"r1: no prompt; try: ")


class TestExitCodes:
    """Every failure has its exit code and one line."""

    @pytest.mark.parametrize("content", [b"", b"GG", b"plain text", b"GGUF", b"GGUF\x03\x00\x00\x00" + b"\xff" * 64])
    def test_a_damaged_gguf(self, r1: Run, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "bad.gguf"
        file.write_bytes(content)
        done = r1("run", "-m", file, "hi")
        assert done.returncode == 7
        assert done.stderr.decode().startswith(f"r1: {file}: ")
        assert done.stderr.count(b"\n") == 1

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to ulimit -v")
    def test_an_error_for_a_context_too_large_for_memory_names_one_that_fits(
        self, environ: dict[str, str], endless_path: Path
    ) -> None:
        command = subprocess.list2cmdline([*R1, "run", "-m", str(endless_path), "--ctx", "1000000", "--kv-type", "f32"])
        done = subprocess.run(
            f"ulimit -v 3000000; {command} --no-stdin hi",  # the cache alone would take 4,096,000 kB
            shell=True,
            env=environ,
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )
        assert (done.returncode, done.stdout) == (5, b"")
        needs = r"with 1,000,000 tokens of context \(f32\) needs 5\.[\d]+ GB of memory, and [\d.]+ GB are free"
        assert re.fullmatch(rf"r1: .* {needs}[^\n]*; --ctx [\d]+ --kv-type f32 would fit[^\n]*\n", done.stderr.decode())


class TestJson:
    """One object, or one per line."""

    KEYS = (
        *("answer", "thinking", "finish_reason", "thinking_end", "valid"),
        *("model", "seed", "context", "usage", "timings", "speculation"),
    )

    def test_one_object_has_everything(self, r1: Run) -> None:
        done = r1("run", "--json", "--seed", "4", "--temp", "0", SUM)
        assert (done.returncode, done.stderr) == (0, b"")
        report = json.loads(done.stdout)
        assert tuple(report) == self.KEYS
        assert tuple(report["usage"]) == (
            *("prompt_tokens", "thinking_tokens", "answer_tokens", "discarded_tokens", "cached_tokens"),
        )
        assert tuple(report["timings"]) == ("load_s", "ttft_s", "prefill_tps", "decode_tps", "total_s")
        assert (report["finish_reason"], report["model"], report["seed"]) == ("stop", "tiny:Q8_0", 4)
        assert (report["thinking_end"], report["valid"]) == ("natural", None)
        assert report["thinking"]
        assert r"\boxed{42}" in report["answer"]
        assert all(value > 0 for value in report["timings"].values())

    def test_each_result_is_flushed_at_once(self, start: Start) -> None:
        process = start("run", "--jsonl")
        for _ in range(2):
            process.stdin.write(b'"hi"\n')
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["finish_reason"] == "stop"
        process.stdin.close()
        assert process.wait(timeout=WAIT_S) == 0
        process.stdout.close()


class TestModels:
    """The model that answers."""

    def test_two_first_uses_at_once(self, environ: dict[str, str], tmp_path: Path) -> None:
        fresh = {**environ, "R1_HOME": str(tmp_path / "new")}
        both = [
            subprocess.Popen([*R1, "run", "--no-stdin", "--temp", "0", SUM], stdout=subprocess.PIPE, env=fresh)
            for _ in range(2)
        ]
        for process in both:
            out, _ = process.communicate(timeout=WAIT_S)
            assert process.returncode == 0
            assert rb"\boxed{42}" in out


class TestOffline:
    """Only a pull uses the network."""

    @pytest.mark.skipif(not CAN_UNSHARE, reason="this machine allows no network namespaces")
    def test_everything_works_without_a_network_namespace(self, environ: dict[str, str], tmp_path: Path) -> None:
        fresh = {**environ, "R1_HOME": str(tmp_path / "new")}
        for arguments in (["run", "--no-stdin", "--temp", "0", SUM], ["list"], ["show", "tiny"], ["verify", "tiny"]):
            done = subprocess.run(
                ["unshare", "-rn", *R1, *arguments], env=fresh, capture_output=True, timeout=WAIT_S, check=False
            )
            assert (done.returncode, done.stderr) == (0, b"")
            assert done.stdout

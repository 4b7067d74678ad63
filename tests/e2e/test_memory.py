"""A model that does not fit is refused before it is loaded, with exit code 5, instead of being killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import R1
from tests.fakes.headers import write_header

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has these limits")
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
SUM = "What is 17 + 25?"


def run(environ: dict[str, str], *arguments: str | Path, limit: str = "") -> subprocess.CompletedProcess[str]:
    """`r1 run` in a shell that sets a limit first."""
    command = ["sh", "-c", f'{limit or ":"}; exec "$@"', "sh", *R1, "run", "--no-stdin", *map(str, arguments)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GGUFs with the checkpoints' real shapes, and holes instead of weights."""
    folder = tmp_path_factory.mktemp("headers")
    for name in ("qwen-1.5b", "llama-70b"):
        write_header(folder / f"{name}.gguf", name, "Q8_0")
    return folder


class TestRefusal:
    """Exit code 5, and one line: how much is needed, how much is free, what would fit."""

    def test_of_a_model_larger_than_the_machine(self, environ: dict[str, str], headers: Path) -> None:
        done = run(environ, "-m", headers / "llama-70b.gguf", SUM)  # 75 GB
        assert (done.returncode, done.stdout) == (5, "")
        (line,) = done.stderr.splitlines()
        assert "llama-70b.gguf with 1,024 tokens of context (q8_0) needs 75." in line
        assert " would fit (r1 pull " in line or "no model would fit" in line

    @LINUX
    def test_of_a_model_larger_than_the_allowed_address_space(self, environ: dict[str, str], headers: Path) -> None:
        done = run(environ, "-m", headers / "qwen-1.5b.gguf", SUM, limit="ulimit -v 1200000")
        assert (done.returncode, done.stdout) == (5, "")
        assert "needs 2.1" in done.stderr  # 1.777 billion weights of 8.5 bits, and about 210 MB more
        assert "try anyway with --force" in done.stderr

    def test_of_a_context_that_does_not_fit(self, environ: dict[str, str], headers: Path) -> None:
        done = run(environ, "-m", headers / "llama-70b.gguf", "--ctx", "131072", "--json", SUM)
        failure = json.loads(done.stdout)
        assert (done.returncode, failure["exit_code"]) == (5, 5)
        assert done.stderr == f"r1: {failure['error']}\n"
        assert " with 131,072 tokens of context (q8_0) needs " in failure["error"]

    @LINUX
    def test_a_model_within_the_limit_answers(self, environ: dict[str, str], tiny_path: Path) -> None:
        done = run(environ, "-m", tiny_path, "--temp", "0", SUM, limit="ulimit -v 900000")
        assert (done.returncode, done.stdout) == (0, "\\(17 + 25 = \\boxed{42}\\)\n")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group limited to 200 MB; skips where this process cannot create one."""
    for mount, limit in zip(MEMORY_GROUPS, ("memory.limit_in_bytes", "memory.max"), strict=True):
        made = mount / f"r1-test-{os.getpid()}"
        with suppress(OSError):
            made.mkdir()
            try:
                (made / limit).write_text("200000000")
                yield made
            finally:
                made.rmdir()
            return
    pytest.skip("cannot create a control group here")


@LINUX
class TestControlGroup:
    """As in a container."""

    def test_a_model_that_fits_answers_and_another_is_refused_instead_of_killed(
        self, group: Path, environ: dict[str, str], headers: Path, tiny_path: Path
    ) -> None:
        enter = f"echo $$ > {group}/cgroup.procs"
        done = run(environ, "-m", tiny_path, "--temp", "0", SUM, limit=enter)
        assert (done.returncode, done.stdout) == (0, "\\(17 + 25 = \\boxed{42}\\)\n")
        refused = run(environ, "-m", headers / "qwen-1.5b.gguf", SUM, limit=enter)
        assert refused.returncode == 5
        assert "of memory, and 1" in refused.stderr  # the program itself takes some of the 200 MB

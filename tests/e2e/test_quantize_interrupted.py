"""`r1 quantize` killed at random moments and started again gives the same bytes and does no work twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import R1, Run, Start
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape

SHAPE = Shape(layers=6, hidden=512, inner=1024, heads=8, kv_heads=2)
KILLS = 10

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in three shards that takes about a second to convert."""
    return checkpoints.write(tmp_path_factory.mktemp("kills") / "source", SHAPE, shards=3)


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """The digest of the result without interruptions, and the seconds it takes."""
    target = tmp_path_factory.mktemp("undisturbed") / "a.gguf"
    began = time.monotonic()
    subprocess.run([*R1, "quantize", source, "-o", target, "-q"], check=True)
    return sha256(target.read_bytes()).hexdigest(), time.monotonic() - began


@pytest.mark.parametrize("kill", range(KILLS))
def test_killed_at_a_random_moment(
    r1: Run, start: Start, source: Path, undisturbed: tuple[str, float], tmp_path: Path, kill: int
) -> None:
    digest, seconds = undisturbed
    target = tmp_path / "a.gguf"
    process = start("quantize", source, "-o", target, "-q")
    moment = random.Random(os.urandom(8)).uniform(0.2, 1.0) * seconds
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists() or sha256(target.read_bytes()).hexdigest() == digest
    done = r1("quantize", source, "-o", target, "--force")  # the kill may have come after the end
    assert done.returncode == 0, done.stderr
    assert b"starting over" not in done.stderr
    assert sha256(target.read_bytes()).hexdigest() == digest, f"killed after {moment} s"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("a.")) == ["a.gguf"]


def test_finishes_although_it_is_killed_again_and_again(
    start: Start, source: Path, undisturbed: tuple[str, float], tmp_path: Path
) -> None:
    digest, seconds = undisturbed
    target = tmp_path / "a.gguf"
    for _ in range(60):
        process = start("quantize", source, "-o", target, "-q")
        try:
            process.wait(timeout=seconds * 0.8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if target.exists():
            break
    assert sha256(target.read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_stopping_it_says_how_to_resume(
    r1: Run,
    start: Start,
    source: Path,
    undisturbed: tuple[str, float],
    tmp_path: Path,
    sent: signal.Signals,
    status: int,
) -> None:
    target = tmp_path / "a.gguf"
    journal = target.with_name("a.gguf.partial.journal")
    process = start("quantize", source, "-o", target)
    while not (journal.exists() and journal.read_bytes().count(b'"tensor"') > 5):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(sent)
    _, said = process.communicate(timeout=300)
    assert process.returncode == status
    assert said.decode().splitlines()[-1].endswith("tensors done); run it again to resume")
    assert not target.exists()
    resumed = r1("quantize", source, "-o", target)
    assert b"resuming after tensor" in resumed.stderr
    assert sha256(target.read_bytes()).hexdigest() == undisturbed[0]


def test_two_processes_do_not_mix_their_bytes(
    start: Start, source: Path, undisturbed: tuple[str, float], tmp_path: Path
) -> None:
    target = tmp_path / "a.gguf"
    both = [start("quantize", source, "-o", target, "-q", "--force") for _ in range(2)]
    ends = [process.communicate(timeout=300)[1] for process in both]
    assert sorted(process.returncode for process in both) in ([0, 0], [0, 1])
    assert all(not said or b"another process is making" in said for said in ends)
    assert sha256(target.read_bytes()).hexdigest() == undisturbed[0]

"""`r1 pull` that is killed or stopped, or runs twice at once: the next run resumes, and nothing is mixed up."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.pull.person import (
    NAMES,
    PREFIX,
    REPO,
    SLOW,
    THIRD,
    TIMEOUT_S,
    Person,
    Undisturbed,
    variant,
    wait_until,
)
from tests.fakes import checkpoints
from tests.fakes.hub import COMMIT, Fault, Hub


class Gate:
    """Holds the hub's answer to the second request for a file, until it is opened."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.reached, self._opened = threading.Event(), threading.Event()
        self._hub, self._name, self._requests = hub, name, 0
        hub.before = self._hold

    def _hold(self, request: str) -> None:
        if self._name in request:
            self._requests += 1
            if self._requests == 2:
                self.reached.set()
                while not (self._opened.wait(0.05) or self._hub.closing.is_set()):
                    pass

    def open(self) -> None:
        self._opened.set()


class TestKills:
    """Killed at any moment, the next run resumes: the same bytes, and almost none of them downloaded twice."""

    @pytest.mark.parametrize("number", range(1, 21))
    def test_at_a_random_moment(self, hub: Hub, person: Person, undisturbed: Undisturbed, number: int) -> None:
        hub.faults = [replace(SLOW)]
        chance = random.Random(os.urandom(8))
        bytes_first, moment = int(chance.uniform(0, 1) * undisturbed.sent), chance.uniform(0, 0.3)
        process = person.start()
        wait_until(lambda: person.sent > bytes_first, process)  # so that it is random on a busy machine, too
        time.sleep(moment)
        process.kill()
        person.end(process)
        was_complete = person.gguf.exists()
        assert not was_complete or person.digest == undisturbed.digest
        hub.faults = []
        done = person.pull()
        killed = f"killed after {bytes_first:,} bytes and {moment} s"
        assert done.returncode == 0, f"{killed}: {done.stderr.decode()}"
        assert b"starting over" not in done.stderr
        assert person.digest == undisturbed.digest, killed
        assert person.sent - undisturbed.sent <= undisturbed.shard, killed
        assert person.manifest.sha256 == undisturbed.digest
        assert was_complete or not [*person.home.glob("checkpoints/*/*/*"), *person.home.rglob("*.partial*")]

    def test_again_and_again(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        hub.faults = [replace(SLOW)]
        while not person.gguf.exists():
            assert len(person.exits) < 30
            until, process = person.sent + 900_000, person.start()
            while person.sent < until and process.poll() is None:
                time.sleep(0.002)
            process.kill()
            person.end(process)
        assert person.digest == undisturbed.digest
        assert person.sent - undisturbed.sent <= undisturbed.shard * len(person.exits)

    def test_as_the_model_gets_its_name(self, person: Person, undisturbed: Undisturbed) -> None:
        process = person.start()
        gguf = str(person.gguf)
        while process.poll() is None and not os.path.exists(gguf):  # noqa: PTH110 — faster than Path.exists
            pass
        process.kill()
        person.end(process)
        assert person.manifest.sha256 == person.digest == undisturbed.digest

    def test_while_a_long_header_is_downloaded(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, served: Path, tmp_path: Path
    ) -> None:
        root = variant(served, tmp_path / "other", [])
        data = (root / REPO / THIRD).read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        header = data[8:end] + b" " * (2 * PREFIX)
        (root / REPO / THIRD).unlink()
        checkpoints.write_raw_safetensors(root / REPO / THIRD, header, data[end:])
        hub.snapshots = {COMMIT: root}
        started: Future[subprocess.Popen[bytes]] = Future()
        requests: list[str] = []

        def kill(request: str) -> None:
            requests.append(request)
            if sum(THIRD in request for request in requests) == 2:
                started.result(TIMEOUT_S).kill()

        hub.before = kill
        started.set_result(person.start())
        person.end(started.result())
        assert person.exits == [-signal.SIGKILL]
        assert person.pull().returncode == 0
        assert person.digest == undisturbed.digest


class TestSignals:
    """Ctrl-C and SIGTERM end a pull with a line that says how to resume."""

    @pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_message_says_how_to_resume(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, sent: signal.Signals, status: int
    ) -> None:
        person.variables = {"HF_HUB_DOWNLOAD_TIMEOUT": f"{TIMEOUT_S:.0f}"}
        # The prefix is shorter than `after`, so the first of the two requests is not disturbed.
        hub.faults = [Fault(f"*/{NAMES[3]}", "stall", 2, after=500_000, seconds=TIMEOUT_S)]
        process = person.start()
        wait_until(lambda: hub.sent[NAMES[3]] >= PREFIX + 500_000, process)
        process.send_signal(sent)
        done = person.end(process)
        hub.faults = []
        assert done.returncode == status
        line = done.stderr.decode().splitlines()[-1]
        assert line.startswith("r1: stopped (")
        assert line.endswith("run it again to resume")
        assert person.pull().returncode == 0
        assert person.digest == undisturbed.digest
        assert person.sent - undisturbed.sent <= undisturbed.shard


class TestTwoAtOnce:
    """Of two pulls at once, one waits for the other, and says so."""

    @pytest.mark.parametrize("quants", [("Q4_K_M", "Q4_K_M"), ("Q4_K_M", "Q8_0")], ids=["of one model", "of two types"])
    def test_both_succeed(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, tmp_path: Path, quants: tuple[str, str]
    ) -> None:
        other = Person(hub, tmp_path / "other")
        other.folder.mkdir()
        other.pull(f"qwen-1.5b:{quants[1]}")
        hub.sent.clear()
        person.variables = {"HF_HUB_DOWNLOAD_TIMEOUT": f"{TIMEOUT_S:.0f}"}  # the gate may be closed for long
        gate = Gate(hub, NAMES[4])
        first = person.start(f"qwen-1.5b:{quants[0]}")
        wait_until(gate.reached.is_set, first)
        second = person.start(f"qwen-1.5b:{quants[1]}")
        assert second.stderr is not None
        lines = iter(second.stderr.readline, b"")
        assert any(f"(process {first.pid}); waiting for it".encode() in line for line in lines)
        gate.open()
        with ThreadPoolExecutor(2) as both:
            list(both.map(person.end, (first, second)))
        assert person.exits == [0, 0]
        assert person.digest == undisturbed.digest
        models = [who.gguf.with_name(f"{quants[1]}.gguf").read_bytes() for who in (person, other)]
        assert models[0] == models[1]
        assert person.sent == len({*quants}) * undisturbed.sent

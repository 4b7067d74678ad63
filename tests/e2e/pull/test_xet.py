"""`r1 pull` through Xet, the hub's faster storage, with plain HTTP where Xet fails."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Literal

import pytest

from tests.e2e.pull.person import NAMES, PREFIX, THIRD, TIMEOUT_S, Person, Undisturbed
from tests.fakes.hub import Hub


@pytest.fixture
def hub(served: Path) -> Iterator[Hub]:
    with Hub(served, xet=True) as started:
        yield started


def plain_bytes(hub: Hub) -> int:
    """Bytes of the shards that came by plain HTTP."""
    return sum(hub.sent[name] for name in NAMES)


def test_the_shards_come_through_xet(hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
    assert person.pull().returncode == 0
    assert person.digest == undisturbed.digest
    assert plain_bytes(hub) == len(NAMES) * PREFIX


def test_a_killed_pull_resumes(hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
    started: Future[subprocess.Popen[bytes]] = Future()

    def kill(request: str) -> None:
        if request.startswith("HEAD") and THIRD in request:
            started.result(TIMEOUT_S).kill()

    hub.before = kill
    started.set_result(person.start())
    person.end(started.result())
    hub.before = None
    assert person.pull().returncode == 0
    assert (person.exits, person.digest) == ([-signal.SIGKILL, 0], undisturbed.digest)
    assert plain_bytes(hub) == len(NAMES) * PREFIX
    heads = {
        name: sum(hub.requests[key] for key in hub.requests if key.startswith("HEAD") and name in key) for name in NAMES
    }
    assert list(heads.values()) == [1, 1, 2, 1, 1]


def test_a_store_that_cannot_be_opened(hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
    hub.xet_broken = True
    done = person.pull()
    assert (done.returncode, b"using plain HTTP" in done.stderr) == (0, True), done.stderr
    assert (person.digest, person.sent) == (undisturbed.digest, undisturbed.sent)


@pytest.mark.parametrize("damage", ["empty", "lost", "flipped"])
def test_a_damaged_store(
    hub: Hub, person: Person, undisturbed: Undisturbed, damage: Literal["empty", "lost", "flipped"]
) -> None:
    hub.xet_damage = damage
    done = person.pull()
    assert done.returncode == 0, done.stderr.decode()
    assert person.digest == undisturbed.digest
    assert person.sent - undisturbed.sent <= undisturbed.shard

"""`r1 pull` while the repository changes: a pull stays at the commit it started with, as long as that exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.pull.person import (
    AT_THIRD,
    LATER,
    MODEL,
    NAMES,
    PREFIX,
    SMALL,
    THIRD,
    Person,
    Undisturbed,
    transient,
    wait_until,
)
from tests.fakes.hub import COMMIT, Fault, Hub


class TestCommits:
    """The model is made from one commit."""

    def test_the_branch_moves_during_a_pull(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, later: Path
    ) -> None:
        hub.snapshots[LATER] = later
        hub.before = lambda request: setattr(hub, "main", LATER) if NAMES[0] in request else None
        assert person.pull().returncode == 0
        assert (hub.main, person.manifest.revision) == (LATER, COMMIT)
        assert (person.digest, person.sent) == (undisturbed.digest, undisturbed.sent)

    def test_the_branch_moves_between_two_runs(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, later: Path
    ) -> None:
        hub.snapshots[LATER] = later
        hub.before = lambda _: hub.faults.append(transient("*", times=-1)) if hub.sent[THIRD] > PREFIX else None
        assert person.pull().returncode == 6
        hub.main, hub.faults, hub.before = LATER, [], None
        assert person.pull().returncode == 0
        assert person.manifest.revision == COMMIT
        assert (person.digest, person.sent) == (undisturbed.digest, undisturbed.sent)

    @pytest.mark.parametrize("changed", ["nothing", "a shard"])
    def test_the_commit_disappears_during_a_pull(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, later: Path, digest_later: str, changed: str
    ) -> None:
        hub.snapshots[LATER] = later if changed == "a shard" else hub.root
        requests: list[str] = []

        def forget(request: str) -> None:
            requests.append(request)
            if sum(THIRD in request for request in requests) == 2:  # two shards are complete
                hub.snapshots.pop(COMMIT, None)
                hub.main = LATER

        hub.before = forget
        done = person.pull()
        assert (done.returncode, b"pulling the newest one instead" in done.stderr) == (0, True), done.stderr
        assert person.manifest.revision == LATER
        if changed == "a shard":  # so nothing made from the old shards is used
            assert person.digest == digest_later
        else:
            assert person.digest == undisturbed.digest
            small = sum(hub.sent[name] for name in SMALL)  # downloaded for both commits
            assert sum(hub.sent[name] for name in NAMES) == undisturbed.sent - small // 2

    @pytest.mark.parametrize("changed", ["nothing", "a shard"])
    def test_the_commit_disappears_between_two_runs(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, later: Path, digest_later: str, changed: str
    ) -> None:
        hub.faults = [Fault(f"*/{NAMES[4]}", "drip", -1, piece=10_000, seconds=0.05)]
        process = person.start()
        wait_until(lambda: hub.sent[NAMES[4]] > PREFIX + 100_000, process)
        process.kill()
        person.end(process)
        root = later if changed == "a shard" else hub.root
        hub.snapshots, hub.main, hub.faults = {LATER: root}, LATER, []
        assert person.pull().returncode == 0
        assert person.manifest.revision == LATER
        if changed == "a shard":
            assert person.digest == digest_later
        else:
            assert person.digest == undisturbed.digest
            assert person.sent - undisturbed.sent <= undisturbed.shard


class TestUpdate:
    """`--update` replaces a model when the hub has a newer commit."""

    def test_nothing_new_downloads_nothing(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        person.pull()
        requests = hub.requests.total()
        done = person.pull("--update", MODEL)
        assert (done.returncode, done.stdout.split(b"\t")[0].decode()) == (0, MODEL)
        assert (hub.requests.total(), person.sent) == (requests + 1, undisturbed.sent)

    def test_a_newer_commit_replaces_the_model(self, hub: Hub, person: Person, later: Path, digest_later: str) -> None:
        person.pull()
        hub.snapshots[LATER], hub.main = later, LATER
        person.pull()
        assert person.manifest.revision == COMMIT
        person.pull("--update", MODEL)
        assert (person.exits, person.digest, person.manifest.revision) == ([0, 0, 0], digest_later, LATER)

    def test_a_failed_update_keeps_the_model(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, later: Path, digest_later: str
    ) -> None:
        person.pull()
        hub.snapshots[LATER], hub.main = later, LATER
        hub.faults = [transient(AT_THIRD, times=8)]
        assert person.pull("--update", MODEL).returncode == 6
        assert (person.digest, person.manifest.revision) == (undisturbed.digest, COMMIT)
        assert person.pull("--update", MODEL).returncode == 0
        assert (person.digest, person.manifest.revision) == (digest_later, LATER)

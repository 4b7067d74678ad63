"""`r1_quantize.hub.staging`: where what a pull fetches lies, and what stays of it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from r1_quantize.hub import staging
from r1_quantize.hub.repository import RemoteFile, Repository
from r1_quantize.hub.shards import Shard
from r1_quantize.store.store import Store

REPO, FIRST, SECOND = "owner/repo", "1" * 40, "2" * 40
DATA = b"what is in it"
SAME = RemoteFile("a.safetensors", len(DATA), sha256(DATA).hexdigest(), None)


def repository(commit: str, *files: RemoteFile) -> Repository:
    return Repository(REPO, commit, {file.name: file for file in files})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, {})


class TestPrepare:
    """The folder says what the hub said, and has what other commits left and is the same in this one."""

    def test_what_the_hub_said_is_on_record(self, store: Store) -> None:
        known = repository(FIRST, SAME)
        folder = staging.prepare(store, known)
        assert folder == store.checkpoint_folder(REPO, FIRST)
        assert list(staging.recorded(store, REPO)) == [known]

    def test_what_is_the_same_in_another_commit_moves_there_and_the_rest_goes(self, store: Store) -> None:
        other = RemoteFile("b.safetensors", 3, "0" * 64, None)
        older = staging.prepare(store, repository(FIRST, SAME, other))
        for name in ("a.safetensors", "a.safetensors.header", "b.safetensors", "config.json"):
            (older / name).write_bytes(DATA)
        folder = staging.prepare(store, repository(SECOND, SAME, RemoteFile("b.safetensors", 3, "f" * 64, None)))
        found = {path.name for path in folder.iterdir()}
        assert found == {"a.safetensors", "a.safetensors.header", "repository.json"}
        assert not older.exists()

    def test_a_kept_checkpoint_of_another_commit_stays_as_it_is(self, store: Store) -> None:
        older = staging.prepare(store, repository(FIRST, SAME))
        for name in ("a.safetensors", ".kept"):
            (older / name).write_bytes(DATA)
        folder = staging.prepare(store, repository(SECOND, SAME))
        assert (older / "a.safetensors").exists()
        assert not (folder / "a.safetensors").exists()

    @pytest.mark.parametrize("record", ["", "{}", "[", '{"name": "owner/repo"}', "\x00" * 99])
    def test_a_record_that_makes_no_sense_counts_as_none(self, store: Store, record: str) -> None:
        folder = staging.prepare(store, repository(FIRST, SAME))
        (folder / "repository.json").write_text(record, encoding="utf-8")
        assert list(staging.recorded(store, REPO)) == []

    def test_a_record_in_the_wrong_place_counts_as_none(self, store: Store) -> None:
        staging.prepare(store, repository(FIRST, SAME)).rename(store.checkpoint_folder(REPO, SECOND))
        assert list(staging.recorded(store, REPO)) == []


class TestUnpin:
    """The next pull asks the hub again; what has come stays."""

    def test_no_commit_is_on_record_any_more(self, store: Store) -> None:
        folder = staging.prepare(store, repository(FIRST, SAME))
        (folder / "a.safetensors").write_bytes(DATA)
        staging.unpin(folder)
        assert list(staging.recorded(store, REPO)) == []
        assert staging.prepare(store, repository(FIRST, SAME)) == folder
        assert (folder / "a.safetensors").read_bytes() == DATA

    def test_but_not_of_a_kept_checkpoint(self, store: Store) -> None:
        folder = staging.prepare(store, repository(FIRST, SAME))
        (folder / ".kept").touch()
        staging.unpin(folder)
        assert list(staging.recorded(store, REPO)) == [repository(FIRST, SAME)]


class TestTidy:
    """Afterwards nothing stays, or what is kept, or what another pull left."""

    @pytest.fixture
    def folder(self, store: Store) -> Path:
        folder = staging.prepare(store, repository(FIRST, SAME))
        for name in ("a.safetensors", "a.safetensors.header", "a.safetensors.partial", "config.json"):
            (folder / name).write_bytes(DATA)
        return folder

    def shard(self, folder: Path, name: str = "a.safetensors") -> Shard:
        return Shard(RemoteFile(name, len(DATA), "0" * 64, None), folder / f"{name}.header")

    def test_nothing(self, folder: Path) -> None:
        staging.tidy(folder, [self.shard(folder)], keep=False)
        assert not folder.exists()

    def test_what_is_kept(self, folder: Path) -> None:
        staging.tidy(folder, [self.shard(folder)], keep=True)
        assert {"a.safetensors", "config.json", ".kept"} <= {path.name for path in folder.iterdir()}
        assert not (folder / "a.safetensors.header").exists()
        assert staging.is_kept(folder)

    def test_what_is_not_all_there_is_not_called_kept(self, folder: Path) -> None:
        staging.tidy(folder, [self.shard(folder), self.shard(folder, "b.safetensors")], keep=True)
        assert not staging.is_kept(folder)

    def test_what_another_pull_of_the_repository_left(self, folder: Path) -> None:
        for name in ("other.gguf.partial", "other.gguf.header"):
            (folder / name).write_bytes(DATA)
        staging.tidy(folder, [self.shard(folder)], keep=False)
        found = {path.name for path in folder.iterdir()}
        assert found == {"other.gguf.partial", "other.gguf.header", "config.json", "repository.json"}


class TestKeptFiles:
    """Of a kept checkpoint's shards it is known what they hash to."""

    def test_each_with_its_digest(self, store: Store) -> None:
        small = RemoteFile("config.json", 2, None, "0" * 40)
        folder = staging.prepare(store, repository(FIRST, SAME, small))
        (folder / "a.safetensors").write_bytes(DATA)
        (folder / "config.json").write_bytes(b"{}")
        found = staging.kept_files(folder)
        assert [(name, file.path, file.sha256) for name, file in found.items()] == [
            ("a.safetensors", folder / "a.safetensors", sha256(DATA).hexdigest())
        ]

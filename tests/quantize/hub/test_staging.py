"""`r1_quantize.hub.staging`: what the staging folder contains, and what stays of it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from r1_quantize.hub import staging
from r1_quantize.hub.repository import RemoteFile, Repository
from r1_quantize.hub.shards import Shard
from r1_quantize.store.store import Store

REPO, FIRST, SECOND = "owner/repo", "1" * 40, "2" * 40
DATA = b"the content"
SAME = RemoteFile("a.safetensors", len(DATA), sha256(DATA).hexdigest(), None)


def repository(commit: str, *files: RemoteFile) -> Repository:
    return Repository(REPO, commit, {file.name: file for file in files})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, {})


class TestPrepare:
    """The folder records the listing, and takes over the unchanged files of other commits."""

    def test_the_listing_is_recorded(self, store: Store) -> None:
        known = repository(FIRST, SAME)
        folder = staging.prepare(store, known)
        assert folder == store.checkpoint_folder(REPO, FIRST)
        assert list(staging.recorded_repositories(store, REPO)) == [known]

    def test_unchanged_files_of_another_commit_move_and_the_others_are_deleted(self, store: Store) -> None:
        other = RemoteFile("b.safetensors", 3, "0" * 64, None)
        older = staging.prepare(store, repository(FIRST, SAME, other))
        for name in ("a.safetensors", "a.safetensors.header", "b.safetensors", "config.json"):
            (older / name).write_bytes(DATA)
        folder = staging.prepare(store, repository(SECOND, SAME, RemoteFile("b.safetensors", 3, "f" * 64, None)))
        found = {path.name for path in folder.iterdir()}
        assert found == {"a.safetensors", "a.safetensors.header", "repository.json"}
        assert not older.exists()

    def test_a_kept_checkpoint_of_another_commit_stays(self, store: Store) -> None:
        older = staging.prepare(store, repository(FIRST, SAME))
        for name in ("a.safetensors", ".kept"):
            (older / name).write_bytes(DATA)
        folder = staging.prepare(store, repository(SECOND, SAME))
        assert (older / "a.safetensors").exists()
        assert not (folder / "a.safetensors").exists()

    @pytest.mark.parametrize("record", ["", "{}", "[", '{"name": "owner/repo"}', "\x00" * 99])
    def test_an_invalid_record_is_ignored(self, store: Store, record: str) -> None:
        folder = staging.prepare(store, repository(FIRST, SAME))
        (folder / "repository.json").write_text(record, encoding="utf-8")
        assert list(staging.recorded_repositories(store, REPO)) == []

    def test_a_record_in_the_wrong_folder_is_ignored(self, store: Store) -> None:
        staging.prepare(store, repository(FIRST, SAME)).rename(store.checkpoint_folder(REPO, SECOND))
        assert list(staging.recorded_repositories(store, REPO)) == []


class TestUnpin:
    """The next pull lists the repository again; the downloaded files stay."""

    def test_the_commit_is_forgotten_and_the_files_stay(self, store: Store) -> None:
        folder = staging.prepare(store, repository(FIRST, SAME))
        (folder / "a.safetensors").write_bytes(DATA)
        staging.unpin(folder)
        assert list(staging.recorded_repositories(store, REPO)) == []
        assert staging.prepare(store, repository(FIRST, SAME)) == folder
        assert (folder / "a.safetensors").read_bytes() == DATA

    def test_a_kept_checkpoint_keeps_its_commit(self, store: Store) -> None:
        folder = staging.prepare(store, repository(FIRST, SAME))
        (folder / ".kept").touch()
        staging.unpin(folder)
        assert list(staging.recorded_repositories(store, REPO)) == [repository(FIRST, SAME)]


class TestCleanUp:
    """After a pull nothing stays, except a kept checkpoint or the files of another pull."""

    @pytest.fixture
    def folder(self, store: Store) -> Path:
        folder = staging.prepare(store, repository(FIRST, SAME))
        for name in ("a.safetensors", "a.safetensors.header", "a.safetensors.partial", "config.json"):
            (folder / name).write_bytes(DATA)
        return folder

    def shard(self, folder: Path, name: str = "a.safetensors") -> Shard:
        return Shard(RemoteFile(name, len(DATA), "0" * 64, None), folder / f"{name}.header")

    def test_nothing_stays(self, folder: Path) -> None:
        staging.clean_up(folder, [self.shard(folder)], keep=False)
        assert not folder.exists()

    def test_a_kept_checkpoint_stays(self, folder: Path) -> None:
        staging.clean_up(folder, [self.shard(folder)], keep=True)
        assert {"a.safetensors", "config.json", ".kept"} <= {path.name for path in folder.iterdir()}
        assert not (folder / "a.safetensors.header").exists()
        assert staging.is_kept(folder)

    def test_an_incomplete_checkpoint_is_not_marked_as_kept(self, folder: Path) -> None:
        staging.clean_up(folder, [self.shard(folder), self.shard(folder, "b.safetensors")], keep=True)
        assert not staging.is_kept(folder)

    def test_the_files_of_another_pull_of_the_repository_stay(self, folder: Path) -> None:
        for name in ("other.gguf.partial", "other.gguf.header"):
            (folder / name).write_bytes(DATA)
        staging.clean_up(folder, [self.shard(folder)], keep=False)
        found = {path.name for path in folder.iterdir()}
        assert found == {"other.gguf.partial", "other.gguf.header", "config.json", "repository.json"}


class TestKeptFiles:
    """The shards of a kept checkpoint have published digests."""

    def test_each_shard_has_its_digest(self, store: Store) -> None:
        small = RemoteFile("config.json", 2, None, "0" * 40)
        folder = staging.prepare(store, repository(FIRST, SAME, small))
        (folder / "a.safetensors").write_bytes(DATA)
        (folder / "config.json").write_bytes(b"{}")
        found = staging.kept_files(folder)
        assert [(name, file.path, file.sha256) for name, file in found.items()] == [
            ("a.safetensors", folder / "a.safetensors", sha256(DATA).hexdigest())
        ]

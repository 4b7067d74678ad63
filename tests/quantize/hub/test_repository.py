"""`r1_quantize.hub.repository`: which listings of a repository are accepted."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.errors import BadCheckpoint
from r1_quantize.hub.repository import RemoteFile, Repository, checked_repository, is_repo, is_safe_name
from tests.fakes.hub import COMMIT

REPO = "some-owner/some-model"
CONTENT = b"hello, hub\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BLOB = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()  # what `git hash-object` says
LARGE = RemoteFile("model.safetensors", len(CONTENT), SHA256, BLOB)
SMALL = RemoteFile("config.json", len(CONTENT), None, BLOB)


class TestRemoteFile:
    """It is identified by the SHA-256 of its content, or else by git's SHA-1 of the blob."""

    @pytest.mark.parametrize(("file", "digest"), [(LARGE, SHA256), (SMALL, BLOB)])
    def test_its_digest_is_the_digest_of_its_content(self, file: RemoteFile, digest: str) -> None:
        hasher = file.hasher()
        for start in range(0, len(CONTENT), 4):
            hasher.update(CONTENT[start : start + 4])
        assert hasher.hexdigest() == file.digest == digest

    @pytest.mark.parametrize("file", [LARGE, SMALL])
    def test_it_matches_a_file_with_its_content(self, tmp_path: Path, file: RemoteFile) -> None:
        (tmp_path / "here").write_bytes(CONTENT)
        assert file.matches(tmp_path / "here")

    @pytest.mark.parametrize("file", [LARGE, SMALL])
    @pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x", CONTENT.upper(), bytes(len(CONTENT))])
    def test_it_matches_no_other_content(self, tmp_path: Path, file: RemoteFile, content: bytes) -> None:
        (tmp_path / "here").write_bytes(content)
        assert not file.matches(tmp_path / "here")

    def test_it_matches_neither_a_missing_file_nor_a_folder(self, tmp_path: Path) -> None:
        folder = replace(LARGE, size=tmp_path.stat().st_size)
        assert not LARGE.matches(tmp_path / "nowhere")
        assert not folder.matches(tmp_path)

    def test_without_a_digest_it_matches_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "here").write_bytes(CONTENT)
        assert not replace(LARGE, sha256=None, git_sha1=None).matches(tmp_path / "here")


class TestChecked:
    """An impossible or dangerous listing is refused, in one line that names the repository."""

    def refused(self, message: str, *files: RemoteFile, commit: object = COMMIT) -> None:
        with pytest.raises(BadCheckpoint, match=message) as caught:
            checked_repository(REPO, commit, files)
        assert str(caught.value).startswith(f"{REPO}: ")
        assert len(str(caught.value)) < 300
        assert str(caught.value).isprintable()

    def test_a_valid_listing_is_kept_unchanged(self) -> None:
        deep = replace(LARGE, name="a/b/c d.gguf", git_sha1=None)
        found = checked_repository(REPO, COMMIT, [LARGE, SMALL, deep])
        assert (found.name, found.commit) == (REPO, COMMIT)
        assert list(found.files.values()) == [LARGE, SMALL, deep]

    @pytest.mark.parametrize(
        "commit", [None, "", "main", "../" * 13, COMMIT[:-1], COMMIT.upper(), COMMIT + "\n", 7, []]
    )
    def test_an_invalid_commit(self, commit: object) -> None:
        self.refused("which is not a SHA-1", commit=commit)

    @pytest.mark.parametrize(
        "name",
        [
            *("../model.safetensors", "a/../../b", "..", "a/..", "/etc/passwd", "a//b", "a/", ""),
            *("..\\model.safetensors", "a\\..\\b", "\\\\server\\share", "a\0b", "\0", "../" * 1000),
        ],
    )
    def test_a_name_outside_the_folder(self, name: str) -> None:
        self.refused("the hub lists an unsafe file name: .*; nothing was downloaded", replace(LARGE, name=name))

    @pytest.mark.parametrize("name", [None, 7, ["config.json"], b"config.json"])
    def test_a_name_that_is_not_text(self, name: Any) -> None:
        self.refused("the hub lists an unsafe file name", replace(LARGE, name=name))

    @pytest.mark.parametrize("size", [-1, 1 << 50, 1 << 70, True, 1.5, "11", None, float("nan")])
    def test_an_impossible_size(self, size: Any) -> None:
        self.refused("with an impossible size: ", replace(LARGE, size=size))

    @pytest.mark.parametrize("sha256", ["", "0" * 63, "0" * 65, "A" * 64, BLOB, "0" * 63 + "\n", 0, {"sha256": SHA256}])
    def test_an_invalid_sha256(self, sha256: Any) -> None:
        self.refused("with an invalid digest: ", replace(LARGE, sha256=sha256))

    @pytest.mark.parametrize("blob", ["", "0" * 39, SHA256, "G" * 40, 1 << 160])
    def test_an_invalid_git_sha1(self, blob: Any) -> None:
        self.refused("with an invalid digest: ", replace(SMALL, git_sha1=blob))

    def test_a_file_listed_twice(self) -> None:
        self.refused("lists 'config.json' twice", SMALL, LARGE, replace(SMALL, size=1))

    def test_too_many_files(self) -> None:
        self.refused(
            "lists more than 20,000 files", *(replace(SMALL, name=f"{number}.txt") for number in range(20_001))
        )


class TestRecord:
    """A repository survives being written and read; invalid records are refused."""

    def test_round_trip(self) -> None:
        repository = checked_repository(REPO, COMMIT, [LARGE, SMALL, replace(LARGE, name="ä/\udc80/模型.gguf")])
        assert Repository.from_json(repository.to_json()) == repository

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "7", '"x"', "[" * 100_000, '{"name": "a/b"}'])
    def test_an_invalid_record(self, text: str) -> None:
        with pytest.raises(BadCheckpoint, match="invalid record"):
            Repository.from_json(text)

    @pytest.mark.parametrize(
        "change",
        [
            {"files": None},
            {"files": {"config.json": {}}},
            {"files": ["config.json"]},
            {"files": [{"name": "config.json"}]},
            {"files": [{"name": "x", "size": 1, "sha256": None, "git_sha1": None, "url": "https://elsewhere"}]},
            {"files": [{"name": "../x", "size": 1, "sha256": None, "git_sha1": None}]},
            {"files": [{"name": "x", "size": -1, "sha256": None, "git_sha1": None}]},
            {"files": [{"name": ["x"], "size": 1, "sha256": None, "git_sha1": None}]},
            {"commit": "../../.."},
            {"commit": None},
        ],
    )
    def test_a_changed_record_is_validated_like_a_listing(self, change: dict[str, Any]) -> None:
        valid = json.loads(Repository(REPO, COMMIT, {SMALL.name: SMALL}).to_json())
        with pytest.raises(BadCheckpoint):
            Repository.from_json(json.dumps(valid | change))


class TestFiles:
    """Which files make up a checkpoint."""

    def test_config_files_are_those_the_repository_has(self) -> None:
        names = (
            "README.md",
            "tokenizer.json",
            "config.json",
            "modeling_evil.py",
            "model.safetensors",
            "sub/config.json",
        )
        repository = checked_repository(REPO, COMMIT, [replace(SMALL, name=name) for name in names])
        assert sorted(file.name for file in repository.config_files()) == ["config.json", "tokenizer.json"]

    def test_a_config_file_that_is_too_large_is_refused(self) -> None:
        repository = checked_repository(REPO, COMMIT, [replace(SMALL, name="tokenizer.json", size=1 << 30)])
        with pytest.raises(BadCheckpoint, match=r"lists tokenizer\.json as too large: 1,073,741,824 bytes"):
            repository.config_files()

    def test_weights_come_in_the_requested_order(self) -> None:
        repository = checked_repository(REPO, COMMIT, [replace(LARGE, name=name) for name in ("a", "b", "c")])
        assert [file.name for file in repository.weights(["c", "a"])] == ["c", "a"]

    def test_missing_weights(self) -> None:
        with pytest.raises(BadCheckpoint, match=f"{REPO} has no 'b'"):
            checked_repository(REPO, COMMIT, [LARGE]).weights(["b"])

    @pytest.mark.parametrize("change", [{"size": 0}, {"name": "a*"}, {"name": "a:b"}, {"name": "a\x1b[2J"}])
    def test_weights_that_are_empty_or_have_an_unsafe_name(self, change: dict[str, Any]) -> None:
        file = replace(LARGE, **change)
        with pytest.raises(BadCheckpoint, match="is empty or has an unsafe name") as caught:
            checked_repository(REPO, COMMIT, [file]).weights([file.name])
        assert str(caught.value).isprintable()

    def test_weights_without_a_sha256(self) -> None:
        with pytest.raises(BadCheckpoint, match=r"the hub lists no SHA-256 for config\.json"):
            checked_repository(REPO, COMMIT, [SMALL]).weights(["config.json"])


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", True),
        ("a/b", True),
        ("0/_" + "x" * 90, False),
        *((name, False) for name in ("", "/", "a", "a/", "/b", "a/b/c", "a/..", "../b", "a/b..c", "a--b/c", "a/b--c")),
        *(
            (name, False)
            for name in ("a/b\n", "a b/c", "a\\b/c", "ä/b", "a/.b", "-a/b", "a/b\0", "a:b/c", "a/" + "b" * 97)
        ),
    ],
)
def test_a_repository_name_is_owner_slash_name(name: str, answer: bool) -> None:
    assert is_repo(name) is answer


@pytest.mark.parametrize(
    "name", ["a.gguf", "BF16/a-00001-of-00002.gguf", "My Model (v2) [Q4].gguf", "ä.gguf", "a+b,c=d@e~f"]
)
def test_safe_names_stay_inside_their_folder(tmp_path: Path, name: str) -> None:
    assert is_safe_name(name)
    assert Path(os.path.normpath(tmp_path / name)).is_relative_to(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "..",
            "../a",
            "a/..",
            "a/../b",
            "/a",
            "a//b",
            "a/",
            "./a",
            " /a",
            "a/. ./b",
            "...",
            "a\\b",
            "C:a",
            "a:b",
        ),
        *("a\0", "a\nb", "a\x1b[2J", "a*", "a?", "a|b", "a<b", 'a"b', "x" * 241, "\udc80", None, 7, b"a", ["a"]),
    ],
)
def test_other_names_are_unsafe(name: object) -> None:
    assert not is_safe_name(name)

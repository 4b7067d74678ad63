"""`r1_quantize.hub.repository`: what a hub may say of a repository, and what is not believed."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.errors import BadCheckpoint
from r1_quantize.hub.repository import RemoteFile, Repository, checked, is_repo, is_safe_name
from tests.fakes.hub import COMMIT

REPO = "some-owner/some-model"
CONTENT = b"hello, hub\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BLOB = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()  # what `git hash-object` says
LARGE = RemoteFile("model.safetensors", len(CONTENT), SHA256, BLOB)
SMALL = RemoteFile("config.json", len(CONTENT), None, BLOB)


class TestRemoteFile:
    """It is known by the SHA-256 of its content, or else by git's name for it."""

    @pytest.mark.parametrize(("file", "digest"), [(LARGE, SHA256), (SMALL, BLOB)])
    def test_its_digest_is_that_of_its_content(self, file: RemoteFile, digest: str) -> None:
        hasher = file.hasher()
        for start in range(0, len(CONTENT), 4):
            hasher.update(CONTENT[start : start + 4])
        assert hasher.hexdigest() == file.digest == digest

    @pytest.mark.parametrize("file", [LARGE, SMALL])
    def test_is_where_its_content_is(self, tmp_path: Path, file: RemoteFile) -> None:
        (tmp_path / "here").write_bytes(CONTENT)
        assert file.is_at(tmp_path / "here")

    @pytest.mark.parametrize("file", [LARGE, SMALL])
    @pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x", CONTENT.upper(), bytes(len(CONTENT))])
    def test_is_not_where_anything_else_is(self, tmp_path: Path, file: RemoteFile, content: bytes) -> None:
        (tmp_path / "here").write_bytes(content)
        assert not file.is_at(tmp_path / "here")

    def test_is_neither_nowhere_nor_a_folder(self, tmp_path: Path) -> None:
        folder = replace(LARGE, size=tmp_path.stat().st_size)
        assert not LARGE.is_at(tmp_path / "nowhere")
        assert not folder.is_at(tmp_path)

    def test_of_which_nobody_says_a_digest_is_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "here").write_bytes(CONTENT)
        assert not replace(LARGE, sha256=None, git_sha1=None).is_at(tmp_path / "here")


class TestChecked:
    """What is impossible or dangerous is refused, in one line that names the repository."""

    def refused(self, said: str, *files: RemoteFile, commit: object = COMMIT) -> None:
        with pytest.raises(BadCheckpoint, match=said) as caught:
            checked(REPO, commit, files)
        assert str(caught.value).startswith(f"{REPO}: ")
        assert len(str(caught.value)) < 300
        assert str(caught.value).isprintable()

    def test_what_is_possible_is_taken_as_it_is(self) -> None:
        deep = replace(LARGE, name="a/b/c d.gguf", git_sha1=None)
        found = checked(REPO, COMMIT, [LARGE, SMALL, deep])
        assert (found.name, found.commit) == (REPO, COMMIT)
        assert list(found.files.values()) == [LARGE, SMALL, deep]

    @pytest.mark.parametrize(
        "commit", [None, "", "main", "../" * 13, COMMIT[:-1], COMMIT.upper(), COMMIT + "\n", 7, []]
    )
    def test_a_commit_that_is_none(self, commit: object) -> None:
        self.refused("the hub says no commit but", commit=commit)

    @pytest.mark.parametrize(
        "name",
        [
            *("../model.safetensors", "a/../../b", "..", "a/..", "/etc/passwd", "a//b", "a/", ""),
            *("..\\model.safetensors", "a\\..\\b", "\\\\server\\share", "a\0b", "\0", "../" * 1000),
        ],
    )
    def test_a_name_that_leads_elsewhere(self, name: str) -> None:
        self.refused("the hub lists a file called .*; nothing was fetched", replace(LARGE, name=name))

    @pytest.mark.parametrize("name", [None, 7, ["config.json"], b"config.json"])
    def test_a_name_that_is_no_text(self, name: Any) -> None:
        self.refused("the hub lists a file called", replace(LARGE, name=name))

    @pytest.mark.parametrize("size", [-1, 1 << 50, 1 << 70, True, 1.5, "11", None, float("nan")])
    def test_an_absurd_size(self, size: Any) -> None:
        self.refused("is said to be .* bytes long", replace(LARGE, size=size))

    @pytest.mark.parametrize("sha256", ["", "0" * 63, "0" * 65, "A" * 64, BLOB, "0" * 63 + "\n", 0, {"sha256": SHA256}])
    def test_a_sha256_that_is_none(self, sha256: Any) -> None:
        self.refused("is said to hash to", replace(LARGE, sha256=sha256))

    @pytest.mark.parametrize("blob", ["", "0" * 39, SHA256, "G" * 40, 1 << 160])
    def test_a_git_name_that_is_none(self, blob: Any) -> None:
        self.refused("is said to hash to", replace(SMALL, git_sha1=blob))

    def test_a_file_that_is_listed_twice(self) -> None:
        self.refused("lists 'config.json' twice", SMALL, LARGE, replace(SMALL, size=1))

    def test_more_files_than_any_checkpoint_has(self) -> None:
        self.refused(
            "lists more than 20,000 files", *(replace(SMALL, name=f"{number}.txt") for number in range(20_001))
        )


class TestRecord:
    """A repository comes back as it was written, and nothing else is taken for one."""

    def test_comes_back_as_it_was(self) -> None:
        repository = checked(REPO, COMMIT, [LARGE, SMALL, replace(LARGE, name="ä/\udc80/模型.gguf")])
        assert Repository.from_json(repository.to_json()) == repository

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "7", '"x"', "[" * 100_000, '{"name": "a/b"}'])
    def test_what_is_no_record(self, text: str) -> None:
        with pytest.raises(BadCheckpoint, match="makes no sense"):
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
    def test_what_somebody_changed_in_it_is_checked_as_if_the_hub_had_said_it(self, change: dict[str, Any]) -> None:
        whole = json.loads(Repository(REPO, COMMIT, {SMALL.name: SMALL}).to_json())
        with pytest.raises(BadCheckpoint):
            Repository.from_json(json.dumps(whole | change))


class TestFiles:
    """Which files make up a checkpoint."""

    def test_the_description_is_those_of_the_small_files_that_are_there(self) -> None:
        names = (
            "README.md",
            "tokenizer.json",
            "config.json",
            "modeling_evil.py",
            "model.safetensors",
            "sub/config.json",
        )
        repository = checked(REPO, COMMIT, [replace(SMALL, name=name) for name in names])
        assert sorted(file.name for file in repository.description()) == ["config.json", "tokenizer.json"]

    def test_a_small_file_that_is_large_is_refused(self) -> None:
        repository = checked(REPO, COMMIT, [replace(SMALL, name="tokenizer.json", size=1 << 30)])
        with pytest.raises(BadCheckpoint, match=r"tokenizer\.json is said to be 1,073,741,824 bytes long"):
            repository.description()

    def test_weights_come_in_the_order_they_are_asked_for(self) -> None:
        repository = checked(REPO, COMMIT, [replace(LARGE, name=name) for name in ("a", "b", "c")])
        assert [file.name for file in repository.weights(["c", "a"])] == ["c", "a"]

    def test_weights_that_are_not_there(self) -> None:
        with pytest.raises(BadCheckpoint, match=f"{REPO} has no 'b'"):
            checked(REPO, COMMIT, [LARGE]).weights(["b"])

    @pytest.mark.parametrize("change", [{"size": 0}, {"name": "a*"}, {"name": "a:b"}, {"name": "a\x1b[2J"}])
    def test_weights_that_are_empty_or_cannot_be_named_here(self, change: dict[str, Any]) -> None:
        file = replace(LARGE, **change)
        with pytest.raises(BadCheckpoint, match="is empty, or has an impossible name") as caught:
            checked(REPO, COMMIT, [file]).weights([file.name])
        assert str(caught.value).isprintable()

    def test_weights_of_which_nobody_says_the_sha256(self) -> None:
        with pytest.raises(BadCheckpoint, match=r"the hub does not say what config\.json hashes to"):
            checked(REPO, COMMIT, [SMALL]).weights(["config.json"])


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
def test_repositories_look_like_owner_and_name(name: str, answer: bool) -> None:
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
def test_other_names_are_not_safe(name: object) -> None:
    assert not is_safe_name(name)

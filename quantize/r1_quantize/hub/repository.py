"""A repository's listing: names, sizes and digests at one commit. It is untrusted input, so all of it is validated."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from r1_quantize.errors import BadCheckpoint, BadFile
from r1_quantize.files import Digest, HashedFile

CONFIG_FILES = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("chat_template.jinja", "chat_template.json", "model.safetensors.index.json"),
)
"""The small files that describe a checkpoint; those that a repository has are downloaded."""

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA1, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_SAFE_PART = re.compile(r"[\w.,+@=~()\[\] -]+")
_REPORT_BYTES = 1 << 26  # bytes hashed between two progress reports
_MAX_FILE_BYTES, _MAX_FILES, _MAX_CONFIG_BYTES = 1 << 40, 20_000, 32 << 20
_MAX_NAME_LENGTH = 240


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of `size` bytes. The hub lists the SHA-256 of large files, and git's SHA-1 of a blob for the others."""

    name: str  # path within the repository
    size: int
    sha256: str | None
    git_sha1: str | None

    @property
    def digest(self) -> str:
        """The digest its content must have."""
        return self.sha256 or self.git_sha1 or ""

    def hasher(self) -> Digest:
        """A new hash object of the algorithm that `digest` comes from; update it with the content."""
        if self.sha256:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)

    def matches(self, path: Path, hashed: Callable[[int], None] = lambda _: None) -> bool:
        """Whether the file at `path` has this size and digest. Reads it; `hashed` is called with counts of bytes."""
        try:
            if path.stat().st_size != self.size:
                return False
            with HashedFile(path, self.hasher) as file:
                for start in range(0, self.size, _REPORT_BYTES):
                    end = min(self.size, start + _REPORT_BYTES)
                    file.skip_to(end)
                    hashed(end - start)
                return file.finish() == self.digest
        except (OSError, BadFile):
            return False


@dataclass(frozen=True, slots=True)
class Repository:
    """OWNER/NAME at one commit."""

    name: str
    commit: str
    files: Mapping[str, RemoteFile]

    def to_json(self) -> str:
        files = [asdict(file) for file in self.files.values()]
        return json.dumps({"name": self.name, "commit": self.commit, "files": files}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Repository:
        """Raises BadCheckpoint when it is not what `to_json` writes."""
        try:
            record: Any = json.loads(text)
            files = [RemoteFile(**file) for file in record["files"]]
            return checked_repository(record["name"], record["commit"], files)
        except (ValueError, TypeError, KeyError, RecursionError) as exc:
            raise BadCheckpoint(f"invalid record of a repository: {exc}") from exc

    def file(self, name: str) -> RemoteFile:
        """Raises BadCheckpoint when there is no such file."""
        file = self.files.get(name)
        if file is None:
            raise BadCheckpoint(f"{self.name} has no {name!r:.80}")
        return file

    def config_files(self) -> list[RemoteFile]:
        """The small files of a checkpoint. Raises BadCheckpoint when one is too large."""
        files = [self.files[name] for name in CONFIG_FILES if name in self.files]
        for file in files:
            if file.size > _MAX_CONFIG_BYTES:
                raise BadCheckpoint(f"{self.name}: the hub lists {file.name} as too large: {file.size:,} bytes")
        return files

    def weights(self, names: Iterable[str]) -> list[RemoteFile]:
        """The shards with these names. Raises BadCheckpoint when one is missing, empty or has no SHA-256."""
        files = [self.file(name) for name in names]
        for file in files:
            if not file.size or not is_safe_name(file.name):
                raise BadCheckpoint(f"{self.name}: {file.name!r:.80} is empty or has an unsafe name")
            if file.sha256 is None:
                raise BadCheckpoint(f"{self.name}: the hub lists no SHA-256 for {file.name}")
        return files


def checked_repository(name: str, commit: object, files: Iterable[RemoteFile]) -> Repository:
    """The repository of an untrusted listing. Raises BadCheckpoint when it is impossible or dangerous."""
    if not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
        raise BadCheckpoint(f"{name}: the hub gives {commit!r:.80} as the commit, which is not a SHA-1")
    by_name: dict[str, RemoteFile] = {}
    for file in files:
        _check_file(name, file)
        if file.name in by_name:
            raise BadCheckpoint(f"{name}: the hub lists {file.name!r:.80} twice")
        by_name[file.name] = file
        if len(by_name) > _MAX_FILES:
            raise BadCheckpoint(f"{name}: the hub lists more than {_MAX_FILES:,} files")
    return Repository(name, commit, by_name)


def is_repo(name: str) -> bool:
    """Whether `name` is a valid OWNER/NAME."""
    return _REPO.fullmatch(name) is not None and ".." not in name and "--" not in name


def is_safe_name(name: object) -> bool:
    """Whether `name` is a relative path that stays inside its folder, on every platform."""
    if not isinstance(name, str) or not name or len(name) > _MAX_NAME_LENGTH:
        return False
    parts = PurePosixPath(name).parts
    parts_are_safe = all(_SAFE_PART.fullmatch(part) and part.strip(" .") for part in parts)
    return parts_are_safe and "/".join(parts) == name


def _check_file(repo: str, file: RemoteFile) -> None:
    if not isinstance(file.name, str) or {"..", ""} & set(re.split(r"[/\\]", file.name)) or "\0" in file.name:
        raise BadCheckpoint(f"{repo}: the hub lists an unsafe file name: {file.name!r:.80}; nothing was downloaded")
    if type(file.size) is not int or not 0 <= file.size <= _MAX_FILE_BYTES:
        raise BadCheckpoint(f"{repo}: the hub lists {file.name!r:.80} with an impossible size: {file.size!r:.40}")
    for digest, pattern in ((file.sha256, _SHA256), (file.git_sha1, _SHA1)):
        if digest is not None and not (isinstance(digest, str) and pattern.fullmatch(digest)):
            raise BadCheckpoint(f"{repo}: the hub lists {file.name!r:.80} with an invalid digest: {digest!r:.80}")

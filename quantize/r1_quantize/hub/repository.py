"""What a hub says is in a repository: names, sizes and digests at one commit. None of it is believed unseen.

Knows: which file names and sizes are possible, and which files make up a checkpoint. Does not know: how the hub is
asked (`hub`), or what is in the files.
"""

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

DESCRIPTION = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("chat_template.jinja", "chat_template.json", "model.safetensors.index.json"),
)
"""The small files that say what a checkpoint is; those of them that a repository has are fetched."""

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA1, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
_SAFE = re.compile(r"[\w.,+@=~()\[\] -]+")
_PIECE = 1 << 26  # bytes between two words on how far it is
_MAX_FILE, _MAX_FILES, _MAX_DESCRIPTION = 1 << 40, 20_000, 32 << 20  # bytes, files, bytes


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of `size` bytes. Of large files the hub says the SHA-256, of the others git's SHA-1 of a blob."""

    name: str  # its path within the repository
    size: int
    sha256: str | None
    git_sha1: str | None

    @property
    def digest(self) -> str:
        """What its content must hash to."""
        return self.sha256 or self.git_sha1 or ""

    def hasher(self) -> Digest:
        """The algorithm `digest` was made with, to be fed the content."""
        if self.sha256:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)

    def is_at(self, path: Path, examined: Callable[[int], None] = lambda _: None) -> bool:
        """Whether the file at `path`, which is read to its end, is this one; `examined` hears of its bytes."""
        try:
            if path.stat().st_size != self.size:
                return False
            with HashedFile(path, self.hasher) as file:
                for start in range(0, self.size, _PIECE):
                    end = min(self.size, start + _PIECE)
                    file.skip_to(end)
                    examined(end - start)
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
            found: Any = json.loads(text)
            files = [RemoteFile(**file) for file in found["files"]]
            return checked(found["name"], found["commit"], files)
        except (ValueError, TypeError, KeyError, RecursionError) as exc:
            raise BadCheckpoint(f"a record of a repository that makes no sense: {exc}") from exc

    def file(self, name: str) -> RemoteFile:
        """Raises BadCheckpoint when there is no such file."""
        found = self.files.get(name)
        if found is None:
            raise BadCheckpoint(f"{self.name} has no {name!r:.80}")
        return found

    def description(self) -> list[RemoteFile]:
        """The small files of a checkpoint. Raises BadCheckpoint when one is not small."""
        found = [self.files[name] for name in DESCRIPTION if name in self.files]
        for file in found:
            if file.size > _MAX_DESCRIPTION:
                raise BadCheckpoint(f"{self.name}: {file.name} is said to be {file.size:,} bytes long")
        return found

    def weights(self, names: Iterable[str]) -> list[RemoteFile]:
        """The shards with these names. Raises BadCheckpoint when one is missing, empty or has no SHA-256."""
        found = [self.file(name) for name in names]
        for file in found:
            if not file.size or not is_safe_name(file.name):
                raise BadCheckpoint(f"{self.name}: {file.name!r:.80} is empty, or has an impossible name")
            if file.sha256 is None:
                raise BadCheckpoint(f"{self.name}: the hub does not say what {file.name} hashes to")
        return found


def checked(name: str, commit: object, files: Iterable[RemoteFile]) -> Repository:
    """A repository as somebody describes it. Raises BadCheckpoint when that is impossible or dangerous."""
    if not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
        raise BadCheckpoint(f"{name}: the hub says no commit but {commit!r:.80}")
    by_name: dict[str, RemoteFile] = {}
    for file in files:
        _check(name, file)
        if file.name in by_name:
            raise BadCheckpoint(f"{name}: the hub lists {file.name!r:.80} twice")
        by_name[file.name] = file
        if len(by_name) > _MAX_FILES:
            raise BadCheckpoint(f"{name}: the hub lists more than {_MAX_FILES:,} files")
    return Repository(name, commit, by_name)


def is_repo(name: str) -> bool:
    """Whether it looks like OWNER/NAME."""
    return _REPO.fullmatch(name) is not None and ".." not in name and "--" not in name


def is_safe_name(name: object) -> bool:
    """Whether it is a path that stays inside the folder it is put into, on every platform."""
    if not isinstance(name, str) or not name or len(name) > 240:
        return False
    parts = PurePosixPath(name).parts
    plain = all(_SAFE.fullmatch(part) and part.strip(" .") for part in parts)
    return plain and "/".join(parts) == name


def _check(repo: str, file: RemoteFile) -> None:
    if not isinstance(file.name, str) or {"..", ""} & set(re.split(r"[/\\]", file.name)) or "\0" in file.name:
        raise BadCheckpoint(f"{repo}: the hub lists a file called {file.name!r:.80}; nothing was fetched")
    if type(file.size) is not int or not 0 <= file.size <= _MAX_FILE:
        raise BadCheckpoint(f"{repo}: {file.name!r:.80} is said to be {file.size!r:.40} bytes long")
    for digest, pattern in ((file.sha256, _SHA256), (file.git_sha1, _SHA1)):
        if digest is not None and not (isinstance(digest, str) and pattern.fullmatch(digest)):
            raise BadCheckpoint(f"{repo}: {file.name!r:.80} is said to hash to {digest!r:.80}")

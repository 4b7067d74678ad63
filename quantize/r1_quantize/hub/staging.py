"""The folder in which what a pull fetches lies, HOME/checkpoints/OWNER--REPO/COMMIT, and what earlier pulls left there.

In it stands what the hub said is in the repository, so that an interrupted pull stays at its commit.

Knows: what stays and what goes. Does not know: how anything comes there (`beginning`, `shards`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from r1_quantize.errors import BadCheckpoint, Busy, UsageError
from r1_quantize.files import SourceFile, disk_error, write_atomically
from r1_quantize.hub.repository import Repository
from r1_quantize.hub.shards import Shard
from r1_quantize.store.store import KEPT, RECORD, Store


def recorded(store: Store, repo: str) -> Iterator[Repository]:
    """The repository at the commits of which files are here, the one that was worked on last first."""
    for folder in store.checkpoint_folders(repo):
        if (found := read_record(folder)) and (found.name, found.commit) == (repo, folder.name):
            yield found


def read_record(folder: Path) -> Repository | None:
    """What the hub said is in the repository whose files lie there; None when that is not on record."""
    with suppress(OSError, UnicodeDecodeError, BadCheckpoint):
        return Repository.from_json((folder / RECORD).read_text(encoding="utf-8"))
    return None


def prepare(store: Store, repository: Repository) -> Path:
    """The folder for a repository's files, with those that other commits left and that are the same in this one.

    Raises R1Error when the disk fails.
    """
    folder = store.checkpoint_folder(repository.name, repository.commit)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise disk_error(folder, exc) from exc
    for older in store.checkpoint_folders(repository.name):
        if older != folder and not is_kept(older):
            _inherit(folder, older, repository)
    if read_record(folder) != repository:  # and a disk that is full is not written to
        write_atomically(folder / RECORD, repository.to_json())
    return folder


def unpin(folder: Path) -> None:
    """The next pull asks the hub what there is, instead of going on at this commit. What has come stays for it."""
    if folder.is_dir() and not is_kept(folder):
        write_atomically(folder / RECORD, "{}\n")


def is_kept(folder: Path) -> bool:
    """Whether the checkpoint there is whole and stays."""
    return (folder / KEPT).exists()


def kept_files(folder: Path) -> dict[str, SourceFile]:
    """The shards of a kept checkpoint, each with the digest that the hub says it has."""
    record = read_record(folder)
    return {
        name: SourceFile.on_disk(folder / name, file.sha256)
        for name, file in (record.files.items() if record else ())
        if file.sha256 and (folder / name).is_file()
    }


def tidy(folder: Path, shards: Sequence[Shard], *, keep: bool) -> None:
    """Nothing stays of what was fetched, unless it is kept, or another pull of the same repository left it there."""
    whole = [shard for shard in shards if (folder / shard.name).is_file()]
    keep = keep and bool(whole)  # what the cache has needs no second place
    for shard in shards:
        for suffix in (".header",) if keep else ("", ".partial", ".header"):
            (folder / f"{shard.name}{suffix}").unlink(missing_ok=True)
    if keep:
        if len(whole) == len(shards):
            (folder / KEPT).touch()
    elif not any(folder.glob("*.header")):
        shutil.rmtree(folder, ignore_errors=True)


def sweep(store: Store, repo: str) -> None:
    """What a pull left that ended between giving the model its name and tidying up; nothing that another has begun."""
    with suppress(Busy, UsageError), store.lock_checkpoint(repo) if store.checkpoint_folders(repo) else nullcontext():
        for folder in store.checkpoint_folders(repo) if not store.unfinished() else ():
            begun = any(path.suffix in {".partial", ".safetensors", ".gguf"} for path in folder.iterdir())
            if not begun and not is_kept(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _inherit(folder: Path, older: Path, repository: Repository) -> None:
    """What an interrupted pull of another commit has fetched and is the same in this one; the rest goes."""
    before = read_record(older)
    for name, file in repository.files.items() if before else ():
        local = name.rpartition("/")[2]
        if before and file.sha256 and before.files.get(name) == file:
            for suffix in ("", ".partial", ".header"):
                with suppress(OSError):
                    (older / f"{local}{suffix}").replace(folder / f"{local}{suffix}")
    shutil.rmtree(older, ignore_errors=True)

"""The staging folder of a pull, HOME/checkpoints/OWNER--REPO/COMMIT: what it contains, and what stays afterwards.

It contains the repository's listing, so that an interrupted pull continues at the same commit.
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


def recorded_repositories(store: Store, repo: str) -> Iterator[Repository]:
    """The listings of `repo` at the commits that have a staging folder, the most recently used first."""
    for folder in store.checkpoint_folders(repo):
        record = read_record(folder)
        if record and (record.name, record.commit) == (repo, folder.name):
            yield record


def read_record(folder: Path) -> Repository | None:
    """The repository's listing in a staging folder; None when there is no valid one."""
    with suppress(OSError, UnicodeDecodeError, BadCheckpoint):
        return Repository.from_json((folder / RECORD).read_text(encoding="utf-8"))
    return None


def prepare(store: Store, repository: Repository) -> Path:
    """Create the staging folder. Files of other commits that are the same in this one move to it.

    Raises R1Error when the disk fails.
    """
    folder = store.checkpoint_folder(repository.name, repository.commit)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise disk_error(folder, exc) from exc
    for older in store.checkpoint_folders(repository.name):
        if older != folder and not is_kept(older):
            _move_unchanged(older, folder, repository)
    if read_record(folder) != repository:  # write nothing needlessly: the disk may be full
        write_atomically(folder / RECORD, repository.to_json())
    return folder


def unpin(folder: Path) -> None:
    """Forget the commit: the next pull lists the repository again. The downloaded files stay."""
    if folder.is_dir() and not is_kept(folder):
        write_atomically(folder / RECORD, "{}\n")


def is_kept(folder: Path) -> bool:
    """Whether the checkpoint in `folder` is complete and to be kept."""
    return (folder / KEPT).exists()


def kept_files(folder: Path) -> dict[str, SourceFile]:
    """The shards of a kept checkpoint, with the hub's digests."""
    record = read_record(folder)
    return {
        name: SourceFile.on_disk(folder / name, file.sha256)
        for name, file in (record.files.items() if record else ())
        if file.sha256 and (folder / name).is_file()
    }


def clean_up(folder: Path, shards: Sequence[Shard], *, keep: bool) -> None:
    """Delete the files of a finished pull, except the shards with `keep`, and the files of another unfinished pull."""
    complete = [shard for shard in shards if (folder / shard.name).is_file()]
    keep = keep and bool(complete)  # if all shards are in the Hugging Face cache, there is nothing to keep here
    for shard in shards:
        for suffix in (".header",) if keep else ("", ".partial", ".header"):
            (folder / f"{shard.name}{suffix}").unlink(missing_ok=True)
    if keep:
        if len(complete) == len(shards):
            (folder / KEPT).touch()
    elif not any(folder.glob("*.header")):
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(store: Store, repo: str) -> None:
    """Delete staging folders of pulls that were killed after renaming the model, before `clean_up`.

    A folder with weights in it belongs to another pull, and stays.
    """
    with suppress(Busy, UsageError), store.lock_checkpoint(repo) if store.checkpoint_folders(repo) else nullcontext():
        for folder in store.checkpoint_folders(repo) if not store.unfinished() else ():
            in_use = any(path.suffix in {".partial", ".safetensors", ".gguf"} for path in folder.iterdir())
            if not in_use and not is_kept(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _move_unchanged(older: Path, folder: Path, repository: Repository) -> None:
    """Move the files that another commit's pull left and that are the same in this one; delete the others."""
    before = read_record(older)
    for name, file in repository.files.items() if before else ():
        local = name.rpartition("/")[2]
        if before and file.sha256 and before.files.get(name) == file:
            for suffix in ("", ".partial", ".header"):
                with suppress(OSError):
                    (older / f"{local}{suffix}").replace(folder / f"{local}{suffix}")
    shutil.rmtree(older, ignore_errors=True)

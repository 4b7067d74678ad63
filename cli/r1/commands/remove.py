"""`r1 rm`: removes models, unfinished downloads, kept checkpoints and KV caches from this disk."""

from __future__ import annotations

from collections.abc import Sequence

from r1.console import Console
from r1.kv_store.kv_folder import open_folder
from r1.library import open_store
from r1_quantize import units
from r1_quantize.errors import ExitStatus, UsageError
from r1_quantize.store.removable import Removable


def remove(console: Console, references: Sequence[str], *, yes: bool, as_json: bool) -> ExitStatus:
    """Asks for confirmation, with the space that would be freed, and removes.

    Raises ModelNotFound, UsageError for something that is not in the store or if it cannot ask, Busy if it is in use.
    """
    store = open_store(console.environ)
    items = [*dict.fromkeys(map(store.removable, references))]  # without duplicates: an item can have two names
    names = ", ".join(item.reference for item in items)
    freed = units.size(sum(item.size for item in items))
    if not yes and not console.confirm(f"Remove {names}? It frees {freed}."):
        console.note("nothing was removed")
        return ExitStatus.OK
    for item in items:
        store.remove(item)
        _report(console, item, as_json=as_json)
    return ExitStatus.OK


def remove_cache(console: Console, *, yes: bool, as_json: bool) -> ExitStatus:
    """Removes the KV caches of all chats and prompts, which are only there to save time.

    Raises as `remove`; Busy when another r1 holds their lock for long.
    """
    folder = open_folder(console.environ)
    if folder.path.exists() and not folder.path.is_dir():
        raise UsageError(f"{folder.path} is a file, and KV caches are kept in a folder of that name; move it away")
    size = folder.size
    if size == 0:
        console.note("there are no KV caches")
    elif not yes and not console.confirm(f"Remove the KV caches of chats and prompts? It frees {units.size(size)}."):
        console.note("nothing was removed")
        return ExitStatus.OK
    try:
        freed = folder.clear()
    except OSError as exc:
        raise UsageError(f"cannot remove {folder.path}: {exc.strerror}; check its permissions") from exc
    if size > 0 or as_json or not console.stdout_is_terminal:
        _report(console, Removable("cache", freed, (folder.path,), is_complete=True), as_json=as_json)
    return ExitStatus.OK


def _report(console: Console, item: Removable, *, as_json: bool) -> None:
    if as_json:
        paths = [str(path) for path in item.paths]
        console.json({"removed": item.reference, "bytes": item.size, "paths": paths}, one_line=True)
    elif console.stdout_is_terminal:
        console.out(f"removed {item.reference}, freed {units.size(item.size)}\n")
    else:
        console.out(f"{item.reference}\t{item.size}\n")

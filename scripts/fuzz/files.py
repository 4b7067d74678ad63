"""The files of a case: an R1_HOME, checkpoints and attachments, some of them damaged."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from r1_quantize import catalog
from r1_quantize.builtin import ensure_tiny
from r1_quantize.store.store import Store

VALUES: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, "", "x", "é", "\x00", "\x1b[31m", "a" * 10_000, [],
    [[]], {}, {"a": 1}, ["x"], [1, 2], "../..", "Q8_0", "auto",
]  # fmt: skip
"""JSON values to put where another is expected."""

_JUNK = [
    b"", b"\x00" * 4096, b"\xff\xfe\x00", b"null", b"[]", b"{", b"[[" * 5000, b'{"a": NaN}', b"\xef\xbb\xbf{}",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", b"<!DOCTYPE html><html></html>",
]  # fmt: skip


class Templates:
    """What each case starts from: an R1_HOME with the built-in model and one chat, and the model's checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        catalogue = catalog.load()
        ensure_tiny(Store(self.home, catalogue))
        source = catalogue["tiny"].folder
        assert source is not None
        self.checkpoint = folder / "checkpoint"
        shutil.copytree(source, self.checkpoint)
        environ = {**os.environ, "R1_HOME": str(self.home), "XDG_CONFIG_HOME": str(folder / "config")}
        chat = [sys.executable, "-m", "r1", "chat", "tiny", "--thinking", "hide"]
        subprocess.run(chat, env=environ, input=b"hello", stdout=subprocess.DEVNULL, check=True)

    def copy(self, case: Path) -> None:
        """The files of one case: `home`, `checkpoint`, `notes.txt` and a few odd ones."""
        shutil.copytree(self.home, case / "home")
        shutil.copytree(self.checkpoint, case / "checkpoint")
        (case / "config").mkdir()
        (case / "notes.txt").write_text("A note.\n")
        (case / "latin1.txt").write_bytes(b"caf\xe9\n")
        (case / "empty").write_bytes(b"")
        (case / "loop").symlink_to("loop")
        (case / "model.gguf").symlink_to("home/models/tiny/Q8_0.gguf")
        (case / "gone").symlink_to("nowhere")
        os.mkfifo(case / "fifo")


def damage(rng: random.Random, case: Path) -> str:
    """Damages one file of the case; says which and how."""
    targets = [
        "home/models/tiny/Q8_0.gguf", "home/models/tiny/Q8_0.json", "home/models.toml", "home/history.db",
        "home/tuned.json", "home/told", "config/r1/config.toml", "checkpoint/config.json",
        "checkpoint/generation_config.json", "checkpoint/tokenizer.json", "checkpoint/tokenizer_config.json",
        "checkpoint/model.safetensors", "checkpoint/model.safetensors.index.json", "home/models",
        "home/models/tiny/Q4_K_M.gguf.partial", "home", "home/models/tiny", "config/r1",
    ]  # fmt: skip
    while True:
        target = case / rng.choice(targets)
        how: Callable[[random.Random, Path], None] = rng.choice([_junk, _cut, _flip, _json, _json, _json, _kind, _mode])
        with suppress(OSError, ValueError, TypeError, IndexError):  # not for this target: try another
            target.parent.mkdir(parents=True, exist_ok=True)
            how(rng, target)
            return f"{how.__name__[1:]} {target.relative_to(case)}"


def _junk(rng: random.Random, path: Path) -> None:
    _clear(path)
    path.write_bytes(rng.choice([*_JUNK, rng.randbytes(rng.randrange(1, 2000))]))


def _cut(rng: random.Random, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) + 1)])


def _flip(rng: random.Random, path: Path) -> None:
    """Changes bytes, mostly in the header."""
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 3, 30])):
        content[int(len(content) * rng.random() ** 4)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    path.write_bytes(content)


def _json(rng: random.Random, path: Path) -> None:
    """Replaces or removes one value of a JSON file, or one line of another text file."""
    if path.suffix == ".json":
        value = json.loads(path.read_bytes())
        _replace_one(rng, value)
        path.write_text(json.dumps(value))
    elif path.suffix == ".toml":
        value = json.dumps(rng.choice(VALUES[1:]))
        key = rng.choice(["temp", "seed", "model", "ctx", "threads", "device", "keys", "thinking", "x", "[tiny]\nrepo"])
        mark = rng.choice(["", "\ufeff"])
        path.write_text(f"{mark}{key} = {value}\n")
    else:
        raise ValueError("not JSON")


def _replace_one(rng: random.Random, value: Any) -> None:
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys[:50] + keys[-50:])
        inner = value[key]
        if isinstance(inner, (dict, list)) and inner and rng.random() < 0.7:
            value = inner
            continue
        if rng.random() < 0.2:
            del value[key]
        else:
            value[key] = rng.choice(VALUES)
        return


def _kind(rng: random.Random, path: Path) -> None:
    """Something else in place of the file or folder."""
    _clear(path)
    match rng.choice(["folder", "link", "loop", "null", "missing", "empty"]):
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("/nowhere")
        case "loop":
            path.symlink_to(path.name)
        case "null":
            path.symlink_to("/dev/null")
        case "empty":
            path.write_bytes(b"")


def _mode(rng: random.Random, path: Path) -> None:
    path.chmod(rng.choice([0o000, 0o400, 0o500, 0o200]))


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

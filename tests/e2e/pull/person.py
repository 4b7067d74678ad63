"""A person with an empty home who runs `r1 pull` against the tests' hub until the model is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

from r1_quantize.hub import download
from r1_quantize.store.manifest import Manifest
from tests.conftest import own_environ
from tests.fakes.checkpoints import Shape
from tests.fakes.hub import Fault, Hub
from tests.fakes.in_process import run_here

REPO = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
MODEL = "qwen-1.5b:Q4_K_M"
SHAPE = Shape(layers=5)
NAMES = [f"model-{number:05}-of-00005.safetensors" for number in range(1, 6)]
SMALL = [
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    "model.safetensors.index.json",
]
THIRD = NAMES[2]
AT_THIRD = f"*/{THIRD}"
LATER = "f" * 40  # another commit
PREFIX = 1 << 17  # bytes of a shard that are downloaded before planning, with a request of their own
TIMEOUT_S = 300.0  # for anything that takes seconds on a machine with nothing else to do

Done = subprocess.CompletedProcess[bytes]
Change = Callable[[dict[str, Any]], object]
SLOW = Fault("*.safetensors", "drip", -1, piece=25_000, seconds=0.004)  # a second instead of an instant


@dataclass(frozen=True)
class Undisturbed:
    """The result and the traffic of a pull without faults."""

    digest: str
    sent: int  # bytes
    shard: int  # bytes of the largest
    third: int  # bytes of the third


@dataclass
class Person:
    """Runs `r1 pull` with an empty home and an empty cache at first. Their waits between attempts are short."""

    hub: Hub
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    exits: list[int] = field(default_factory=list)
    max_wait_s: float = 0.01  # between attempts, unless the hub asks for more

    @property
    def home(self) -> Path:
        return self.folder / "own"

    @property
    def gguf(self) -> Path:
        return self.home / "models" / "qwen-1.5b" / "Q4_K_M.gguf"

    @property
    def digest(self) -> str:
        """SHA-256 of the model."""
        return sha256(self.gguf.read_bytes()).hexdigest()

    @property
    def manifest(self) -> Manifest:
        manifest = Manifest.beside(self.gguf)
        assert manifest is not None
        return manifest

    @property
    def sent(self) -> int:
        """Bytes of files that the hub has sent."""
        return self.hub.sent.total()

    @property
    def environ(self) -> dict[str, str]:
        own = {"HF_ENDPOINT": self.hub.endpoint, "HF_HOME": str(self.folder / "hf"), "R1_HOME": str(self.home)}
        xet = {} if self.hub.xet else {"HF_HUB_DISABLE_XET": "1"}
        return {**own_environ(), **own, **xet, "HOME": str(self.folder), **self.variables}

    def pull(self, *arguments: str) -> Done:
        """One run to its end, in this process."""
        with patch.object(download, "_MAX_WAIT_S", self.max_wait_s):
            done = run_here("pull", *(arguments or (MODEL,)), environ=self.environ)
        self.exits.append(done.returncode)
        return done

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a run in a process of its own; pass it to `end`."""
        program = (
            "from r1_quantize.hub import download\n"
            f"download._MAX_WAIT_S = {self.max_wait_s}\n"
            "from r1.__main__ import main\n"
            "main()\n"
        )
        return subprocess.Popen(
            [sys.executable, "-c", program, "pull", *(arguments or (MODEL,))],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def end(self, process: subprocess.Popen[bytes]) -> Done:
        """Wait for a process and record its exit status."""
        try:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
        self.exits.append(process.returncode)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def has_no_model(self) -> bool:
        """Whether nothing in the home looks like a complete model."""
        return not [*self.home.rglob("*.gguf"), *self.home.glob("models/**/*.json")]

    def files_outside_home(self) -> list[str]:
        """The files around the home and the cache."""
        return sorted(path.name for path in self.folder.iterdir() if path.name not in {"own", "hf"})


def error_line(done: Done) -> str:
    """The error message: the last line on stderr. Only lines about retries may be before it."""
    *before, last = done.stderr.decode().splitlines()
    assert last.startswith("r1: "), last
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    messages = [line for line in before if line.startswith("r1: ")]
    usual = re.compile(rf"r1: ({MODEL}|.*; retrying in (\d+ min )?\d+ s|.*; downloading it again)")
    assert all(usual.fullmatch(line) for line in messages), messages
    return last


def transient(match: str, *, status: int = 503, times: int = 1) -> Fault:
    """A status that passes. It asks for no wait, instead of the usual second or more."""
    return Fault(match, "status", times, status=status, headers={"Retry-After": "0"})


def wait_until(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Wait for a condition while the process runs."""
    while not condition():
        ended = process.poll() is not None
        assert condition() or not ended, process.communicate()[1].decode()
        time.sleep(0.002)


def changed_file(name: str, **changes: object) -> Change:
    """A change of a listing: other facts about one file."""

    def change(info: dict[str, Any]) -> dict[str, Any]:
        for sibling in info["siblings"]:
            if sibling["rfilename"] == name:
                sibling |= {
                    key: value for key, value in changes.items() if key in {"rfilename", "blobId", "size", "lfs"}
                }
                if isinstance(sibling.get("lfs"), dict):
                    sibling["lfs"] |= {key: value for key, value in changes.items() if key in {"sha256", "size"}}
        return info

    return change


def variant(served: Path, root: Path, names: list[str]) -> Path:
    """A hub's root with a checkpoint that differs in these shards only."""
    (root / REPO).mkdir(parents=True)
    for path in (served / REPO).iterdir():
        if path.name in names:
            data = bytearray(path.read_bytes())
            data[-100_000:] = bytes(byte ^ 0x80 if at % 2 else byte for at, byte in enumerate(data[-100_000:]))
            (root / REPO / path.name).write_bytes(data)  # flips the signs of the last weights
        else:
            os.link(path, root / REPO / path.name)
    return root

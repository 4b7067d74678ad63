"""What the tests of this side share: a made-up checkpoint, and files made from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.override import Override
from r1_quantize.pipeline import Job, quantize
from tests.fakes import checkpoints

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint folder. Tests only read it."""
    return checkpoints.write(tmp_path_factory.mktemp("checkpoint") / "fake")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a GGUF from a checkpoint folder or a GGUF, and returns its path."""

    def made(source: Path, quant: str, *, overrides: Sequence[Override] = (), **job: Any) -> Path:
        target = tmp_path / f"{source.stem}-{quant}.gguf"
        for _ in quantize(Job(source, quant, target, name=source.name, overrides=tuple(overrides), **job)):
            pass
        return target

    return made


@pytest.fixture(scope="session")
def gguf(fake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole GGUF. Tests only read it."""
    target = tmp_path_factory.mktemp("gguf") / "fake.gguf"
    for _ in quantize(Job(fake, "Q8_0", target, name="fake")):
        pass
    return target


def names_in(folder: Path) -> list[str]:
    """What a folder holds."""
    return sorted(path.name for path in folder.iterdir())

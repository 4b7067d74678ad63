"""Fixtures for the quantizing half: a small artificial checkpoint, and files made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.events import PipelineEvent
from r1_quantize.pipeline import Job, quantize
from r1_quantize.recipe import Override
from tests.fakes import checkpoints
from tests.fakes.hub import Hub, client_constants

Make = Callable[..., Path]
Serve = Callable[..., Hub]


@pytest.fixture(scope="session")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid checkpoint folder. Tests only read it."""
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
    """A valid GGUF. Tests only read it."""
    target = tmp_path_factory.mktemp("gguf") / "fake.gguf"
    for _ in quantize(Job(fake, "Q8_0", target, name="fake")):
        pass
    return target


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a hub that serves tmp_path/hub to this process's huggingface_hub, with an empty cache and no token."""
    from huggingface_hub import constants

    def configure(**variables: str) -> None:
        for name, value in client_constants({"HF_HOME": str(tmp_path / "hf"), **variables}).items():
            monkeypatch.setattr(constants, name, value)

    configure()
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with ExitStack() as started:

        def start(**options: Any) -> Hub:
            hub = started.enter_context(Hub(tmp_path / "hub", **options))
            configure(HF_ENDPOINT=hub.endpoint, **({} if hub.xet else {"HF_HUB_DISABLE_XET": "1"}))
            return hub

        yield start


def events_of(source: Path, target: Path, quant: str = "Q8_0", **job: Any) -> list[PipelineEvent]:
    """All events while `target` is made."""
    return list(quantize(Job(source, quant, target, name="fake", **job)))


def names_in(folder: Path) -> list[str]:
    """The names in a folder."""
    return sorted(path.name for path in folder.iterdir())

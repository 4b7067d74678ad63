"""What the tests of this side share: a made-up checkpoint, and files made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.pipeline import Job, quantize
from r1_quantize.recipe import Override
from tests.fakes import checkpoints
from tests.fakes.hub import Hub

Make = Callable[..., Path]
Serve = Callable[..., Hub]


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


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a hub that this process's huggingface_hub asks, with an empty cache and no token; it serves tmp_path/hub.

    huggingface_hub reads its environment once, when it is imported, which may be before any hub is there. What it has
    read lies in its `constants`, and is looked up there at every call: there it is changed, and nowhere else.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    def read(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setattr(constants, name, value)

    home = tmp_path / "hf"
    read(HF_HOME=str(home), HF_HUB_CACHE=str(home / "hub"), HF_TOKEN_PATH=str(home / "token"), HF_HUB_OFFLINE=False)
    read(AGENT_HARNESSES_PATH=str(home / "agents.json"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with ExitStack() as started:

        def start(**options: Any) -> Hub:
            hub = started.enter_context(Hub(tmp_path / "hub", **options))
            started.callback(close_session)
            read(ENDPOINT=hub.endpoint, HF_HUB_DISABLE_XET=not hub.xet)
            read(HUGGINGFACE_CO_URL_TEMPLATE=hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}")
            return hub

        yield start


def names_in(folder: Path) -> list[str]:
    """What a folder holds."""
    return sorted(path.name for path in folder.iterdir())

"""A hub with a checkpoint of five shards, and a person who pulls it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.e2e.pull.person import NAMES, REPO, SHAPE, THIRD, Person, Undisturbed, variant
from tests.fakes import checkpoints
from tests.fakes.hub import Hub
from tests.fakes.in_process import run_here


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub's root with a checkpoint of five shards of some megabytes. Tests only read it."""
    root = tmp_path_factory.mktemp("served")
    checkpoints.write(root / REPO, SHAPE, shards=len(NAMES))
    return root


@pytest.fixture(scope="session")
def undisturbed(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What a pull without faults makes and transfers."""
    with Hub(served) as hub:
        person = Person(hub, tmp_path_factory.mktemp("undisturbed"))
        assert person.pull().returncode == 0
        sizes = [(served / REPO / name).stat().st_size for name in NAMES]
        return Undisturbed(digest=person.digest, sent=person.sent, shard=max(sizes), third=sizes[2])


@pytest.fixture
def hub(served: Path) -> Iterator[Hub]:
    with Hub(served) as started:
        yield started


@pytest.fixture
def person(hub: Hub, tmp_path: Path) -> Person:
    (tmp_path / "person").mkdir()
    return Person(hub, tmp_path / "person")


@pytest.fixture(scope="session")
def later(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub's root with the next commit: the third shard is different."""
    return variant(served, tmp_path_factory.mktemp("later"), [THIRD])


@pytest.fixture(scope="session")
def digest_later(later: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a pull of that commit without faults."""
    with Hub(later) as hub:
        person = Person(hub, tmp_path_factory.mktemp("digest-later"))
        assert person.pull().returncode == 0
        return person.digest


@pytest.fixture
def call(environ: dict[str, str]) -> Run:
    """Runs `r1 ARGUMENTS` in this process, with the same signature as the fixture `r1`."""
    return lambda *arguments, **variables: run_here(*arguments, environ={**environ, **variables})

"""One server for all tests of a process that ask it over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import isolated_environ
from tests.e2e.serving import Server, serving


@pytest.fixture(scope="session")
def server(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves `tiny` with four sequences."""
    folder = tmp_path_factory.mktemp("server")
    with serving(isolated_environ(home, folder), folder) as started:
        yield started

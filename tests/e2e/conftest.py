"""One server for all tests of a process that ask it over HTTP."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import isolated_environ
from tests.e2e.serving import Server, serving


@pytest.fixture(scope="session")
def server(home: Path, endless_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves `tiny`, and `endless`, which never ends its turn; four replies at once."""
    folder = tmp_path_factory.mktemp("server")
    models = folder / "home" / "models"
    shutil.copytree(home / "models" / "tiny", models / "tiny")
    (models / "endless").mkdir()
    shutil.copy(endless_path, models / "endless" / "BF16.gguf")
    with serving(isolated_environ(folder / "home", folder), folder, model=None) as started:
        yield started

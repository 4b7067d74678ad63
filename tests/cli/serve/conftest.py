"""The application over the built-in model, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from r1.engine.llama import Stop
from r1.fit.fitted_model import Workload
from r1.loaded_model import LoadedModel
from r1.serve.engine_thread import EngineThread
from r1.serve.model_host import ModelHost
from r1.serve.served_models import ServedModels
from r1.serve.service import Service
from r1.serve.web.access import Access
from r1.serve.web.app import application
from r1.serve.web.journal import Journal, JournalOptions
from r1.serve.web.metrics import Metrics
from r1.settings import Settings
from tests.conftest import isolated_environ
from tests.fakes.consoles import console


@pytest.fixture(scope="module")
def service(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Answers four questions at once, always with the most likely token, and lets eight more wait."""
    settings = Settings(temp=0, threads=1, parallel=4)
    yield from serving(home, tmp_path_factory.mktemp("service"), settings, queue=8)


@pytest.fixture(scope="module")
def app(service: Service) -> Starlette:
    return application(service, Journal(console(), JournalOptions(), Metrics()), Access())


@pytest.fixture(scope="session")
def several(home: Path, endless_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An R1_HOME with `tiny`, `twin`, which is a copy of it, and `endless`, which never ends its turn."""
    folder = tmp_path_factory.mktemp("several")
    for name in ("tiny", "twin"):
        shutil.copytree(home / "models" / "tiny", folder / "models" / name)
    (folder / "models" / "endless").mkdir()
    shutil.copy(endless_path, folder / "models" / "endless" / "BF16.gguf")
    return folder


def serving(home: Path, folder: Path, settings: Settings, queue: int) -> Iterator[Service]:
    """A service over the models in `home`, which ends with the generator."""
    models, stop = ServedModels(isolated_environ(home, folder), "tiny"), Stop()

    def load(name: str) -> LoadedModel:
        path = models.get(name).stored.path
        return LoadedModel(path, settings, stop, name=name, workload=Workload(is_parallel=True))

    engine = EngineThread(ModelHost(load, None), stop, settings.parallel or 1)
    engine.start()
    yield Service(engine, models, settings, queue)
    engine.close()


@pytest.fixture
def narrow(several: Path, tmp_path: Path) -> Iterator[Service]:
    """Answers two questions at once, and lets three more wait; several models."""
    yield from serving(several, tmp_path, Settings(threads=1, parallel=2, max_tokens=400), queue=3)

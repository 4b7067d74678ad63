"""The application over the built-in model, in this process."""

from __future__ import annotations

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
    models = ServedModels(isolated_environ(home, tmp_path_factory.mktemp("service")), "tiny")
    settings, stop = Settings(temp=0, threads=1, parallel=4), Stop()

    def load(name: str) -> LoadedModel:
        path = models.get(name).stored.path
        return LoadedModel(path, settings, stop, name=name, workload=Workload(is_parallel=True))

    engine = EngineThread(ModelHost(load, None), stop)
    engine.start()
    yield Service(engine, models, settings, queue=8)
    engine.close()


@pytest.fixture(scope="module")
def app(service: Service) -> Starlette:
    return application(service, Journal(console(), JournalOptions(), Metrics()), Access())

"""The models that are here, and the one that is loaded."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from r1.fit.needs import Needs
from r1.fit.plan import MemoryPlan
from r1.serve.errors import ApiError
from r1.serve.model_host import Presence
from r1.serve.ollama.api import OLLAMA
from r1.serve.served_models import ServedModel
from r1.serve.web.app import refuse
from r1.settings import Settings
from r1_quantize.store.model import StoredModel
from tests.fakes.ggufs import write_gguf

MODIFIED = 1_700_000_000.0  # 2023-11-14T22:13:20Z
NAME = "mine:Q8_0"


@dataclass
class OneModel:
    """As Service, ServedModels and EngineThread, with one model, which may be loaded."""

    path: Path
    presence: Presence | None = None
    settings: Settings = field(default_factory=lambda: Settings(temp=0.7))

    @property
    def models(self) -> OneModel:
        return self

    @property
    def engine(self) -> OneModel:
        return self

    def all(self) -> list[ServedModel]:
        return [self.get(NAME)]

    def get(self, name: str) -> ServedModel:
        stored = StoredModel("mine", "Q8_0", self.path, self.path.stat().st_size, MODIFIED, None)
        return ServedModel(name, stored)

    async def name_of(self, _: str | None) -> str:
        return NAME


def asked(service: OneModel, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    app = Starlette(routes=OLLAMA.routes, exception_handlers={ApiError: refuse})
    app.state.service = service
    return TestClient(app).request(method, path, json=body)


def running(path: Path, seconds_left: float | None) -> dict[str, Any]:
    plan = MemoryPlan(4096, "f16", 3, Needs(1_000, 500), wanted=4096, fits=True)
    [row] = asked(OneModel(path, Presence(NAME, plan, seconds_left)), "GET", "/api/ps").json()["models"]
    return dict(row)


@pytest.fixture
def odd_path(tmp_path: Path) -> Path:
    """A GGUF whose header has what JSON has no word for."""
    keys = {
        "general.license": "mit",
        "qwen2.context_length": 4096,
        "qwen2.rope.freq_base": math.nan,
        "tokenizer.ggml.tokens": ["a", "b", "c", "d", "e", "f"],
        "general.tags": ["text"],
    }
    tensors = {"token_embd.weight": np.zeros((3, 5), np.float32), "rope_freqs.weight": np.zeros(2, np.float32)}
    return write_gguf(tmp_path / "odd.gguf", "qwen2", keys, tensors)


class TestTags:
    def test_a_row(self, odd_path: Path) -> None:
        [row] = asked(OneModel(odd_path), "GET", "/api/tags").json()["models"]
        assert (row["name"], row["model"]) == (NAME, NAME)
        assert row["modified_at"] == "2023-11-14T22:13:20.000000000Z"
        assert row["size"] == odd_path.stat().st_size
        assert row["capabilities"] == ["completion", "thinking"]
        assert row["details"] == {
            "parent_model": "",
            "format": "gguf",
            "family": "qwen2",
            "families": ["qwen2"],
            "parameter_size": "1.5e-05M",
            "quantization_level": "Q8_0",
            "context_length": 4096,
        }

    def test_a_file_without_a_digest_on_record_has_one_that_changes_with_it(self, odd_path: Path) -> None:
        """Ollama's own client shows the first twelve letters, and fails if there are fewer."""

        def digest() -> str:
            return str(asked(OneModel(odd_path), "GET", "/api/tags").json()["models"][0]["digest"])

        first = digest()
        assert len(first) == 64
        assert digest() == first
        with odd_path.open("ab") as file:
            file.write(b"\0")
        assert digest() != first

    def test_a_damaged_file_is_listed(self, tmp_path: Path) -> None:
        (tmp_path / "no.gguf").write_bytes(b"no GGUF" * 10)
        [row] = asked(OneModel(tmp_path / "no.gguf"), "GET", "/api/tags").json()["models"]
        assert (row["name"], row["details"]["family"], row["details"]["parameter_size"]) == (NAME, "", "")

    def test_no_path_is_told(self, odd_path: Path) -> None:
        service = OneModel(odd_path)
        for response in (asked(service, "GET", "/api/tags"), asked(service, "POST", "/api/show", {"model": "mine"})):
            assert str(odd_path.parent) not in response.text


class TestShow:
    def test_the_facts(self, odd_path: Path) -> None:
        shown = asked(OneModel(odd_path), "POST", "/api/show", {"model": "mine"}).json()
        assert shown["license"] == "mit"
        assert shown["parameters"].split() == ["temperature", "0.7", "top_p", "0.95"]
        info = shown["model_info"]
        assert (info["general.architecture"], info["qwen2.context_length"]) == ("qwen2", 4096)
        assert info["general.parameter_count"] == 15

    def test_a_number_that_is_none_is_null(self, odd_path: Path) -> None:
        response = asked(OneModel(odd_path), "POST", "/api/show", {"name": "mine"})
        assert json.loads(response.text, parse_constant=pytest.fail)["model_info"]["qwen2.rope.freq_base"] is None

    def test_long_arrays_only_for_those_who_want_all(self, odd_path: Path) -> None:
        service = OneModel(odd_path)
        brief = asked(service, "POST", "/api/show", {"model": "mine"}).json()["model_info"]
        full = asked(service, "POST", "/api/show", {"model": "mine", "verbose": True}).json()["model_info"]
        assert (brief["tokenizer.ggml.tokens"], brief["general.tags"]) == ([], ["text"])
        assert full["tokenizer.ggml.tokens"] == ["a", "b", "c", "d", "e", "f"]

    def test_a_name_is_needed(self, odd_path: Path) -> None:
        response = asked(OneModel(odd_path), "POST", "/api/show", {})
        assert (response.status_code, response.json()) == (400, {"error": "model is missing; it is a string"})

    def test_a_damaged_file_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "no.gguf").write_bytes(b"no GGUF" * 10)
        response = asked(OneModel(tmp_path / "no.gguf"), "POST", "/api/show", {"model": "mine"})
        assert response.status_code == 500
        assert list(response.json()) == ["error"]


class TestRunning:
    def test_no_model_is_loaded(self, odd_path: Path) -> None:
        assert asked(OneModel(odd_path), "GET", "/api/ps").json() == {"models": []}

    def test_the_model_and_its_memory(self, odd_path: Path) -> None:
        row = running(odd_path, 60)
        assert (row["name"], row["size"], row["size_vram"], row["context_length"]) == (NAME, 1_500, 500, 4096)
        left = datetime.fromisoformat(row["expires_at"]) - datetime.now(UTC)
        assert 0 < left.total_seconds() <= 60

    def test_a_model_that_stays_expires_in_decades(self, odd_path: Path) -> None:
        left = datetime.fromisoformat(running(odd_path, None)["expires_at"]) - datetime.now(UTC)
        assert left.days > 20 * 366

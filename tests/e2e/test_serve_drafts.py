"""`r1 serve` with a draft model: what its timings say, and models for which it cannot draft."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from r1.serve.web.openapi.openai_objects import SCHEMAS
from tests.conftest import isolated_environ
from tests.e2e.serving import Server, serving

SUM: dict[str, Any] = {"messages": [{"role": "user", "content": "17+25?"}], "temperature": 0, "seed": 1}


def timings(server: Server, **more: object) -> dict[str, Any]:
    answer = httpx.post(f"{server.address}/v1/chat/completions", json={**SUM, **more}, timeout=120, trust_env=False)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["timings"]
    Draft202012Validator(SCHEMAS["OpenAITimings"]).validate(found)
    return found


@pytest.fixture(scope="module")
def models(home: Path, large_path: Path, endless_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An R1_HOME with `tiny`, `large`, for which it can draft, and `endless`, which has another vocabulary."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(home / "models" / "tiny", folder / "models" / "tiny")
    for name, path in (("large", large_path), ("endless", endless_path)):
        (folder / "models" / name).mkdir()
        shutil.copy(path, folder / "models" / name / "F32.gguf")
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with serving(isolated_environ(models, folder), folder, "--draft", "tiny", model=None) as made:
        yield made


def test_the_timings_have_what_was_drafted_as_llama_server_does(server: Server) -> None:
    found = timings(server, model="large")
    assert 0 < found["draft_n_accepted"] <= found["draft_n"]


def test_a_vote_has_them_too(server: Server) -> None:
    assert timings(server, model="large", temperature=0.6, votes=3)["draft_n"] > 0


def test_a_model_for_which_it_cannot_draft_answers_without_it(server: Server) -> None:
    assert "draft_n" not in timings(server, model="endless", max_tokens=4)
    assert "tiny:Q8_0 cannot draft for endless:F32: they have different vocabularies; " in server.stderr()
    assert "answering without a draft model" in server.stderr()
    assert timings(server, model="large")["draft_n"] > 0


def test_without_speculation_there_is_nothing_to_say(models: Path, tmp_path: Path) -> None:
    with serving(isolated_environ(models, tmp_path), tmp_path, "--speculate", "off", model="large") as server:
        assert "draft_n" not in timings(server)


def test_the_only_model_has_to_go_with_it(models: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="tiny:Q8_0 cannot draft for endless:F32: they have different vocab"):
        serving(isolated_environ(models, tmp_path), tmp_path, "--draft", "tiny", model="endless").__enter__()

"""The models that can be asked, as OpenAI's clients see them."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette

from r1.serve.openai.models import model_object
from r1.serve.served_models import ServedModel
from r1_quantize.store.model import StoredModel
from tests.fakes.asgi import ask


def served(path: Path) -> ServedModel:
    return ServedModel("mine", StoredModel("mine", None, path, path.stat().st_size, 1_700_000_000.5, None))


def test_all(app: Starlette) -> None:
    made = ask(app, "GET", "/v1/models").json()
    assert made["object"] == "list"
    assert [(each["id"], each["object"], each["owned_by"]) for each in made["data"]] == [("tiny:Q8_0", "model", "r1")]


@pytest.mark.parametrize("name", ["tiny", "tiny:Q8_0", "tiny:latest"])
def test_one_by_any_of_its_names(app: Starlette, name: str) -> None:
    assert ask(app, "GET", f"/v1/models/{name}").json()["id"] == "tiny:Q8_0"


@pytest.mark.parametrize("name", ["gpt-4o", "deepseek-ai/DeepSeek-R1", "../../etc/passwd", "x" * 5000])
def test_none_is_told_what_there_is(app: Starlette, name: str) -> None:
    answered = ask(app, "GET", f"/v1/models/{name}")
    error = answered.json()["error"]
    assert (answered.status, error["type"], error["code"]) == (404, "not_found_error", "model_not_found")
    assert error["message"].endswith("tiny:Q8_0")


def test_what_a_header_tells(tiny_path: Path) -> None:
    made = model_object(served(tiny_path), None)
    assert (made["id"], made["created"]) == ("mine", 1_700_000_000)
    assert made["context_length"] == made["max_model_len"] == made["meta"]["n_ctx_train"] == 2048
    assert made["meta"]["n_vocab"] == 320
    assert made["meta"]["size"] == tiny_path.stat().st_size


@pytest.mark.parametrize(("ctx", "length"), [(1024, 1024), (4096, 2048)])
def test_the_servers_own_limit_counts(tiny_path: Path, ctx: int, length: int) -> None:
    assert model_object(served(tiny_path), ctx)["context_length"] == length


def test_a_damaged_file_is_listed_without_what_its_header_would_tell(tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 100)
    assert model_object(served(path), None).keys() == {"id", "object", "created", "owned_by"}

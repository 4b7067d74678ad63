"""`r1 pull` with options for quantizing on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.pull.person import MODEL, REPO, Person, error_line
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape
from tests.fakes.hub import Hub
from tests.fakes.in_process import run_here
from tests.fakes.quantizer import write_imatrix


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """The hub has a checkpoint whose pre-tokenizer r1 does not know."""
    folder = checkpoints.write(tmp_path / "hub" / REPO)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "person").mkdir()
    with Hub(tmp_path / "hub") as hub:
        yield Person(hub, tmp_path / "person")


def test_the_advice_about_an_unknown_pretokenizer_works(person: Person) -> None:
    assert "choose one of llama.cpp's with --pretokenizer NAME" in error_line(person.pull())
    assert person.pull(MODEL, "--pretokenizer", "qwen2").returncode == 0
    assert (person.exits, person.manifest.pretokenizer) == ([7, 0], "qwen2")


def test_a_model_with_a_chosen_pretokenizer_can_be_repaired(person: Person) -> None:
    person.pull(MODEL, "--pretokenizer", "qwen2")
    before = person.gguf.read_bytes()
    person.gguf.write_bytes(before[:-5000] + bytes(5000))
    done = run_here("verify", "--repair", MODEL, environ=person.environ)
    assert (done.returncode, person.gguf.read_bytes() == before) == (0, True), done.stderr.decode()


def test_all_options_together(person: Person, tmp_path: Path) -> None:
    imatrix = write_imatrix(tmp_path / "some.imatrix", Shape())
    options = ["--imatrix", str(imatrix), "--tensor-type", "ffn_down=F16", "--tensor-type", "attn_v=q8_0"]
    done = person.pull("qwen-1.5b:Q4_K_M", "--pretokenizer", "qwen2", *options)
    assert done.returncode == 0, done.stderr.decode()
    assert person.manifest.tensor_types == ["ffn_down=F16", "attn_v=Q8_0"]
    assert person.manifest.imatrix_sha256 is not None
    again = person.pull("qwen-1.5b:Q4_K_M", "--tensor-type", "ffn_down=F16")
    assert "already here, but was not made with this --tensor-type" in error_line(again)
    assert person.exits == [0, 2]

"""`r1 pull` of models that are not in the catalogue: their names, and whether r1 can run them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from r1_quantize.pipeline import Job, quantize
from tests.conftest import Run
from tests.e2e.pull.homes import json_events, manifest_of, variables
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape
from tests.fakes.hub import Hub

SMALL = Shape(hidden=32, inner=32, layers=1, heads=1, kv_heads=1)
LACKING = ["<think>", "</think>"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub's root with a checkpoint and a GGUF that lack two control tokens, and a LoRA adapter."""
    root = tmp_path_factory.mktemp("hub")
    other = checkpoints.write(root / "someone" / "Other", SMALL)
    path = other / "tokenizer.json"
    text = path.read_text(encoding="utf-8").replace('"<think>"', '"<plan>"').replace('"</think>"', '"</plan>"')
    path.write_text(text, encoding="utf-8")
    (root / "someone" / "Other-GGUF").mkdir()
    for _ in quantize(Job(other, "Q8_0", root / "someone" / "Other-GGUF" / "other-made-Q8_0.gguf", name="other")):
        pass
    (root / "someone" / "adapter").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (root / "someone" / "adapter" / name).write_bytes(b"{}")
    checkpoints.write(root / "someone" / "tiny", SMALL)
    return root


@pytest.fixture
def hub(served: Path) -> Iterator[Hub]:
    with Hub(served) as started:
        yield started


@pytest.mark.parametrize(("reference", "name"), [("Other:Q8_0", "other"), ("Other-GGUF:Q8_0", "other-made")])
def test_a_model_that_r1_cannot_run(call: Run, hub: Hub, tmp_path: Path, reference: str, name: str) -> None:
    """It is known before anything large is fetched, recorded, said at the end, and the model is never the default."""
    away = variables(hub, tmp_path)
    reference = f"hf:someone/{reference}"
    dry = call("pull", reference, "--dry-run", **away)
    assert "vocabulary lacks <think>, </think>" in " ".join(dry.stdout.decode().split())
    plan = json_events(call("pull", reference, "--dry-run", "--json", **away).stdout)[0]
    assert (plan["event"], plan["missing_tokens"]) == ("plan", LACKING)
    done = call("pull", reference, **away)
    assert done.returncode == 0
    model = name if "GGUF" not in reference else "other"
    assert done.stderr.decode().splitlines()[-1].startswith(f"r1: {model}:Q8_0: r1 cannot run it")
    assert manifest_of(away, model)["missing_tokens"] == LACKING
    answer = call("run", "--temp", "0", "What is 17 + 25?", **away)
    assert (answer.returncode, rb"\boxed{42}" in answer.stdout) == (0, True)


def test_a_name_of_the_catalogue_is_refused_before_the_hub_is_asked(call: Run, hub: Hub, tmp_path: Path) -> None:
    away = variables(hub, tmp_path)
    refused = call("pull", "hf:someone/tiny:Q8_0", **away)
    assert (refused.returncode, hub.requests) == (2, {})
    assert b"hf:someone/tiny:Q8_0 is not R1 Tiny, whose name is tiny; choose another name with --name" in refused.stderr
    assert call("pull", "hf:someone/tiny:Q8_0", "--name", "mine", **away).returncode == 0
    assert json.loads(call("show", "mine", "--json", **away).stdout)["source"] == "someone/tiny"
    again = call("pull", "hf:someone/tiny:Q8_0", "--name", "mine", **away)
    assert again.stdout.startswith(b"mine:Q8_0\t")


def test_an_adapter_is_called_what_it_is(call: Run, hub: Hub, tmp_path: Path) -> None:
    done = call("pull", "hf:someone/adapter", **variables(hub, tmp_path))
    assert (done.returncode, done.stderr.count(b"\n")) == (4, 1)
    assert b"it has a LoRA adapter, not a model; merge it into its base model first" in done.stderr

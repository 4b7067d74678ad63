"""`r1 pull` against a hub on loopback: real HTTP, the real client, a real checkpoint."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import r1_quantize
from tests.conftest import Run
from tests.fakes.hub import COMMIT, Hub

TINY = Path(r1_quantize.__path__[0]) / "tiny"
REPO = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that serves tiny's checkpoint under the name of a large one."""
    shutil.copytree(TINY, tmp_path / "hub" / REPO)
    (tmp_path / "hub" / REPO / "pytorch_model.bin").write_bytes(b"a pickle")
    with Hub(tmp_path / "hub") as served:
        yield served


@pytest.fixture
def away(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """The variables of somebody who uses that hub, with an empty home and an empty cache."""
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "R1_HOME": str(tmp_path / "own"),
        "HF_HUB_DISABLE_XET": "1",
    }


class TestPull:
    """One command, and the model is here."""

    def test_the_model_answers_afterwards_without_the_hub(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        done = r1("pull", "qwen-1.5b:Q8_0", **away)
        assert (done.returncode, done.stdout.decode().split("\t")[0]) == (0, "qwen-1.5b:Q8_0")
        before = hub.requests.total()
        answer = r1("run", "--temp", "0", "What is 17 + 25?", **away)  # what was pulled last is the default
        assert rb"\boxed{42}" in answer.stdout
        assert hub.requests.total() == before

    def test_the_manifest_pins_the_commit_and_every_file(self, r1: Run, away: dict[str, str]) -> None:
        r1("pull", "qwen-1.5b:Q8_0", **away)
        manifest = json.loads((Path(away["R1_HOME"]) / "models" / "qwen-1.5b" / "Q8_0.json").read_bytes())
        assert (manifest["source"], manifest["revision"]) == (REPO, COMMIT)
        weights = hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest()
        assert manifest["source_sha256"]["model.safetensors"] == weights

    def test_pickles_are_never_asked_for(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        r1("pull", "qwen-1.5b:Q8_0", **away)
        assert not [request for request in hub.requests if "pytorch_model.bin" in request]

    def test_what_is_here_already_opens_no_connection(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        r1("pull", "qwen-1.5b:Q8_0", **away)
        before = hub.requests.total()
        again = r1("pull", "qwen-1.5b:Q8_0", **away)
        assert (again.returncode, again.stdout.decode().split("\t")[0]) == (0, "qwen-1.5b:Q8_0")
        assert hub.requests.total() == before

    def test_another_quantization_needs_no_second_download(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        r1("pull", "qwen-1.5b:Q8_0", **away)
        hub.refuse = 500
        done = r1("quantize", "qwen-1.5b", "-t", "BF16", **away)
        assert done.returncode == 0
        assert hub.sent["model.safetensors"] == (TINY / "model.safetensors").stat().st_size

    def test_a_connection_that_breaks_in_the_middle_leaves_a_whole_model_in_the_end(
        self, r1: Run, hub: Hub, away: dict[str, str]
    ) -> None:
        hub.cut_after = 2_000_000
        done = r1("pull", "qwen-1.5b:Q8_0", **away)
        assert done.returncode == 0
        assert hub.cut_after is None  # it did break
        assert r1("verify", "qwen-1.5b:Q8_0", **away).returncode == 0
        undisturbed = hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest()
        manifest = json.loads((Path(away["R1_HOME"]) / "models" / "qwen-1.5b" / "Q8_0.json").read_bytes())
        assert manifest["source_sha256"]["model.safetensors"] == undisturbed


class TestFailures:
    """The network's failures are one line and exit 6; what cannot be used is refused before the weights."""

    def test_a_hub_that_is_down(self, r1: Run, away: dict[str, str]) -> None:
        nobody = {**away, "HF_ENDPOINT": "http://127.0.0.1:9"}
        done = r1("pull", "qwen-1.5b", **nobody)
        assert (done.returncode, done.stderr.count(b"\n")) == (6, 1)
        assert b"running it again resumes" in done.stderr

    def test_offline_by_choice(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        done = r1("pull", "qwen-1.5b", HF_HUB_OFFLINE="1", **away)
        assert (done.returncode, done.stderr.count(b"\n"), hub.requests.total()) == (6, 1, 0)
        assert b"HF_HUB_OFFLINE" in done.stderr

    def test_a_checkpoint_that_is_not_what_the_catalogue_says_costs_only_its_small_files(
        self, r1: Run, hub: Hub, away: dict[str, str]
    ) -> None:
        (hub.root / REPO / "config.json").write_text('{"architectures": ["NoSuchForCausalLM"]}', encoding="utf-8")
        done = r1("pull", "qwen-1.5b", **away)
        assert (done.returncode, done.stderr.count(b"\n")) == (7, 1)
        assert b"NoSuchForCausalLM is not known" in done.stderr
        assert hub.sent["model.safetensors"] == 0

    def test_a_name_that_nobody_knows(self, r1: Run, away: dict[str, str]) -> None:
        done = r1("pull", "gpt-4", **away)
        assert (done.returncode, done.stderr.count(b"\n")) == (4, 1)

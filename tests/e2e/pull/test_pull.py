"""`r1 pull` of small models from a hub on loopback: real HTTP, the real client."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from r1_quantize.pipeline import Job, quantize
from tests.conftest import R1, Run, own_environ
from tests.e2e.pull.homes import (
    CAN_UNSHARE,
    PREBUILT,
    json_events,
    left_over,
    manifest_of,
    model_of,
    overwrite,
    size_of,
    variables,
)
from tests.e2e.pull.person import REPO, TIMEOUT_S
from tests.e2e.terminal import Terminal
from tests.fakes import splits
from tests.fakes.hub import COMMIT, Fault, Hub
from tests.fakes.paths import TINY

TINY_FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that serves tiny's checkpoint under the name of a large one."""
    with Hub(serve_tiny(tmp_path / "hub")) as served:
        yield served


def serve_tiny(root: Path) -> Path:
    shutil.copytree(TINY, root / REPO)
    (root / REPO / "pytorch_model.bin").write_bytes(b"a pickle")
    return root


@pytest.fixture
def away(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """The environment of a person who uses that hub, with an empty home and an empty cache."""
    return variables(hub, tmp_path)


@dataclass(frozen=True)
class Pulled:
    """A hub, and the environment of a person who has pulled tiny's checkpoint from it."""

    hub: Hub
    away: dict[str, str]
    done: subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulled]:
    """One pull, by a process of its own, for all tests of its result."""
    folder = tmp_path_factory.mktemp("pulled")
    with Hub(serve_tiny(folder / "hub")) as hub:
        away = {**variables(hub, folder), "XDG_CONFIG_HOME": str(folder / "config"), "HOME": str(folder)}
        command = [*R1, "pull", "qwen-1.5b:Q8_0"]
        done = subprocess.run(
            command, env={**own_environ(), **away}, capture_output=True, timeout=TIMEOUT_S, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        yield Pulled(hub, away, done)


class TestPull:
    """One command, and the model is in the store."""

    def test_the_model_answers_afterwards_without_the_hub(self, r1: Run, pulled: Pulled) -> None:
        assert (pulled.done.returncode, pulled.done.stdout.decode().split("\t")[0]) == (0, "qwen-1.5b:Q8_0")
        before = pulled.hub.requests.total()
        answer = r1("run", "--temp", "0", "What is 17 + 25?", **pulled.away)  # the model pulled last is the default
        assert rb"\boxed{42}" in answer.stdout
        assert pulled.hub.requests.total() == before

    @pytest.mark.skipif(not CAN_UNSHARE, reason="network namespaces are not available here")
    def test_the_model_answers_without_a_network(self, pulled: Pulled, environ: dict[str, str]) -> None:
        for arguments in (["run", "--temp", "0", "--no-stdin", "What is 17 + 25?"], ["verify", "qwen-1.5b"], ["list"]):
            command = ["unshare", "-rn", *R1, *arguments]
            env = {**environ, **pulled.away}
            done = subprocess.run(command, env=env, capture_output=True, timeout=TIMEOUT_S, check=False)
            assert (done.returncode, done.stderr) == (0, b"")
        assert b"qwen-1.5b:Q8_0" in done.stdout

    def test_the_manifest_records_the_commit_and_every_file(self, pulled: Pulled) -> None:
        manifest = manifest_of(pulled.away)
        assert (manifest["source"], manifest["revision"]) == (REPO, COMMIT)
        assert manifest["source_sha256"] == {
            name: hashlib.sha256((TINY / name).read_bytes()).hexdigest() for name in TINY_FILES
        }

    def test_pickles_are_never_requested(self, pulled: Pulled) -> None:
        assert not [request for request in pulled.hub.requests if "pytorch_model.bin" in request]

    def test_nothing_else_is_requested(self, pulled: Pulled) -> None:
        paths = {request.partition(" ")[2] for request in pulled.hub.requests}
        assert paths
        assert all(path.startswith((f"api/models/{REPO}", f"{REPO}/resolve/{COMMIT}/")) for path in paths)

    def test_every_byte_is_downloaded_once(self, pulled: Pulled) -> None:
        assert pulled.hub.sent
        assert dict(pulled.hub.sent) == {name: size_of(TINY / name) for name in pulled.hub.sent}

    def test_a_second_pull_opens_no_connection(self, call: Run, pulled: Pulled) -> None:
        before = pulled.hub.requests.total()
        again = call("pull", "qwen-1.5b:Q8_0", **pulled.away)
        assert (again.returncode, again.stdout.decode().split("\t")[0]) == (0, "qwen-1.5b:Q8_0")
        assert pulled.hub.requests.total() == before

    def test_nothing_of_the_checkpoint_stays(self, pulled: Pulled) -> None:
        assert model_of(pulled.away).exists()
        assert left_over(pulled.away) == []
        assert not list(Path(pulled.away["R1_HOME"]).rglob("*.safetensors*"))


class TestOutput:
    """The plan and the progress, in words and for scripts; from processes, as libraries may write to descriptor 2."""

    def test_a_dry_run_in_words(self, r1: Run, away: dict[str, str]) -> None:
        done = r1("pull", "qwen-1.5b:Q8_0", "--dry-run", **away)
        first, *rest = done.stdout.decode().splitlines()
        assert (done.returncode, done.stderr) == (0, b"")
        assert (first, rest[0].split()) == ("qwen-1.5b:Q8_0", ["from", f"{REPO},", "commit", COMMIT[:12]])
        assert [line.split()[0] for line in rest] == ["from", "download", "disk", "memory", "this", "licence"]
        assert max(map(len, rest)) <= 80

    def test_events_are_a_json_object_a_line(self, r1: Run, away: dict[str, str]) -> None:
        done = r1("pull", "qwen-1.5b:Q8_0", "--json", **away)
        events = json_events(done.stdout)
        assert (done.returncode, done.stderr) == (0, b"")
        assert events[0]["event"] == "plan"
        assert {"event": "arrived", "file": "model.safetensors", "bytes": size_of(TINY / "model.safetensors")} in events
        size = model_of(away).stat().st_size
        path = str(model_of(away))
        result = {"reference": "qwen-1.5b:Q8_0", "path": path, "bytes": size, "missing_tokens": []}
        assert events[-1] == {"event": "finished", **result}

    def test_quiet_prints_the_result_alone(self, r1: Run, away: dict[str, str]) -> None:
        done = r1("pull", "qwen-1.5b:Q8_0", "-q", **away)
        model = model_of(away)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.decode() == f"qwen-1.5b:Q8_0\t{size_of(model)}\t{model}\n"

    @pytest.mark.parametrize("columns", [40, 80, 200])
    def test_on_a_terminal_one_line_is_updated(
        self, hub: Hub, away: dict[str, str], environ: dict[str, str], columns: int
    ) -> None:
        hub.faults = [Fault("*model.safetensors", "drip", times=-1, seconds=0.02, piece=1 << 16)]
        with Terminal(
            [*R1, "pull", "qwen-1.5b:Q8_0"], {**environ, **away, "COLUMNS": str(columns), "HF_HUB_DISABLE_XET": "1"}
        ) as terminal:
            shown = terminal.read_to_end()
            assert terminal.status == 0
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
        assert re.search(r"[\d.]+ of 5(\.\d+)? MB · [\d.]+ [kM]B/s", text)
        updates = [line for line in re.split(r"[\r\n]+", text) if "B/s" in line]
        assert all(len(line) <= columns for line in updates)
        assert f"{REPO},commit{COMMIT[:12]}" in "".join(text.split())


class TestGGUF:
    """A ready-made GGUF is downloaded without changing it."""

    @pytest.fixture
    def made(self, tmp_path: Path) -> Path:
        """tiny as a published GGUF."""
        target = tmp_path / "DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M.gguf"
        for _ in quantize(Job(TINY, "Q4_K_M", target, "Somebody's")):
            pass
        return target

    @pytest.fixture
    def published(self, hub: Hub, made: Path) -> Path:
        folder = hub.root / PREBUILT
        folder.mkdir(parents=True)
        shutil.copy(made, folder)
        return folder / made.name

    def test_the_catalogues_prebuilt_one(
        self, r1: Run, call: Run, hub: Hub, away: dict[str, str], published: Path
    ) -> None:
        done = call("pull", "qwen-1.5b:Q4_K_M", "--prebuilt", **away)
        assert (done.returncode, done.stdout.decode().split("\t")[0]) == (0, "qwen-1.5b:Q4_K_M")
        assert model_of(away, quant="Q4_K_M").read_bytes() == published.read_bytes()
        assert hub.sent == {published.name: published.stat().st_size}
        manifest = manifest_of(away, quant="Q4_K_M")
        assert (manifest["source"], manifest["revision"]) == (PREBUILT, COMMIT)
        assert manifest["source_sha256"] == {published.name: hashlib.sha256(published.read_bytes()).hexdigest()}
        assert call("verify", "qwen-1.5b", **away).returncode == 0
        assert rb"\boxed{42}" in r1("run", "--temp", "0", "What is 17 + 25?", **away).stdout
        assert left_over(away) == []

    def test_any_other_by_its_file_name(self, call: Run, hub: Hub, away: dict[str, str], published: Path) -> None:
        folder = hub.root / "some-body" / "Their_Model-GGUF" / "sub"
        folder.mkdir(parents=True)
        shutil.copy(published, folder / "Their Model-IQ4_XS.gguf")
        done = call("pull", "hf:some-body/Their_Model-GGUF/sub/Their Model-IQ4_XS.gguf", **away)
        assert (done.returncode, done.stdout.decode().split("\t")[0]) == (0, "their-model:IQ4_XS")
        assert model_of(away, "their-model", "IQ4_XS").read_bytes() == published.read_bytes()

    def test_a_repository_alone_means_its_checkpoint(self, r1: Run, call: Run, hub: Hub, away: dict[str, str]) -> None:
        shutil.copytree(TINY, hub.root / "some-body" / "Fine-Tune")
        done = call("pull", "hf:some-body/Fine-Tune:Q8_0", **away)
        assert (done.returncode, done.stdout.decode().split("\t")[0]) == (0, "fine-tune:Q8_0")
        assert rb"\boxed{42}" in r1("run", "--temp", "0", "What is 17 + 25?", **away).stdout

    def test_the_parts_of_a_split_one_become_one_file(
        self, call: Run, hub: Hub, away: dict[str, str], made: Path
    ) -> None:
        folder = hub.root / "some-body" / "Parts-GGUF" / made.stem
        folder.mkdir(parents=True)
        parts = splits.split(made, folder, 15)
        assert len(parts) > 2
        reference = f"hf:some-body/Parts-GGUF/{made.stem}/{parts[1].name}"  # any part of it
        done = call("pull", reference, **away)
        assert (done.returncode, done.stdout.decode().split("\t")[0]) == (0, "deepseek-r1-distill-qwen-1.5b:Q4_K_M")
        model = model_of(away, "deepseek-r1-distill-qwen-1.5b", "Q4_K_M")
        assert model.read_bytes() == made.read_bytes()  # its tensors are in llama.cpp's order already
        assert call("verify", "deepseek-r1-distill-qwen-1.5b", **away).returncode == 0
        assert left_over(away) == []

    def test_an_unpublished_type_is_refused_with_the_published_ones(
        self, call: Run, away: dict[str, str], published: Path
    ) -> None:
        done = call("pull", "qwen-1.5b:Q6_K", "--prebuilt", **away)
        assert (done.returncode, done.stderr.count(b"\n")) == (4, 1)
        assert b"it has Q4_K_M" in done.stderr

    def test_an_invalid_one_is_refused_before_all_of_it_is_downloaded(
        self, call: Run, hub: Hub, away: dict[str, str], published: Path
    ) -> None:
        published.write_bytes(b"<html>" * 4_000_000)
        done = call("pull", "qwen-1.5b", "--prebuilt", **away)
        assert (done.returncode, done.stderr.count(b"\n")) == (7, 1)
        assert hub.sent[published.name] < published.stat().st_size / 2
        assert not list(Path(away["R1_HOME"]).rglob("*.gguf"))


class TestRepair:
    """`verify --repair` downloads only the damaged parts."""

    def test_of_a_prebuilt_gguf_only_the_damaged_range_is_downloaded(
        self, call: Run, hub: Hub, away: dict[str, str], tmp_path: Path
    ) -> None:
        folder = hub.root / PREBUILT
        folder.mkdir(parents=True)
        published = folder / "model-BF16.gguf"
        for _ in quantize(Job(TINY, "BF16", published, "Somebody's")):
            pass
        call("pull", "qwen-1.5b:BF16", "--prebuilt", **away)
        model = model_of(away, quant="BF16")
        original = model.read_bytes()
        overwrite(model, len(original) - 100_000)
        hub.sent.clear()
        done = call("verify", "qwen-1.5b:BF16", "--repair", **away)
        assert done.returncode == 0
        assert model.read_bytes() == original == published.read_bytes()
        assert hub.sent[published.name] < len(original)

    def test_an_undamaged_model_opens_no_connection(self, call: Run, hub: Hub, away: dict[str, str]) -> None:
        call("pull", "qwen-1.5b:Q8_0", **away)
        before = hub.requests.total()
        assert call("verify", "qwen-1.5b:Q8_0", "--repair", **away).returncode == 0
        assert hub.requests.total() == before


class TestFailures:
    """A failure of the network is one line and exit 6; unusable input is refused before any weights are downloaded."""

    def test_a_hub_that_is_down(self, r1: Run, away: dict[str, str]) -> None:
        unreachable = {**away, "HF_ENDPOINT": "http://127.0.0.1:9"}
        done = r1("pull", "qwen-1.5b", "-q", **unreachable)
        assert (done.returncode, done.stderr.count(b"\n")) == (6, 1)
        assert done.stderr.startswith(b"r1: cannot reach the hub (3 attempts: ")
        assert done.stderr.endswith(b"); run it again to resume\n")

    def test_offline_mode(self, call: Run, hub: Hub, away: dict[str, str]) -> None:
        done = call("pull", "qwen-1.5b", HF_HUB_OFFLINE="1", **away)
        assert (done.returncode, done.stderr.count(b"\n"), hub.requests.total()) == (6, 1, 0)
        assert b"HF_HUB_OFFLINE" in done.stderr

    @pytest.mark.skipif(not CAN_UNSHARE, reason="network namespaces are not available here")
    def test_offline_mode_does_not_even_open_a_socket(self, away: dict[str, str], environ: dict[str, str]) -> None:
        code = (
            "import socket, sys\n"
            "class Never(socket.socket):\n"
            "    def __init__(self, *a, **k): print('a socket', file=sys.stderr); sys.stderr.flush()\n"
            "socket.socket = Never\n"
            "sys.argv = ['r1', 'pull', 'qwen-1.5b']\n"
            "from r1.__main__ import main\n"
            "main()\n"
        )
        env = {**environ, **away, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, timeout=TIMEOUT_S, check=False
        )
        assert (done.returncode, b"a socket" in done.stderr) == (6, False)

    def test_an_unsupported_checkpoint_costs_only_its_small_files(
        self, call: Run, hub: Hub, away: dict[str, str]
    ) -> None:
        (hub.root / REPO / "config.json").write_text('{"architectures": ["NoSuchForCausalLM"]}', encoding="utf-8")
        done = call("pull", "qwen-1.5b", **away)
        assert (done.returncode, done.stderr.count(b"\n")) == (7, 1)
        assert b"unknown architecture NoSuchForCausalLM" in done.stderr
        assert hub.sent["model.safetensors"] <= 1 << 18

    @pytest.mark.parametrize(
        ("reference", "status"),
        [
            ("gpt-4", 4),
            ("qwen-1.5b:Q9", 2),
            ("hf:nobody", 2),
            ("hf:a/b/c.bin", 2),
            ("hf:../../etc", 2),
            ("hf:a/../b.gguf", 2),
            ("hf:some-body/nothing-here", 4),
            ("", 4),
        ],
    )
    def test_an_invalid_name(self, call: Run, away: dict[str, str], reference: str, status: int) -> None:
        done = call("pull", reference, **away)
        assert (done.returncode, done.stderr.count(b"\n")) == (status, 1)
        assert not Path(away["R1_HOME"]).exists()

    def test_no_name(self, call: Run, away: dict[str, str]) -> None:
        done = call("pull", **away)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)

"""`r1 pull` against a hub on loopback: real HTTP, the real client, real checkpoints."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.pipeline import Job, quantize
from tests.conftest import R1, Run
from tests.e2e.terminal import Terminal
from tests.fakes import checkpoints, splits
from tests.fakes.hub import COMMIT, Fault, Hub
from tests.fakes.paths import TINY

OWNER = "deepseek-ai"
TINY_FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
REPO = f"{OWNER}/DeepSeek-R1-Distill-Qwen-1.5B"
PREBUILT = "bartowski/DeepSeek-R1-Distill-Qwen-1.5B-GGUF"
SHARDED = checkpoints.Shape(hidden=256, inner=1024, layers=8, vocab=1024)
CAN_UNSHARE = subprocess.run(["unshare", "-rmn", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that serves tiny's checkpoint under the name of a large one."""
    shutil.copytree(TINY, tmp_path / "hub" / REPO)
    (tmp_path / "hub" / REPO / "pytorch_model.bin").write_bytes(b"a pickle")
    with Hub(tmp_path / "hub") as served:
        yield served


@pytest.fixture(scope="session")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a hub whose checkpoint is in eight shards."""
    root = tmp_path_factory.mktemp("sharded")
    checkpoints.write(root / REPO, SHARDED, shards=8)
    return root


@pytest.fixture(scope="session")
def from_disk(sharded: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What quantizing that checkpoint from the disk makes."""
    target = tmp_path_factory.mktemp("from-disk") / "a.gguf"
    for _ in quantize(Job(sharded / REPO, "Q4_K_M", target, "qwen-1.5b", catalog.load()["qwen-1.5b"])):
        pass
    return target.read_bytes()


def variables(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """Those of somebody who uses that hub, with an empty home and an empty cache."""
    return {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "R1_HOME": str(tmp_path / "own")}


@pytest.fixture
def away(hub: Hub, tmp_path: Path) -> dict[str, str]:
    return variables(hub, tmp_path)


def manifest_of(away: dict[str, str], name: str = "qwen-1.5b", quant: str = "Q8_0") -> dict[str, object]:
    found = json.loads((Path(away["R1_HOME"]) / "models" / name / f"{quant}.json").read_bytes())
    assert isinstance(found, dict)
    return found


def model_of(away: dict[str, str], name: str = "qwen-1.5b", quant: str = "Q8_0") -> Path:
    return Path(away["R1_HOME"]) / "models" / name / f"{quant}.gguf"


def left_over(away: dict[str, str]) -> list[str]:
    """Whatever lies in R1_HOME and is neither a model with its manifest nor a lock."""
    home = Path(away["R1_HOME"])
    files = (path for path in home.rglob("*") if path.is_file() and path.suffix not in {".lock", ".gguf", ".json"})
    return [path.relative_to(home).as_posix() for path in files if path.name != ".lock"]


class TestPull:
    """One command, and the model is here."""

    def test_the_model_answers_afterwards_without_the_hub(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        done = r1("pull", "qwen-1.5b:Q8_0", **away)
        assert (done.returncode, done.stdout.decode().split("\t")[0]) == (0, "qwen-1.5b:Q8_0")
        before = hub.requests.total()
        answer = r1("run", "--temp", "0", "What is 17 + 25?", **away)  # what was pulled last is the default
        assert rb"\boxed{42}" in answer.stdout
        assert hub.requests.total() == before

    @pytest.mark.skipif(not CAN_UNSHARE, reason="this machine lets nobody make a network namespace")
    def test_it_answers_without_a_network_namespace(
        self, r1: Run, away: dict[str, str], environ: dict[str, str]
    ) -> None:
        r1("pull", "qwen-1.5b:Q8_0", **away)
        for arguments in (["run", "--temp", "0", "--no-stdin", "What is 17 + 25?"], ["verify", "qwen-1.5b"], ["list"]):
            command = ["unshare", "-rn", *R1, *arguments]
            done = subprocess.run(command, env={**environ, **away}, capture_output=True, timeout=60, check=False)
            assert (done.returncode, done.stderr) == (0, b"")
        assert b"qwen-1.5b:Q8_0" in done.stdout

    def test_the_manifest_pins_the_commit_and_every_file(self, r1: Run, away: dict[str, str]) -> None:
        r1("pull", "qwen-1.5b:Q8_0", **away)
        manifest = manifest_of(away)
        assert (manifest["source"], manifest["revision"]) == (REPO, COMMIT)
        assert manifest["source_sha256"] == {
            name: hashlib.sha256((TINY / name).read_bytes()).hexdigest() for name in TINY_FILES
        }

    def test_pickles_are_never_asked_for(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        r1("pull", "qwen-1.5b:Q8_0", **away)
        assert not [request for request in hub.requests if "pytorch_model.bin" in request]

    def test_nobody_is_told_anything_but_what_is_wanted(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        r1("pull", "qwen-1.5b:Q8_0", **away)
        paths = {request.partition(" ")[2] for request in hub.requests}
        assert all(path.startswith((f"api/models/{REPO}", f"{REPO}/resolve/{COMMIT}/")) for path in paths)

    def test_every_byte_is_fetched_once(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        r1("pull", "qwen-1.5b:Q8_0", **away)
        assert dict(hub.sent) == {name: (TINY / name).stat().st_size for name in hub.sent}

    def test_what_is_here_already_opens_no_connection(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        r1("pull", "qwen-1.5b:Q8_0", **away)
        before = hub.requests.total()
        again = r1("pull", "qwen-1.5b:Q8_0", **away)
        assert (again.returncode, again.stdout.decode().split("\t")[0]) == (0, "qwen-1.5b:Q8_0")
        assert hub.requests.total() == before

    def test_nothing_of_the_checkpoint_stays(self, r1: Run, away: dict[str, str]) -> None:
        r1("pull", "qwen-1.5b:Q8_0", **away)
        assert left_over(away) == []
        assert not list(Path(away["R1_HOME"]).rglob("*.safetensors*"))


class TestStreaming:
    """Shard by shard, into a result that is the same as from the disk."""

    def test_the_bytes_are_those_of_the_whole_checkpoint_on_disk(
        self, r1: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            assert r1("pull", "qwen-1.5b", **away).returncode == 0
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk

    def test_whatever_the_order_in_which_shards_come(
        self, r1: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        """What is here already is taken first: some of the shards are in the Hugging Face cache."""
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            names = [f"model-0000{number}-of-00008.safetensors" for number in (7, 3, 4)]
            _put_into_cache(hub, away, names)
            hub.sent.clear()
            assert r1("pull", "qwen-1.5b", **away).returncode == 0
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk
            assert not hub.sent.keys() & set(names)

    @pytest.mark.skipif(not CAN_UNSHARE, reason="this machine lets nobody mount a small disk")
    @pytest.mark.parametrize(("shards", "at_once"), [(2, 2), (1, 1)])
    def test_on_a_disk_that_holds_the_result_and_two_shards_or_one_but_not_the_checkpoint(
        self, sharded: Path, from_disk: bytes, environ: dict[str, str], tmp_path: Path, shards: int, at_once: int
    ) -> None:
        sizes = sorted((path.stat().st_size for path in (sharded / REPO).glob("*.safetensors")), reverse=True)
        room = len(from_disk) + sum(sizes[:shards]) + _BESIDE
        assert room < sum(sizes)
        with Hub(sharded) as hub:
            done, facts = _pull_on_small_disk(hub, room, environ, tmp_path)
        assert done.returncode == 0, done.stderr
        assert facts["digest"] == hashlib.sha256(from_disk).hexdigest()
        (plan,) = [event for event in _events(done.stdout) if event["event"] == "plan"]
        assert plan["shards_at_once"] == at_once
        assert int(str(facts["peak"])) <= int(str(plan["peak_disk_bytes"])) + _BESIDE

    @pytest.mark.skipif(not CAN_UNSHARE, reason="this machine lets nobody mount a small disk")
    def test_a_disk_that_is_too_small_is_refused_before_a_shard_is_fetched(
        self, sharded: Path, from_disk: bytes, environ: dict[str, str], tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            done, _ = _pull_on_small_disk(hub, len(from_disk), environ, tmp_path)
            large = {name: count for name, count in hub.sent.items() if name.endswith(".safetensors")}
        assert done.returncode == 5
        line = done.stderr.decode().strip().splitlines()[-1]
        assert re.search(r"takes [\d.]+ MB of the disk .* [\d.]+ MB are free .* [\d.]+ [kM]B are missing; ", line)
        assert re.search(r"; (qwen-1\.5b:\w+ would fit|no checkpoint of the catalogue would fit|--prebuilt .*)$", line)
        assert max(large.values()) <= 1 << 18  # no more than what says what is in them


_BESIDE = 4_000_000
"""Bytes that the small files, the beginnings of the shards, journals and the file system take."""


def _put_into_cache(hub: Hub, away: dict[str, str], names: list[str]) -> None:
    """As huggingface_hub itself does it."""
    code = (
        f"from huggingface_hub import snapshot_download; snapshot_download({REPO!r}, allow_patterns={names!r}); "
        f"snapshot_download({REPO!r}, allow_patterns=['*.json'])"
    )
    environ = {"PATH": "/usr/bin:/bin", **away, "HF_HUB_DISABLE_XET": "1"}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True)


def _pull_on_small_disk(
    hub: Hub, size: int, environ: dict[str, str], tmp_path: Path
) -> tuple[subprocess.CompletedProcess[bytes], dict[str, object]]:
    """`r1 pull` with R1_HOME on a disk of its own; and how much of that was taken at most, looked at all the time."""
    disk = tmp_path / "disk"
    disk.mkdir()
    code = (
        "import hashlib, json, os, pathlib, subprocess, sys, time\n"
        "disk, report, *command = sys.argv[1:]\n"
        "process, peak = subprocess.Popen(command, env={**os.environ, 'R1_HOME': disk}), 0\n"
        "while process.poll() is None:\n"
        "    status = os.statvfs(disk)\n"
        "    peak = max(peak, (status.f_blocks - status.f_bfree) * status.f_frsize)\n"
        "    time.sleep(0.002)\n"
        "models = list(pathlib.Path(disk).glob('models/*/*.gguf'))\n"
        "digest = hashlib.sha256(models[0].read_bytes()).hexdigest() if models else None\n"
        "pathlib.Path(report).write_text(json.dumps({'peak': peak, 'digest': digest}))\n"
        "sys.exit(process.returncode)\n"
    )
    script = f'mount -t tmpfs -o size={size} none "$1" && exec "$0" -c "$2" "$1" "$3" "$0" -m r1 pull qwen-1.5b --json'
    report = tmp_path / "report.json"
    command = ["unshare", "-rm", "sh", "-c", script, sys.executable, str(disk), code, str(report)]
    env = {**environ, **variables(hub, tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, timeout=120, check=False)
    return done, json.loads(report.read_text(encoding="utf-8"))


def _events(stdout: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in stdout.splitlines()]


class TestPlan:
    """What it will do is known before anything large is fetched."""

    def test_a_dry_run_says_it_all_and_leaves_nothing(
        self, r1: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            done = r1("pull", "qwen-1.5b", "--dry-run", "--json", **away)
            assert not Path(away["R1_HOME"]).exists()
            large = {name: count for name, count in hub.sent.items() if name.endswith(".safetensors")}
        assert max(large.values()) <= 1 << 18
        (plan,) = _events(done.stdout)
        sizes = {path.name: path.stat().st_size for path in (sharded / REPO).glob("*.safetensors")}
        assert (plan["reference"], plan["repo"], plan["revision"]) == ("qwen-1.5b:Q4_K_M", REPO, COMMIT)
        assert plan["files"] == [{"name": name, "bytes": size, "here": 0} for name, size in sorted(sizes.items())]
        assert (plan["bytes_to_fetch"], plan["result_bytes"]) == (sum(sizes.values()), len(from_disk))
        assert plan["peak_disk_bytes"] == len(from_disk) + sum(sorted(sizes.values())[-2:])
        assert plan["licences"] == ["MIT", "Apache-2.0 (Qwen2.5-Math-1.5B)"]
        kv_bytes = 2 * 2 * SHARDED.layers * SHARDED.kv_heads * SHARDED.hidden // SHARDED.heads  # K and V, F16
        memory = plan["memory_bytes"]
        assert isinstance(memory, dict)
        mask = 2 * 128  # bytes a token, for the 128 tokens that are prefilled at a time
        assert memory["32768"] - memory["4096"] == (kv_bytes + mask) * (32768 - 4096)

    def test_in_words_on_stdout(self, r1: Run, away: dict[str, str]) -> None:
        done = r1("pull", "qwen-1.5b:Q8_0", "--dry-run", **away)
        first, *rest = done.stdout.decode().splitlines()
        assert (done.returncode, done.stderr) == (0, b"")
        assert (first, rest[0].split()) == ("qwen-1.5b:Q8_0", ["from", f"{REPO},", "commit", COMMIT[:12]])
        assert [line.split()[0] for line in rest] == ["from", "download", "disk", "memory", "this", "licence"]
        assert max(map(len, rest)) <= 80

    def test_what_is_on_its_way_counts_as_here(self, r1: Run, sharded: Path, tmp_path: Path) -> None:
        with Hub(sharded) as hub:
            away = {**variables(hub, tmp_path), "HF_HUB_DISABLE_XET": "1"}
            hub.before = lambda request: _forbid_after_the_first(hub, request, "*model-00003*")
            assert r1("pull", "qwen-1.5b", **away).returncode == 6
            hub.faults.clear()
            done = r1("pull", "qwen-1.5b", "--dry-run", "--json", **away)
        (plan,) = _events(done.stdout)
        files = plan["files"]
        assert isinstance(files, list)
        here = [file["here"] for file in files]
        assert here == [*(file["bytes"] for file in files[:2]), *(0 for _ in files[2:])]
        assert plan["bytes_to_fetch"] == sum(file["bytes"] for file in files[2:])

    def test_events_for_scripts_are_a_json_object_a_line(self, r1: Run, away: dict[str, str]) -> None:
        done = r1("pull", "qwen-1.5b:Q8_0", "--json", **away)
        events = _events(done.stdout)
        assert (done.returncode, done.stderr) == (0, b"")
        assert events[0]["event"] == "plan"
        assert {"event": "arrived", "file": "model.safetensors", "bytes": _size(TINY / "model.safetensors")} in events
        size = model_of(away).stat().st_size
        path = str(model_of(away))
        assert events[-1] == {"event": "finished", "reference": "qwen-1.5b:Q8_0", "path": path, "bytes": size}

    def test_quiet_says_nothing(self, r1: Run, away: dict[str, str]) -> None:
        done = r1("pull", "qwen-1.5b:Q8_0", "-q", **away)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

    @pytest.mark.parametrize("columns", [40, 80, 200])
    def test_on_a_terminal_one_line_moves(
        self, hub: Hub, away: dict[str, str], environ: dict[str, str], columns: int
    ) -> None:
        hub.faults = [Fault("*model.safetensors", "drip", times=-1, seconds=0.02, piece=1 << 16)]
        with Terminal(
            [*R1, "pull", "qwen-1.5b:Q8_0"], {**environ, **away, "COLUMNS": str(columns), "HF_HUB_DISABLE_XET": "1"}
        ) as terminal:
            shown = terminal.read_to_end()
            assert terminal.status == 0
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
        assert re.search(r"[\d.]+ of 5(\.\d+)? MB · [\d.]+ MB/s", text)
        moving = [line for line in re.split(r"[\r\n]+", text) if "MB/s" in line]
        assert all(len(line) <= columns for line in moving)
        assert f"{REPO},commit{COMMIT[:12]}" in "".join(text.split())


def _forbid_after_the_first(hub: Hub, request: str, pattern: str) -> None:
    """What says what is in the file may be fetched, the file may not."""
    if fnmatchcase(request, pattern) and hub.requests[request] > 1:
        hub.faults = [Fault(pattern, "status", times=-1, status=403)]


def _size(path: Path) -> int:
    return path.stat().st_size


class TestWhatIsHere:
    """Nothing that is on this disk is fetched."""

    def test_a_checkpoint_in_the_hugging_face_cache_is_read_from_there_and_left_alone(
        self, r1: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            _put_into_cache(hub, away, ["*.safetensors"])
            before = _contents(tmp_path / "hf")
            hub.sent.clear()
            assert r1("pull", "qwen-1.5b", **away).returncode == 0
            assert not hub.sent
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk
            assert _contents(tmp_path / "hf") == before
            assert left_over(away) == []

    def test_and_offline_too(self, r1: Run, sharded: Path, from_disk: bytes, tmp_path: Path) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            _put_into_cache(hub, away, ["*.safetensors"])
            before = hub.requests.total()
            assert r1("pull", "qwen-1.5b", HF_HUB_OFFLINE="1", **away).returncode == 0
            assert hub.requests.total() == before
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk
            assert manifest_of(away, quant="Q4_K_M")["revision"] == COMMIT

    def test_a_damaged_file_of_the_cache_is_named_and_fetched_alone(
        self, r1: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        name = "model-00002-of-00008.safetensors"
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            _put_into_cache(hub, away, ["*.safetensors"])
            cached = next((tmp_path / "hf").rglob(name)).resolve()
            damaged = bytearray(cached.read_bytes())
            damaged[-1000] ^= 1
            cached.write_bytes(damaged)
            hub.sent.clear()
            done = r1("pull", "qwen-1.5b", **away)
            assert done.returncode == 0
            assert (list(hub.sent), cached.read_bytes()) == ([name], damaged)
            assert name.encode() in done.stderr
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk

    def test_a_kept_checkpoint_serves_other_types_without_the_hub(
        self, r1: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            assert r1("pull", "qwen-1.5b:Q8_0", "--keep-checkpoint", **away).returncode == 0
            before = hub.requests.total()
            assert r1("pull", "qwen-1.5b:Q4_K_M", **away).returncode == 0
            assert r1("quantize", "qwen-1.5b", "-t", "Q6_K", **away).returncode == 0
            assert hub.requests.total() == before
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk
            assert len(list(Path(away["R1_HOME"]).rglob("*.safetensors"))) == 8
            removed = r1("rm", "-y", REPO, **away)
            assert removed.returncode == 0
            assert not list(Path(away["R1_HOME"]).rglob("*.safetensors"))

    def test_what_an_earlier_pull_did_not_keep_is_fetched_when_it_is_to_be_kept(
        self, r1: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = {**variables(hub, tmp_path), "HF_HUB_DISABLE_XET": "1"}
            hub.before = lambda request: _forbid_after_the_first(hub, request, "*model-00005*")
            assert r1("pull", "qwen-1.5b", **away).returncode == 6
            hub.before, hub.faults = None, []
            assert r1("pull", "qwen-1.5b", "--keep-checkpoint", **away).returncode == 0
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk
            kept = {path.name: path.read_bytes() for path in Path(away["R1_HOME"]).rglob("*.safetensors")}
            assert kept == {path.name: path.read_bytes() for path in (sharded / REPO).glob("*.safetensors")}

    def test_a_kept_checkpoint_that_was_damaged_makes_no_model(
        self, r1: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            r1("pull", "qwen-1.5b:Q8_0", "--keep-checkpoint", **away)
            shard = next(Path(away["R1_HOME"]).rglob("model-00004*.safetensors"))
            _damage(shard, shard.stat().st_size - 1000)
            done = r1("quantize", "qwen-1.5b", "-t", "Q4_K_M", **away)
            assert (done.returncode, shard.name.encode() in done.stderr) == (7, True)
            assert not model_of(away, quant="Q4_K_M").exists()
            assert r1("pull", "qwen-1.5b:Q4_K_M", **away).returncode == 0
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk

    def test_a_file_of_the_cache_whose_beginning_is_damaged_is_fetched_too(
        self, r1: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        name = "model-00006-of-00008.safetensors"
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            _put_into_cache(hub, away, ["*.safetensors"])
            _damage(next((tmp_path / "hf").rglob(name)).resolve(), 20)
            hub.sent.clear()
            done = r1("pull", "qwen-1.5b", **away)
            assert (done.returncode, list(hub.sent)) == (0, [name])
            assert name.encode() in done.stderr
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk


def _contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything that is there, and when it was changed."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


class TestGGUF:
    """What others made is taken as it is."""

    @pytest.fixture
    def made(self, tmp_path: Path) -> Path:
        """tiny as a GGUF that somebody publishes."""
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

    def test_the_catalogues_published_one(self, r1: Run, hub: Hub, away: dict[str, str], published: Path) -> None:
        done = r1("pull", "qwen-1.5b:Q4_K_M", "--prebuilt", **away)
        assert (done.returncode, done.stdout.decode().split("\t")[0]) == (0, "qwen-1.5b:Q4_K_M")
        assert model_of(away, quant="Q4_K_M").read_bytes() == published.read_bytes()
        assert hub.sent == {published.name: published.stat().st_size}
        manifest = manifest_of(away, quant="Q4_K_M")
        assert (manifest["source"], manifest["revision"]) == (PREBUILT, COMMIT)
        assert manifest["source_sha256"] == {published.name: hashlib.sha256(published.read_bytes()).hexdigest()}
        assert r1("verify", "qwen-1.5b", **away).returncode == 0
        assert rb"\boxed{42}" in r1("run", "--temp", "0", "What is 17 + 25?", **away).stdout
        assert left_over(away) == []

    def test_any_other_by_name(self, r1: Run, hub: Hub, away: dict[str, str], published: Path) -> None:
        folder = hub.root / "some-body" / "Their_Model-GGUF" / "sub"
        folder.mkdir(parents=True)
        shutil.copy(published, folder / "Their Model-IQ4_XS.gguf")
        done = r1("pull", "hf:some-body/Their_Model-GGUF/sub/Their Model-IQ4_XS.gguf", **away)
        assert (done.returncode, done.stdout.decode().split("\t")[0]) == (0, "their-model:IQ4_XS")
        assert model_of(away, "their-model", "IQ4_XS").read_bytes() == published.read_bytes()

    def test_a_repository_alone_means_its_checkpoint(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        shutil.copytree(TINY, hub.root / "some-body" / "Fine-Tune")
        done = r1("pull", "hf:some-body/Fine-Tune:Q8_0", **away)
        assert (done.returncode, done.stdout.decode().split("\t")[0]) == (0, "fine-tune:Q8_0")
        assert rb"\boxed{42}" in r1("run", "--temp", "0", "What is 17 + 25?", **away).stdout

    def test_parts_become_one_file(self, r1: Run, hub: Hub, away: dict[str, str], made: Path) -> None:
        folder = hub.root / "some-body" / "Parts-GGUF" / made.stem
        folder.mkdir(parents=True)
        parts = splits.split(made, folder, 15)
        assert len(parts) > 2
        reference = f"hf:some-body/Parts-GGUF/{made.stem}/{parts[1].name}"  # any of them
        done = r1("pull", reference, **away)
        assert (done.returncode, done.stdout.decode().split("\t")[0]) == (0, "deepseek-r1-distill-qwen-1.5b:Q4_K_M")
        model = model_of(away, "deepseek-r1-distill-qwen-1.5b", "Q4_K_M")
        assert model.read_bytes() == made.read_bytes()  # its tensors are in llama.cpp's order already
        assert r1("verify", "deepseek-r1-distill-qwen-1.5b", **away).returncode == 0
        assert left_over(away) == []

    def test_a_type_that_nobody_publishes_is_answered_with_those_there_are(
        self, r1: Run, away: dict[str, str], published: Path
    ) -> None:
        done = r1("pull", "qwen-1.5b:Q6_K", "--prebuilt", **away)
        assert (done.returncode, done.stderr.count(b"\n")) == (4, 1)
        assert b"it has Q4_K_M" in done.stderr

    def test_what_is_no_gguf_is_refused_before_all_of_it_is_fetched(
        self, r1: Run, hub: Hub, away: dict[str, str], published: Path
    ) -> None:
        published.write_bytes(b"<html>" * 4_000_000)
        done = r1("pull", "qwen-1.5b", "--prebuilt", **away)
        assert (done.returncode, done.stderr.count(b"\n")) == (7, 1)
        assert hub.sent[published.name] < published.stat().st_size / 2
        assert not list(Path(away["R1_HOME"]).rglob("*.gguf"))


class TestRepair:
    """`verify --repair` fetches only what is bad."""

    def test_a_damaged_tensor_costs_the_shard_it_was_made_of(
        self, r1: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = {**variables(hub, tmp_path), "HF_HUB_DISABLE_XET": "1"}
            r1("pull", "qwen-1.5b", **away)
            model = model_of(away, quant="Q4_K_M")
            _damage(model, len(from_disk) // 2)
            assert r1("verify", "qwen-1.5b", **away).returncode == 7
            hub.sent.clear()
            done = r1("verify", "qwen-1.5b", "--repair", **away)
            assert done.returncode == 0
            assert model.read_bytes() == from_disk
            fetched = [name for name, count in hub.sent.items() if count > 1 << 18]
            assert len(fetched) == 1
            assert left_over(away) == []

    def test_of_a_file_that_was_taken_as_it_is_only_the_damaged_piece_is_fetched(
        self, r1: Run, hub: Hub, away: dict[str, str], tmp_path: Path
    ) -> None:
        folder = hub.root / PREBUILT
        folder.mkdir(parents=True)
        published = folder / "model-BF16.gguf"
        for _ in quantize(Job(TINY, "BF16", published, "Somebody's")):
            pass
        r1("pull", "qwen-1.5b:BF16", "--prebuilt", **away)
        model = model_of(away, quant="BF16")
        whole = model.read_bytes()
        _damage(model, len(whole) - 100_000)
        hub.sent.clear()
        done = r1("verify", "qwen-1.5b:BF16", "--repair", **away)
        assert done.returncode == 0
        assert model.read_bytes() == whole == published.read_bytes()
        assert hub.sent[published.name] < len(whole)

    @pytest.mark.parametrize("damage", ["header", "shorter", "longer"])
    def test_whatever_is_wrong_with_it(
        self, r1: Run, sharded: Path, from_disk: bytes, tmp_path: Path, damage: str
    ) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            r1("pull", "qwen-1.5b", **away)
            model = model_of(away, quant="Q4_K_M")
            if damage == "header":
                model.write_bytes(b"GARBAGE!" + from_disk[8:])
            else:
                model.write_bytes(from_disk[:-300_000] if damage == "shorter" else from_disk + b"more")
            assert r1("verify", "qwen-1.5b", **away).returncode == 7
            assert r1("verify", "qwen-1.5b", "--repair", **away).returncode == 0
            assert model.read_bytes() == from_disk

    def test_what_is_whole_opens_no_connection(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        r1("pull", "qwen-1.5b:Q8_0", **away)
        before = hub.requests.total()
        assert r1("verify", "qwen-1.5b:Q8_0", "--repair", **away).returncode == 0
        assert hub.requests.total() == before


def _damage(model: Path, offset: int) -> None:
    with model.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(64))


class TestFailures:
    """The network's failures are one line and exit 6; what cannot be used is refused before the weights."""

    def test_a_hub_that_is_down(self, r1: Run, away: dict[str, str]) -> None:
        nobody = {**away, "HF_ENDPOINT": "http://127.0.0.1:9"}
        done = r1("pull", "qwen-1.5b", "-q", **nobody)
        assert (done.returncode, done.stderr.count(b"\n")) == (6, 1)
        assert b"running it again resumes" in done.stderr

    def test_offline_by_choice(self, r1: Run, hub: Hub, away: dict[str, str]) -> None:
        done = r1("pull", "qwen-1.5b", HF_HUB_OFFLINE="1", **away)
        assert (done.returncode, done.stderr.count(b"\n"), hub.requests.total()) == (6, 1, 0)
        assert b"HF_HUB_OFFLINE" in done.stderr

    @pytest.mark.skipif(not CAN_UNSHARE, reason="this machine lets nobody make a network namespace")
    def test_offline_by_choice_not_even_a_socket_is_opened(self, away: dict[str, str], environ: dict[str, str]) -> None:
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
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60, check=False)
        assert (done.returncode, b"a socket" in done.stderr) == (6, False)

    def test_a_checkpoint_that_is_not_what_the_catalogue_says_costs_only_its_small_files(
        self, r1: Run, hub: Hub, away: dict[str, str]
    ) -> None:
        (hub.root / REPO / "config.json").write_text('{"architectures": ["NoSuchForCausalLM"]}', encoding="utf-8")
        done = r1("pull", "qwen-1.5b", **away)
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
    def test_a_name_that_means_nothing(self, r1: Run, away: dict[str, str], reference: str, status: int) -> None:
        done = r1("pull", reference, **away)
        assert (done.returncode, done.stderr.count(b"\n")) == (status, 1)
        assert not Path(away["R1_HOME"]).exists()

    def test_no_name_at_all(self, r1: Run, away: dict[str, str]) -> None:
        done = r1("pull", **away)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)

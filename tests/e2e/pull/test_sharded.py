"""`r1 pull` of a checkpoint in eight shards: what is on the disk, and what is downloaded."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.pipeline import Job, quantize
from tests.conftest import Run
from tests.e2e.pull.homes import (
    CAN_UNSHARE,
    SHARDED,
    json_events,
    left_over,
    manifest_of,
    model_of,
    overwrite,
    variables,
)
from tests.e2e.pull.person import REPO, TIMEOUT_S
from tests.fakes import checkpoints
from tests.fakes.hub import COMMIT, Fault, Hub, huggingface_client


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


class TestStreaming:
    """Shard by shard, with the same result as from a checkpoint on the disk."""

    def test_the_result_is_the_same_as_from_the_disk(
        self, call: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            assert call("pull", "qwen-1.5b", **away).returncode == 0
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk

    def test_the_order_of_the_shards_does_not_matter(
        self, call: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        """Shards on the disk come first; here some are in the Hugging Face cache."""
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            names = [f"model-0000{number}-of-00008.safetensors" for number in (7, 3, 4)]
            _put_into_cache(away, names)
            hub.sent.clear()
            assert call("pull", "qwen-1.5b", **away).returncode == 0
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk
            assert not hub.sent.keys() & set(names)

    @pytest.mark.skipif(not CAN_UNSHARE, reason="small disks cannot be mounted here")
    @pytest.mark.parametrize(("shards", "at_once"), [(2, 2), (1, 1)])
    def test_on_a_disk_for_the_result_and_one_or_two_shards(
        self, sharded: Path, from_disk: bytes, environ: dict[str, str], tmp_path: Path, shards: int, at_once: int
    ) -> None:
        sizes = sorted((path.stat().st_size for path in (sharded / REPO).glob("*.safetensors")), reverse=True)
        disk_size = len(from_disk) + sum(sizes[:shards]) + _OVERHEAD
        assert disk_size < sum(sizes)
        with Hub(sharded) as hub:
            done, facts = _pull_on_small_disk(hub, disk_size, environ, tmp_path)
        assert done.returncode == 0, done.stderr
        assert facts["digest"] == hashlib.sha256(from_disk).hexdigest()
        (plan,) = [event for event in json_events(done.stdout) if event["event"] == "plan"]
        assert plan["shards_at_once"] == at_once
        assert int(str(facts["peak"])) <= int(str(plan["peak_disk_bytes"])) + _OVERHEAD

    @pytest.mark.skipif(not CAN_UNSHARE, reason="small disks cannot be mounted here")
    def test_too_small_a_disk_is_refused_before_a_shard_is_downloaded(
        self, sharded: Path, from_disk: bytes, environ: dict[str, str], tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            done, _ = _pull_on_small_disk(hub, len(from_disk), environ, tmp_path)
            large = {name: count for name, count in hub.sent.items() if name.endswith(".safetensors")}
        assert done.returncode == 5
        line = done.stderr.decode().strip().splitlines()[-1]
        assert re.search(r"needs [\d.]+ MB of disk space .* [\d.]+ MB are free .* [\d.]+ [kM]B are missing; ", line)
        assert re.search(r"; (qwen-1\.5b:\w+ would fit|no checkpoint of the catalogue would fit|--prebuilt .*)$", line)
        assert max(large.values()) <= 1 << 18  # no more than the headers


_OVERHEAD = 4_000_000
"""Bytes of the small files, the headers of the shards, journals and the file system."""


def _put_into_cache(away: dict[str, str], names: list[str]) -> None:
    """Download these files into the Hugging Face cache with huggingface_hub itself."""
    from huggingface_hub import snapshot_download

    with huggingface_client({**away, "HF_HUB_DISABLE_XET": "1"}):
        snapshot_download(REPO, allow_patterns=[*names, "*.json"])


def _pull_on_small_disk(
    hub: Hub, size: int, environ: dict[str, str], tmp_path: Path
) -> tuple[subprocess.CompletedProcess[bytes], dict[str, object]]:
    """Run `r1 pull` with R1_HOME on a disk of its own, and sample how much of that is used."""
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
    done = subprocess.run(command, env=env, capture_output=True, timeout=TIMEOUT_S, check=False)
    return done, json.loads(report.read_text(encoding="utf-8"))


class TestPlan:
    """The plan is known before anything large is downloaded."""

    def test_a_dry_run_prints_the_plan_and_leaves_nothing(
        self, call: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            done = call("pull", "qwen-1.5b", "--dry-run", "--json", **away)
            assert not Path(away["R1_HOME"]).exists()
            large = {name: count for name, count in hub.sent.items() if name.endswith(".safetensors")}
        assert max(large.values()) <= 1 << 18
        (plan,) = json_events(done.stdout)
        sizes = {path.name: path.stat().st_size for path in (sharded / REPO).glob("*.safetensors")}
        assert (plan["reference"], plan["repo"], plan["revision"]) == ("qwen-1.5b:Q4_K_M", REPO, COMMIT)
        assert plan["files"] == [{"name": name, "bytes": size, "here": 0} for name, size in sorted(sizes.items())]
        assert (plan["bytes_to_fetch"], plan["result_bytes"]) == (sum(sizes.values()), len(from_disk))
        assert plan["peak_disk_bytes"] == len(from_disk) + sum(sorted(sizes.values())[-2:])
        assert plan["licences"] == ["MIT", "Apache-2.0 (Qwen2.5-Math-1.5B)"]
        kv_bytes = 2 * 2 * SHARDED.layers * SHARDED.kv_heads * SHARDED.hidden // SHARDED.heads  # K and V, F16
        memory = plan["memory_bytes"]
        assert isinstance(memory, dict)
        mask = 2 * 512  # bytes a token, for the 512 tokens that are prefilled at a time
        assert memory["32768"] - memory["4096"] == (kv_bytes + mask) * (32768 - 4096)

    def test_the_files_of_an_interrupted_pull_count_as_downloaded(
        self, call: Run, sharded: Path, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = {**variables(hub, tmp_path), "HF_HUB_DISABLE_XET": "1"}
            hub.before = lambda request: _deny_after_the_first(hub, request, "*model-00003*")
            assert call("pull", "qwen-1.5b", **away).returncode == 6
            hub.faults.clear()
            done = call("pull", "qwen-1.5b", "--dry-run", "--json", **away)
        (plan,) = json_events(done.stdout)
        files = plan["files"]
        assert isinstance(files, list)
        here = [file["here"] for file in files]
        assert here == [*(file["bytes"] for file in files[:2]), *(0 for _ in files[2:])]
        assert plan["bytes_to_fetch"] == sum(file["bytes"] for file in files[2:])


def _deny_after_the_first(hub: Hub, request: str, pattern: str) -> None:
    """Allow the first request for a file, which is for its header, and deny the second."""
    if fnmatchcase(request, pattern) and hub.requests[request] > 1:
        hub.faults = [Fault(pattern, "status", times=-1, status=403)]


class TestLocalFiles:
    """Files on this disk are not downloaded."""

    def test_a_checkpoint_in_the_hugging_face_cache_is_read_there_and_not_changed(
        self, call: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            _put_into_cache(away, ["*.safetensors"])
            before = _contents(tmp_path / "hf")
            hub.sent.clear()
            assert call("pull", "qwen-1.5b", **away).returncode == 0
            assert not hub.sent
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk
            assert _contents(tmp_path / "hf") == before
            assert left_over(away) == []

    def test_a_cached_checkpoint_needs_no_network(
        self, call: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            _put_into_cache(away, ["*.safetensors"])
            before = hub.requests.total()
            assert call("pull", "qwen-1.5b", HF_HUB_OFFLINE="1", **away).returncode == 0
            assert hub.requests.total() == before
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk
            assert manifest_of(away, quant="Q4_K_M")["revision"] == COMMIT

    def test_a_damaged_file_of_the_cache_is_named_and_the_only_one_downloaded(
        self, call: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        name = "model-00002-of-00008.safetensors"
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            _put_into_cache(away, ["*.safetensors"])
            cached = next((tmp_path / "hf").rglob(name)).resolve()
            damaged = bytearray(cached.read_bytes())
            damaged[-1000] ^= 1
            cached.write_bytes(damaged)
            hub.sent.clear()
            done = call("pull", "qwen-1.5b", **away)
            assert done.returncode == 0
            assert (list(hub.sent), cached.read_bytes()) == ([name], damaged)
            assert name.encode() in done.stderr
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk

    def test_a_kept_checkpoint_serves_other_types_without_the_hub(
        self, call: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            assert call("pull", "qwen-1.5b:Q8_0", "--keep-checkpoint", **away).returncode == 0
            before = hub.requests.total()
            assert call("pull", "qwen-1.5b:Q4_K_M", **away).returncode == 0
            assert call("quantize", "qwen-1.5b", "-t", "Q6_K", **away).returncode == 0
            assert hub.requests.total() == before
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk
            assert len(list(Path(away["R1_HOME"]).rglob("*.safetensors"))) == 8
            removed = call("rm", "-y", REPO, **away)
            assert removed.returncode == 0
            assert not list(Path(away["R1_HOME"]).rglob("*.safetensors"))

    def test_shards_that_an_earlier_run_deleted_are_downloaded_to_be_kept(
        self, call: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = {**variables(hub, tmp_path), "HF_HUB_DISABLE_XET": "1"}
            hub.before = lambda request: _deny_after_the_first(hub, request, "*model-00005*")
            assert call("pull", "qwen-1.5b", **away).returncode == 6
            hub.before, hub.faults = None, []
            assert call("pull", "qwen-1.5b", "--keep-checkpoint", **away).returncode == 0
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk
            kept = {path.name: path.read_bytes() for path in Path(away["R1_HOME"]).rglob("*.safetensors")}
            assert kept == {path.name: path.read_bytes() for path in (sharded / REPO).glob("*.safetensors")}

    def test_a_damaged_kept_checkpoint_makes_no_model(
        self, call: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            call("pull", "qwen-1.5b:Q8_0", "--keep-checkpoint", **away)
            shard = next(Path(away["R1_HOME"]).rglob("model-00004*.safetensors"))
            overwrite(shard, shard.stat().st_size - 1000)
            done = call("quantize", "qwen-1.5b", "-t", "Q4_K_M", **away)
            assert (done.returncode, shard.name.encode() in done.stderr) == (7, True)
            assert not model_of(away, quant="Q4_K_M").exists()
            assert call("pull", "qwen-1.5b:Q4_K_M", **away).returncode == 0
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk

    def test_a_file_of_the_cache_with_a_damaged_header_is_downloaded(
        self, call: Run, sharded: Path, from_disk: bytes, tmp_path: Path
    ) -> None:
        name = "model-00006-of-00008.safetensors"
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            _put_into_cache(away, ["*.safetensors"])
            overwrite(next((tmp_path / "hf").rglob(name)).resolve(), 20)
            hub.sent.clear()
            done = call("pull", "qwen-1.5b", **away)
            assert (done.returncode, list(hub.sent)) == (0, [name])
            assert name.encode() in done.stderr
            assert model_of(away, quant="Q4_K_M").read_bytes() == from_disk


def _contents(folder: Path) -> dict[str, tuple[int, int]]:
    """The size and modification time of everything in a folder."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


class TestRepair:
    """`verify --repair` downloads only the shards that are needed."""

    def test_a_damaged_tensor_costs_one_shard(self, call: Run, sharded: Path, from_disk: bytes, tmp_path: Path) -> None:
        with Hub(sharded) as hub:
            away = {**variables(hub, tmp_path), "HF_HUB_DISABLE_XET": "1"}
            call("pull", "qwen-1.5b", **away)
            model = model_of(away, quant="Q4_K_M")
            overwrite(model, len(from_disk) // 2)
            assert call("verify", "qwen-1.5b", **away).returncode == 7
            hub.sent.clear()
            done = call("verify", "qwen-1.5b", "--repair", **away)
            assert done.returncode == 0
            assert model.read_bytes() == from_disk
            downloaded = [name for name, count in hub.sent.items() if count > 1 << 18]
            assert len(downloaded) == 1
            assert left_over(away) == []

    @pytest.mark.parametrize("damage", ["header", "shorter", "longer"])
    def test_any_other_damage(self, call: Run, sharded: Path, from_disk: bytes, tmp_path: Path, damage: str) -> None:
        with Hub(sharded) as hub:
            away = variables(hub, tmp_path)
            call("pull", "qwen-1.5b", **away)
            model = model_of(away, quant="Q4_K_M")
            if damage == "header":
                model.write_bytes(b"GARBAGE!" + from_disk[8:])
            else:
                model.write_bytes(from_disk[:-300_000] if damage == "shorter" else from_disk + b"more")
            assert call("verify", "qwen-1.5b", **away).returncode == 7
            assert call("verify", "qwen-1.5b", "--repair", **away).returncode == 0
            assert model.read_bytes() == from_disk

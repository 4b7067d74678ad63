"""`r1_quantize.pipeline`: one path, as events; nothing half-made is left wherever it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import gguf as reference
import pytest

from r1_quantize import catalog
from r1_quantize.checkpoint.architecture import architecture_of
from r1_quantize.errors import BadFile, BadValue, NotEnoughSpace, UsageError
from r1_quantize.events import (
    Advanced,
    Checked,
    Finished,
    Noted,
    PipelineEvent,
    Planned,
    Rejected,
    Resumed,
    StartedOver,
    TensorDone,
)
from r1_quantize.files import SourceFile
from r1_quantize.gguf import reader
from r1_quantize.pipeline import Job, open_source, quantize
from r1_quantize.plan import size_of
from r1_quantize.recipe import RECIPES
from r1_quantize.store.manifest import Manifest
from r1_quantize.store.store import Store
from r1_quantize.verify import verify
from tests.fakes import checkpoints, quantizer, splits
from tests.fakes.checkpoints import Shape, Stored
from tests.quantize.conftest import Make, names_in


def events_of(source: Path, target: Path, quant: str = "Q8_0", **job: Any) -> list[PipelineEvent]:
    """Everything that is said while `target` is made."""
    return list(quantize(Job(source, quant, target, name="fake", **job)))


class TestEvents:
    """A plan, each tensor, the end; the numbers in them are true."""

    def test_are_a_plan_then_each_tensor_then_the_end(self, fake: Path, tmp_path: Path) -> None:
        events = events_of(fake, tmp_path / "a.gguf")
        kinds = [kind for kind, _ in groupby(map(type, events))]
        assert kinds == [Planned, *[Advanced, TensorDone] * len(Shape().tensors), Checked, Finished]

    def test_bytes_add_up_too(self, fake: Path, tmp_path: Path) -> None:
        planned, *events = events_of(fake, tmp_path / "a.gguf")
        assert isinstance(planned, Planned)
        advanced = [event for event in events if isinstance(event, Advanced)]
        assert sum(event.bytes_in for event in advanced) == planned.bytes_in
        assert 0 <= planned.bytes_out - sum(event.bytes_out for event in advanced) < 40_000  # header and padding
        checked = sum(event.bytes for event in events if isinstance(event, Checked))
        assert 0 <= planned.bytes_out - checked < 32 * len(Shape().tensors)

    def test_the_plan_knows_the_size_of_the_result(self, fake: Path, tmp_path: Path) -> None:
        planned, *_, finished = events_of(fake, tmp_path / "a.gguf", "Q4_K_M")
        assert isinstance(planned, Planned)
        assert isinstance(finished, Finished)
        assert planned.bytes_out == finished.size == (tmp_path / "a.gguf").stat().st_size
        assert planned.quant == "Q4_K_M"

    def test_tensors_add_up_to_the_plan(self, fake: Path, tmp_path: Path) -> None:
        planned, *tensors, _ = events_of(fake, tmp_path / "a.gguf")
        assert isinstance(planned, Planned)
        done = [event for event in tensors if isinstance(event, TensorDone)]
        assert [event.index for event in done] == list(range(1, len(planned.tensors) + 1))
        assert sum(event.bytes_in for event in done) == planned.bytes_in

    def test_tensors_are_as_the_file_has_them(self, fake: Path, tmp_path: Path) -> None:
        events = events_of(fake, tmp_path / "a.gguf")
        done = [(e.name, e.ggml_type, e.bytes_out) for e in events if isinstance(e, TensorDone)]
        found = reference.GGUFReader(tmp_path / "a.gguf").tensors
        assert sorted(done) == sorted((tensor.name, tensor.tensor_type.name, tensor.n_bytes) for tensor in found)

    def test_tensors_come_in_the_order_they_lie_in_the_source(self, fake: Path, tmp_path: Path) -> None:
        done = [event.name for event in events_of(fake, tmp_path / "a.gguf") if isinstance(event, TensorDone)]
        sources = {weight.name: weight.source for weight in architecture_of(Shape().config).weights}
        assert [sources[name] for name in done] == list(Shape().tensors)

    def test_the_plan_comes_before_anything_is_written(self, fake: Path, tmp_path: Path) -> None:
        with closing(quantize(Job(fake, "Q8_0", tmp_path / "a.gguf", name="fake"))) as events:
            next(events)
            assert names_in(tmp_path) == []


class TestNaming:
    """The general.* names come from the catalogue, or else from the folder."""

    def test_of_a_folder(self, gguf: Path) -> None:
        found = reader.read(gguf).metadata
        assert found["general.name"] == "fake"
        assert "general.license" not in found

    def test_of_a_model_of_the_catalogue(self, fake: Path, tmp_path: Path) -> None:
        events_of(fake, tmp_path / "a.gguf", checkpoint=catalog.load()["qwen-7b"])
        found = reader.read(tmp_path / "a.gguf").metadata
        assert found["general.name"] == "DeepSeek R1 Distill Qwen 7B"
        assert found["general.organization"] == "deepseek-ai"
        assert found["general.license"] == "mit"
        assert found["general.source.huggingface.repository"] == "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"

    def test_sampling_is_what_the_checkpoint_recommends(self, tmp_path: Path, make: Make) -> None:
        folder = checkpoints.write(tmp_path / "c")
        given = {"temperature": 0.5, "top_k": 40, "top_p": None, "min_p": "much", "repetition_penalty": 10**40}
        checkpoints.write_json(folder / "generation_config.json", given)
        found = reader.read(make(folder, "F32")).metadata
        sampling = {key: value for key, value in found.items() if "sampling" in key}
        assert sampling == {"general.sampling.top_k": 40, "general.sampling.temp": 0.5}


class TestManifest:
    """The record beside the result is true, and comes after it."""

    def test_says_what_was_made_of_what(self, fake: Path, tmp_path: Path) -> None:
        target = tmp_path / "Q4_K_M.gguf"
        known = catalog.load()["qwen-7b"]
        events_of(fake, target, "q4_k_m", checkpoint=known, revision="abc", manifest=tmp_path / "Q4_K_M.json")
        found = Manifest.read(tmp_path / "Q4_K_M.json")
        assert found is not None
        assert (found.quant, found.source, found.revision) == ("Q4_K_M", known.repo, "abc")
        assert found.sha256 == sha256(target.read_bytes()).hexdigest()
        assert found.size == target.stat().st_size
        types = Counter(tensor.tensor_type.name for tensor in reference.GGUFReader(target).tensors)
        assert found.recipe == types
        assert found.source_sha256 == {path.name: sha256(path.read_bytes()).hexdigest() for path in fake.iterdir()}
        assert found.tools.keys() == {"r1-local", "llama-cpp-python"}

    def test_there_is_none_unless_it_is_asked_for(self, fake: Path, tmp_path: Path) -> None:
        events_of(fake, tmp_path / "a.gguf")
        assert names_in(tmp_path) == ["a.gguf"]

    def test_one_of_an_older_file_is_gone_before_the_new_file_has_the_name(self, fake: Path, tmp_path: Path) -> None:
        target, manifest = tmp_path / "Q8_0.gguf", tmp_path / "Q8_0.json"
        events_of(fake, target, manifest=manifest)
        other = checkpoints.write(tmp_path / "other", Shape(layers=1))
        manifest.chmod(0o600)
        before = manifest.read_text()
        events_of(other, target, manifest=manifest)
        assert manifest.read_text() != before
        found = Manifest.read(manifest)
        assert found is not None
        assert found.sha256 == sha256(target.read_bytes()).hexdigest()


PAUSED = """
import sys
from pathlib import Path
from r1_quantize import catalog
from r1_quantize.events import TensorDone
from r1_quantize.pipeline import Job, quantize
from r1_quantize.store.store import Store
store = Store(Path(sys.argv[2]), catalog.load())
with store.lock("fake", "Q8_0"):
    target, manifest = store.path("fake", "Q8_0"), store.manifest_path("fake", "Q8_0")
    job = Job(Path(sys.argv[1]), "Q8_0", target, "fake", manifest=manifest)
    for event in quantize(job):
        if isinstance(event, TensorDone) and event.index == int(sys.argv[3]):
            print("reached", flush=True)
            sys.stdin.read()
"""


class TestEndedEarly:
    """However it ends, no file looks whole that is not, and the next run goes on from the last whole tensor."""

    @pytest.mark.parametrize("taken", [0, 1, 2])
    def test_by_its_reader_before_a_tensor_is_whole(self, fake: Path, tmp_path: Path, taken: int) -> None:
        with closing(quantize(Job(fake, "Q8_0", tmp_path / "a.gguf", name="fake"))) as events:
            for _ in range(taken):
                next(events)
        assert names_in(tmp_path) == []

    @pytest.mark.parametrize("tensors", [1, 2, 13, 26, 27])
    def test_by_its_reader(self, fake: Path, gguf: Path, tmp_path: Path, tensors: int) -> None:
        with closing(quantize(Job(fake, "Q8_0", tmp_path / "a.gguf", name="fake"))) as events:
            for event in events:
                if isinstance(event, TensorDone) and event.index == tensors:
                    break
        assert names_in(tmp_path) == ["a.gguf.partial", "a.gguf.partial.journal"]
        events_after = events_of(fake, tmp_path / "a.gguf")
        resumed = next(event for event in events_after if isinstance(event, Resumed))
        done = [event.index for event in events_after if isinstance(event, TensorDone)]
        assert resumed.tensors == tensors
        assert done == list(range(tensors + 1, 28))
        assert (tmp_path / "a.gguf").read_bytes() == gguf.read_bytes()
        assert names_in(tmp_path) == ["a.gguf"]

    @pytest.mark.parametrize("tensor", [1, 13, 26, 27])
    def test_by_being_killed(self, fake: Path, gguf: Path, tmp_path: Path, tensor: int) -> None:
        store = Store(tmp_path, catalog.load())
        arguments = [sys.executable, "-c", PAUSED, str(fake), str(tmp_path), str(tensor)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"reached\n"
            process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        assert store.models() == []
        left = ["Q8_0.gguf.partial", "Q8_0.gguf.partial.journal", "Q8_0.lock"]
        assert names_in(tmp_path / "models" / "fake") == left
        target, manifest = store.path("fake", "Q8_0"), store.manifest_path("fake", "Q8_0")
        assert {Resumed} == {Resumed, StartedOver} & set(map(type, events_of(fake, target, manifest=manifest)))
        assert target.read_bytes() == gguf.read_bytes()
        assert names_in(tmp_path / "models" / "fake") == ["Q8_0.gguf", "Q8_0.json", "Q8_0.lock"]
        assert all(check.ok for check in verify(target))
        found = Manifest.read(manifest)
        assert found is not None
        assert found.source_sha256 == {path.name: sha256(path.read_bytes()).hexdigest() for path in fake.iterdir()}


class TestSourceChanged:
    """A source that is not what it was when work on it began is noticed, and nothing old is mixed with new."""

    def interrupted(self, source: Path, target: Path, tensors: int, **job: Any) -> None:
        with closing(quantize(Job(source, "Q8_0", target, name="fake", **job))) as events:
            for event in events:
                if isinstance(event, TensorDone) and event.index == tensors:
                    return

    def change_weight(self, source: Path, *, keep_time: bool) -> None:
        path = source / "model.safetensors"
        status, data = path.stat(), bytearray(path.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        data[start + 40_000] ^= 0x10  # in the first tensor, which is done
        path.write_bytes(data)
        if keep_time:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    @pytest.mark.parametrize("keep_time", [False, True])
    def test_in_one_bit_of_what_was_done_already(self, tmp_path: Path, make: Make, keep_time: bool) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake"), tmp_path / "a.gguf"
        self.interrupted(source, target, 9)
        self.change_weight(source, keep_time=keep_time)
        events = events_of(source, target)
        started_over = next(event for event in events if isinstance(event, StartedOver))
        assert started_over.reason.endswith("model.safetensors is not what it was when work on it began")
        assert [event.index for event in events if isinstance(event, TensorDone)] == list(range(1, 28))
        assert target.read_bytes() == make(source, "Q8_0").read_bytes()

    def test_a_whole_shard_that_was_done_already(self, tmp_path: Path, make: Make) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake", shards=3), tmp_path / "a.gguf"
        self.interrupted(source, target, 20)
        shard = source / "model-00001-of-00003.safetensors"
        data = bytearray(shard.read_bytes())
        data[-1] ^= 0x10
        shard.write_bytes(data)
        assert StartedOver in map(type, events_of(source, target))
        assert target.read_bytes() == make(source, "Q8_0").read_bytes()

    def test_what_was_not_read_yet_may_change(self, tmp_path: Path, make: Make) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake", shards=3), tmp_path / "a.gguf"
        self.interrupted(source, target, 3)
        shard = source / "model-00003-of-00003.safetensors"
        data = bytearray(shard.read_bytes())
        data[-1] ^= 0x10
        shard.write_bytes(data)
        assert {Resumed} == {Resumed, StartedOver} & set(map(type, events_of(source, target)))
        assert target.read_bytes() == make(source, "Q8_0").read_bytes()

    def test_its_description(self, tmp_path: Path, make: Make) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake"), tmp_path / "a.gguf"
        self.interrupted(source, target, 9)
        checkpoints.write_json(source / "generation_config.json", {"temperature": 0.5})
        events = events_of(source, target)
        assert next(event for event in events if isinstance(event, StartedOver)).reason.startswith(
            "the options, the source's description"
        )
        assert target.read_bytes() == make(source, "Q8_0").read_bytes()

    def test_only_touched_is_not_changed(self, tmp_path: Path, gguf: Path) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake"), tmp_path / "a.gguf"
        self.interrupted(source, target, 9)
        os.utime(source / "model.safetensors")
        assert {Resumed} == {Resumed, StartedOver} & set(map(type, events_of(source, target)))
        assert target.read_bytes() == gguf.read_bytes()

    @pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts what this process reads")
    def test_shards_that_are_done_are_not_read_again(self, tmp_path: Path) -> None:
        def read_by(run: Callable[[], object]) -> int:
            before, _, after = bytes_read(), run(), bytes_read()
            return after - before

        source, target = checkpoints.write(tmp_path / "c" / "fake", dtype="F32", shards=3), tmp_path / "a.gguf"
        whole = read_by(lambda: events_of(source, tmp_path / "b.gguf"))
        self.interrupted(source, target, 19)  # two shards of nine tensors, and one tensor more
        shards = sum((source / f"model-0000{n}-of-00003.safetensors").stat().st_size for n in (1, 2))
        result = target.with_suffix(".gguf.partial").stat().st_size  # what is done of it is read to be checked
        assert whole - shards <= read_by(lambda: events_of(source, target)) < whole - shards + result + 50_000

    def test_while_it_is_read(self, tmp_path: Path) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake"), tmp_path / "a.gguf"

        def run() -> None:
            for event in quantize(Job(source, "Q8_0", target, name="fake")):
                if isinstance(event, TensorDone) and event.index == 5:
                    os.utime(source / "model.safetensors")

        with pytest.raises(BadFile, match="was changed while it was read"):
            run()
        assert not target.exists()
        assert StartedOver not in map(type, events_of(source, target))  # what was read before is still what it was

    def test_before_its_turn(self, tmp_path: Path) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake", shards=2), tmp_path / "a.gguf"

        def run() -> None:
            for event in quantize(Job(source, "Q8_0", target, name="fake")):
                if isinstance(event, TensorDone) and event.index == 5:
                    os.utime(source / "model-00002-of-00002.safetensors")

        with pytest.raises(BadFile, match=r"00002\.safetensors was changed while others were read"):
            run()
        assert not target.exists()

    def test_another_importance_matrix_starts_over(self, tmp_path: Path) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake"), tmp_path / "a.gguf"
        first = quantizer.write_imatrix(tmp_path / "imatrix.gguf", Shape())
        self.interrupted(source, target, 9, imatrix=first)
        quantizer.write_imatrix(first, Shape(), left_out="blk.1.ffn_up.weight")
        assert StartedOver in map(type, events_of(source, target, imatrix=first))


def bytes_read() -> int:
    """By this process so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


Damage = Callable[[bytes], bytes]


def flipped(data: bytes) -> bytes:
    """One bit wrong near the end."""
    return data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:]


def zeroed(data: bytes) -> bytes:
    """The second half never reached the disk."""
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)


def poisoned(data: bytes) -> bytes:
    """A NaN where the last value was."""
    return data[:-2] + b"\xc0\x7f"


class Courier:
    """A supply that brings the files of `origin` into `folder` when they are taken, the last first.

    Each comes so often damaged, by `damage`, as `bad` says of its name, and is what it should be afterwards.
    """

    def __init__(self, origin: Path, folder: Path, bad: Mapping[str, int] = {}, damage: Damage = flipped) -> None:
        self._origin, self._folder, self._damage = origin, folder, damage
        self._bad = dict(bad)
        self.files: dict[str, SourceFile] = {}
        self.said: list[str] = []
        folder.mkdir()
        for path in sorted(origin.iterdir()):
            data = path.read_bytes()
            if path.suffix not in {".safetensors", ".gguf"}:
                (folder / path.name).write_bytes(data)
                continue
            header = folder / f"{path.name}.header"
            header.write_bytes(data[:100_000])
            self.files[path.name] = SourceFile(folder / path.name, len(data), None, sha256(data).hexdigest(), header)

    def start(self, wanted: Sequence[SourceFile]) -> Sequence[SourceFile]:
        self.said.append(f"start {len(wanted)}")
        return wanted[::-1]

    def take(self, file: SourceFile) -> Generator[PipelineEvent, None, Path]:
        name = file.path.name
        self.said.append(f"take {name}")
        yield Noted(f"{name} is on its way")
        data = (self._origin / name).read_bytes()
        self._bad[name] = left = self._bad.get(name, 0) - 1
        file.path.write_bytes(self._damage(data) if left >= 0 else data)
        return file.path

    def poll(self) -> Iterator[PipelineEvent]:
        yield Noted("news")

    def release(self, file: SourceFile) -> None:
        self.said.append(f"release {file.path.name}")
        file.path.unlink(missing_ok=True)

    def reject(self, file: SourceFile) -> None:
        if f"reject {file.path.name}" in self.said:
            raise BadFile(f"{file.path} is not what was fetched, for the second time")
        self.said.append(f"reject {file.path.name}")
        file.path.unlink()


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in three shards. Tests only read it."""
    return checkpoints.write(tmp_path_factory.mktemp("supplied") / "fake", shards=3)


@pytest.fixture(scope="module")
def expected(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What becomes of it from the disk."""
    target = tmp_path_factory.mktemp("from-disk") / "a.gguf"
    events_of(origin, target)
    return target.read_bytes()


class TestSupplied:
    """Files that come late, in another order, or damaged at first make the same bytes as files on the disk."""

    FIRST, SECOND, THIRD = (f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3))

    def run(self, courier: Courier, source: Path, target: Path, quant: str = "Q8_0") -> list[PipelineEvent]:
        return events_of(source, target, quant, provider=courier, manifest=target.with_suffix(".json"))

    def test_late_and_in_another_order(self, origin: Path, expected: bytes, tmp_path: Path) -> None:
        courier = Courier(origin, tmp_path / "fake")
        events = self.run(courier, tmp_path / "fake", tmp_path / "a.gguf")
        assert (tmp_path / "a.gguf").read_bytes() == expected
        order = (self.THIRD, self.SECOND, self.FIRST)
        assert courier.said == ["start 3", *(f"{what} {name}" for name in order for what in ("take", "release"))]
        assert [event.text for event in events if isinstance(event, Noted) and event.text != "news"] == [
            f"{name} is on its way" for name in order
        ]
        assert not [*(tmp_path / "fake").glob("*.safetensors")]

    def test_the_record_is_the_same_too(self, origin: Path, tmp_path: Path) -> None:
        self.run(Courier(origin, tmp_path / "fake"), tmp_path / "fake", tmp_path / "a.gguf")
        found = Manifest.read(tmp_path / "a.json")
        assert found is not None
        assert found.source_sha256 == {path.name: sha256(path.read_bytes()).hexdigest() for path in origin.iterdir()}

    def test_news_are_passed_on_between_tensors(self, origin: Path, tmp_path: Path) -> None:
        events = self.run(Courier(origin, tmp_path / "fake"), tmp_path / "fake", tmp_path / "a.gguf")
        news = [at for at, event in enumerate(events) if event == Noted("news")]
        assert len(news) >= len(Shape().tensors)

    @pytest.mark.parametrize("bad", [{FIRST: 1}, {THIRD: 1}, {FIRST: 1, SECOND: 1, THIRD: 1}])
    @pytest.mark.parametrize("damage", [flipped, zeroed, poisoned])
    def test_damaged_at_first(
        self, origin: Path, expected: bytes, tmp_path: Path, bad: dict[str, int], damage: Damage
    ) -> None:
        courier = Courier(origin, tmp_path / "fake", bad, damage)
        events = self.run(courier, tmp_path / "fake", tmp_path / "a.gguf")
        assert (tmp_path / "a.gguf").read_bytes() == expected
        assert all(check.ok for check in verify(tmp_path / "a.gguf"))
        rejected = [event.file for event in events if isinstance(event, Rejected)]
        assert sorted(rejected) == sorted(bad)
        assert {f"reject {name}" for name in bad} == {said for said in courier.said if said.startswith("reject")}

    def test_what_is_counted_stays_true_when_a_file_comes_twice(self, origin: Path, tmp_path: Path) -> None:
        events = self.run(Courier(origin, tmp_path / "fake", {self.SECOND: 1}), tmp_path / "fake", tmp_path / "a.gguf")
        done = [event.index for event in events if isinstance(event, TensorDone)]
        assert done == [*range(1, 19), *range(10, 28)]  # nine tensors a shard, the second of them twice
        (resumed,) = (event for event in events if isinstance(event, Resumed))
        assert resumed.tensors == 9

    @pytest.mark.parametrize("damage", [flipped, poisoned])
    def test_damaged_twice(self, origin: Path, tmp_path: Path, damage: Damage) -> None:
        courier = Courier(origin, tmp_path / "fake", {self.SECOND: 2}, damage)
        with pytest.raises(BadFile, match=r"00002-of-00003\.safetensors is not what was fetched, for the second time"):
            self.run(courier, tmp_path / "fake", tmp_path / "a.gguf")
        assert not (tmp_path / "a.gguf").exists()

    @pytest.mark.parametrize("damage", [flipped, poisoned])
    def test_after_that_what_was_whole_is_not_made_again(
        self, origin: Path, expected: bytes, tmp_path: Path, damage: Damage
    ) -> None:
        courier = Courier(origin, tmp_path / "fake", {self.SECOND: 2}, damage)
        with pytest.raises(BadFile):
            self.run(courier, tmp_path / "fake", tmp_path / "a.gguf")
        shutil.rmtree(tmp_path / "fake")
        courier = Courier(origin, tmp_path / "fake")
        self.run(courier, tmp_path / "fake", tmp_path / "a.gguf")
        assert (tmp_path / "a.gguf").read_bytes() == expected
        assert f"take {self.THIRD}" not in courier.said  # which came first, and was whole

    def test_a_source_that_holds_what_no_file_can_is_not_fetched_twice(self, origin: Path, tmp_path: Path) -> None:
        shutil.copytree(origin, tmp_path / "poisoned")
        shard = tmp_path / "poisoned" / self.SECOND
        shard.write_bytes(poisoned(shard.read_bytes()))
        courier = Courier(tmp_path / "poisoned", tmp_path / "fake")
        with pytest.raises(BadValue, match="it holds a value that is NaN"):
            self.run(courier, tmp_path / "fake", tmp_path / "a.gguf")
        assert courier.said.count(f"take {self.SECOND}") == 1
        assert not [*tmp_path.glob("a.*")]

    @pytest.mark.parametrize("tensors", [1, 9, 10, 20])
    def test_an_interrupted_run_takes_only_what_it_still_needs(
        self, origin: Path, expected: bytes, tmp_path: Path, tensors: int
    ) -> None:
        courier = Courier(origin, tmp_path / "fake")
        job = Job(tmp_path / "fake", "Q8_0", tmp_path / "a.gguf", name="fake", provider=courier)
        with closing(quantize(replace(job, manifest=tmp_path / "a.json"))) as events:
            for event in events:
                if isinstance(event, TensorDone) and event.index == tensors:
                    break
        shutil.rmtree(tmp_path / "fake")
        courier = Courier(origin, tmp_path / "fake")
        self.run(courier, tmp_path / "fake", tmp_path / "a.gguf")
        assert (tmp_path / "a.gguf").read_bytes() == expected
        whole = (tensors - 1) // 9  # shards that were done with; the one that was being read is read again
        assert f"start {3 - whole}" in courier.said
        assert courier.said[:whole] == [f"release {name}" for name in (self.SECOND, self.THIRD)[-whole:] if whole]

    def test_a_gguf_in_parts(self, gguf: Path, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        parts = splits.split(gguf, tmp_path / "there", 10)
        events_of(parts[0], tmp_path / "from-disk.gguf", "COPY")
        courier = Courier(tmp_path / "there", tmp_path / "here", {parts[1].name: 1})
        self.run(courier, tmp_path / "here" / parts[0].name, tmp_path / "a.gguf", "COPY")
        assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "from-disk.gguf").read_bytes()


class TestRoom:
    """A disk that is too small is known before the first byte."""

    def test_says_what_is_needed_and_what_would_fit(
        self, fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes = {quant: size_of(open_source(fake, "fake"), RECIPES[quant])[0] for quant in ("Q6_K", "Q5_1", "Q5_K_M")}
        monkeypatch.setattr("r1_quantize.pipeline.free_space", lambda _: sizes["Q6_K"])
        room = f"{sizes['Q6_K'] / 1e6:.3g} MB"
        said = f"[0-9.]+ MB are needed on this disk, {room} are free; Q6_K would fit, with {room}$"
        with pytest.raises(NotEnoughSpace, match=said):
            events_of(fake, tmp_path / "a.gguf", "Q8_0")
        monkeypatch.setattr("r1_quantize.pipeline.free_space", lambda _: 1000)
        with pytest.raises(NotEnoughSpace, match="no quantization of it would fit"):
            events_of(fake, tmp_path / "a.gguf", "Q8_0")
        assert names_in(tmp_path) == []


class TestBadCheckpoints:
    """One line, and nothing left behind."""

    def check(self, source: Path, folder: Path, said: str) -> None:
        folder.mkdir()
        with pytest.raises(BadFile, match=said) as caught:
            events_of(source, folder / "a.gguf")
        assert "\n" not in str(caught.value)
        assert names_in(folder) == []

    def rewrite(self, folder: Path, change: dict[str, Stored | None]) -> Path:
        """A checkpoint whose tensors are other ones; None leaves one out."""
        checkpoints.write(folder)
        stored = {name: checkpoints.stored(name, shape) for name, shape in Shape().tensors.items()} | change
        whole = {name: tensor for name, tensor in stored.items() if tensor is not None}
        checkpoints.write_safetensors(folder / "model.safetensors", whole)
        return folder

    @pytest.mark.parametrize("name", ["model.norm.weight", "lm_head.weight", "model.layers.1.self_attn.q_proj.bias"])
    def test_a_missing_tensor(self, tmp_path: Path, name: str) -> None:
        self.check(self.rewrite(tmp_path / "c", {name: None}), tmp_path / "out", f"the tensor {name} is missing")

    @pytest.mark.parametrize("shape", [(256,), (255, 512), (512, 256), (256, 512, 1), ()])
    def test_a_tensor_of_the_wrong_shape(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        name = "model.layers.0.mlp.down_proj.weight"
        source = self.rewrite(tmp_path / "c", {name: checkpoints.stored(name, shape)})
        said = rf"{name} is \[{', '.join(map(str, shape))}\], config.json asks for \[256, 512\]"
        self.check(source, tmp_path / "out", said)

    def test_a_tensor_of_the_wrong_type(self, tmp_path: Path) -> None:
        source = self.rewrite(tmp_path / "c", {"model.norm.weight": ("I16", (256,), bytes(512))})
        self.check(source, tmp_path / "out", "model.norm.weight is I16, not BF16, F16 or F32")

    def test_a_tensor_too_many(self, tmp_path: Path) -> None:
        extra = "model.layers.2.mlp.down_proj.weight"
        source = self.rewrite(tmp_path / "c", {extra: checkpoints.stored(extra, (256, 512))})
        self.check(source, tmp_path / "out", f"the tensor {extra} has no place in qwen2")

    def test_what_is_computed_rather_than_learned_may_be_there(self, tmp_path: Path, make: Make) -> None:
        extra = "model.layers.0.self_attn.rotary_emb.inv_freq"
        source = self.rewrite(tmp_path / "c", {extra: checkpoints.stored(extra, (32,), "F32")})
        names = [tensor.name for tensor in reader.read(make(source, "F32")).tensors]
        assert len(names) == len(Shape().tensors)

    def test_a_tied_model_may_have_an_output_of_its_own(self, tmp_path: Path, make: Make) -> None:
        source = self.rewrite(tmp_path / "c", {})
        config = json.loads((source / "config.json").read_text()) | {"tie_word_embeddings": True}
        checkpoints.write_json(source / "config.json", config)
        assert "output.weight" in [tensor.name for tensor in reader.read(make(source, "F32")).tensors]

    def test_a_value_that_is_not_finite(self, tmp_path: Path) -> None:
        name = "model.layers.1.mlp.up_proj.weight"
        dtype, shape, data = checkpoints.stored(name, (512, 256))
        source = self.rewrite(tmp_path / "c", {name: (dtype, shape, data[:-2] + b"\xc0\x7f")})
        self.check(source, tmp_path / "out", f"{name}: it holds a value that is NaN")

    def test_another_architecture(self, tmp_path: Path) -> None:
        source = checkpoints.write(tmp_path / "c")
        checkpoints.write_json(source / "config.json", Shape().config | {"architectures": ["GPT2LMHeadModel"]})
        self.check(source, tmp_path / "out", "GPT2LMHeadModel is not known; known are Qwen2ForCausalLM")

    def test_an_unknown_quantization(self, fake: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="did you mean Q4_1 or Q4_0"):
            events_of(fake, tmp_path / "a.gguf", "Q4")

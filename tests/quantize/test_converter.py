"""`r1_quantize.converter`: reads source files once, resumes, and notices changed and damaged files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.errors import BadFile, BadValue
from r1_quantize.events import (
    Noted,
    PipelineEvent,
    Rejected,
    Resumed,
    StartedOver,
    TensorDone,
)
from r1_quantize.files import SourceFile
from r1_quantize.pipeline import Job, quantize
from r1_quantize.store.manifest import Manifest
from r1_quantize.verify import verify
from tests.fakes import checkpoints, quantizer, splits
from tests.fakes.checkpoints import Shape
from tests.quantize.conftest import Make, events_of


class TestSourceChanged:
    """A source that changes during the work is noticed, and results of the old and the new are never mixed."""

    def interrupted(self, source: Path, target: Path, tensors: int, **job: Any) -> None:
        with closing(quantize(Job(source, "Q8_0", target, name="fake", **job))) as events:
            for event in events:
                if isinstance(event, TensorDone) and event.index == tensors:
                    return

    def change_weight(self, source: Path, *, keep_time: bool) -> None:
        path = source / "model.safetensors"
        status, data = path.stat(), bytearray(path.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        data[start + 40_000] ^= 0x10  # in the first tensor, which is finished
        path.write_bytes(data)
        if keep_time:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    @pytest.mark.parametrize("keep_time", [False, True])
    def test_one_bit_of_a_finished_tensor(self, tmp_path: Path, make: Make, keep_time: bool) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake"), tmp_path / "a.gguf"
        self.interrupted(source, target, 9)
        self.change_weight(source, keep_time=keep_time)
        events = events_of(source, target)
        started_over = next(event for event in events if isinstance(event, StartedOver))
        assert started_over.reason.endswith("model.safetensors changed after a part of it was converted")
        assert [event.index for event in events if isinstance(event, TensorDone)] == list(range(1, 28))
        assert target.read_bytes() == make(source, "Q8_0").read_bytes()

    def test_a_finished_shard(self, tmp_path: Path, make: Make) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake", shards=3), tmp_path / "a.gguf"
        self.interrupted(source, target, 20)
        shard = source / "model-00001-of-00003.safetensors"
        data = bytearray(shard.read_bytes())
        data[-1] ^= 0x10
        shard.write_bytes(data)
        assert StartedOver in map(type, events_of(source, target))
        assert target.read_bytes() == make(source, "Q8_0").read_bytes()

    def test_a_shard_that_was_not_read_yet_may_change(self, tmp_path: Path, make: Make) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake", shards=3), tmp_path / "a.gguf"
        self.interrupted(source, target, 3)
        shard = source / "model-00003-of-00003.safetensors"
        data = bytearray(shard.read_bytes())
        data[-1] ^= 0x10
        shard.write_bytes(data)
        assert {Resumed} == {Resumed, StartedOver} & set(map(type, events_of(source, target)))
        assert target.read_bytes() == make(source, "Q8_0").read_bytes()

    def test_a_small_file(self, tmp_path: Path, make: Make) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake"), tmp_path / "a.gguf"
        self.interrupted(source, target, 9)
        checkpoints.write_json(source / "generation_config.json", {"temperature": 0.5})
        events = events_of(source, target)
        assert next(event for event in events if isinstance(event, StartedOver)).reason.startswith(
            "the options, the source or r1 itself changed"
        )
        assert target.read_bytes() == make(source, "Q8_0").read_bytes()

    def test_a_new_mtime_alone_is_no_change(self, tmp_path: Path, gguf: Path) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake"), tmp_path / "a.gguf"
        self.interrupted(source, target, 9)
        os.utime(source / "model.safetensors")
        assert {Resumed} == {Resumed, StartedOver} & set(map(type, events_of(source, target)))
        assert target.read_bytes() == gguf.read_bytes()

    @pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts what this process reads")
    def test_finished_shards_are_not_read_again(self, tmp_path: Path) -> None:
        def read_by(run: Callable[[], object]) -> int:
            before, _, after = bytes_read(), run(), bytes_read()
            return after - before

        source, target = checkpoints.write(tmp_path / "c" / "fake", dtype="F32", shards=3), tmp_path / "a.gguf"
        complete = read_by(lambda: events_of(source, tmp_path / "b.gguf"))
        self.interrupted(source, target, 19)  # two shards of nine tensors, and one more tensor
        shards = sum((source / f"model-0000{n}-of-00003.safetensors").stat().st_size for n in (1, 2))
        result = target.with_suffix(".gguf.partial").stat().st_size  # its finished part is read to be checked
        unfinished = complete - shards
        assert unfinished <= read_by(lambda: events_of(source, target)) < unfinished + result + 50_000

    def test_a_file_that_is_being_read(self, tmp_path: Path) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake"), tmp_path / "a.gguf"

        def run() -> None:
            for event in quantize(Job(source, "Q8_0", target, name="fake")):
                if isinstance(event, TensorDone) and event.index == 5:
                    os.utime(source / "model.safetensors")

        with pytest.raises(BadFile, match="changed while it was read"):
            run()
        assert not target.exists()
        assert StartedOver not in map(type, events_of(source, target))  # the finished tensors are still good

    def test_a_file_that_is_read_later(self, tmp_path: Path) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake", shards=2), tmp_path / "a.gguf"

        def run() -> None:
            for event in quantize(Job(source, "Q8_0", target, name="fake")):
                if isinstance(event, TensorDone) and event.index == 5:
                    os.utime(source / "model-00002-of-00002.safetensors")

        with pytest.raises(BadFile, match=r"00002\.safetensors: the file changed while others were read"):
            run()
        assert not target.exists()

    def test_another_importance_matrix_starts_over(self, tmp_path: Path) -> None:
        source, target = checkpoints.write(tmp_path / "c" / "fake"), tmp_path / "a.gguf"
        first = quantizer.write_imatrix(tmp_path / "imatrix.gguf", Shape())
        self.interrupted(source, target, 9, imatrix=first)
        quantizer.write_imatrix(first, Shape(), left_out="blk.1.ffn_up.weight")
        assert StartedOver in map(type, events_of(source, target, imatrix=first))


def bytes_read() -> int:
    """By this process, so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


Damage = Callable[[bytes], bytes]


def flipped(data: bytes) -> bytes:
    """Flips one bit near the end."""
    return data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:]


def zeroed(data: bytes) -> bytes:
    """Zeros instead of the second half, as when it never reached the disk."""
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)


def poisoned(data: bytes) -> bytes:
    """A NaN as the last value."""
    return data[:-2] + b"\xc0\x7f"


class Courier:
    """A file provider that copies the files of `origin` to `folder` when they are taken, the last one first.

    The first copies of a file are damaged by `damage`, as many as `bad` has for its name; later ones are good.
    """

    def __init__(self, origin: Path, folder: Path, bad: Mapping[str, int] = {}, damage: Damage = flipped) -> None:
        self._origin, self._folder, self._damage = origin, folder, damage
        self._bad = dict(bad)
        self.files: dict[str, SourceFile] = {}
        self.calls: list[str] = []
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
        self.calls.append(f"start {len(wanted)}")
        return wanted[::-1]

    def take(self, file: SourceFile) -> Generator[PipelineEvent, None, Path]:
        name = file.path.name
        self.calls.append(f"take {name}")
        yield Noted(f"{name} is on its way")
        data = (self._origin / name).read_bytes()
        self._bad[name] = left = self._bad.get(name, 0) - 1
        file.path.write_bytes(self._damage(data) if left >= 0 else data)
        return file.path

    def poll(self) -> Iterator[PipelineEvent]:
        yield Noted("polled")

    def release(self, file: SourceFile) -> None:
        self.calls.append(f"release {file.path.name}")
        file.path.unlink(missing_ok=True)

    def reject(self, file: SourceFile) -> None:
        if f"reject {file.path.name}" in self.calls:
            raise BadFile(f"{file.path} is damaged for the second time")
        self.calls.append(f"reject {file.path.name}")
        file.path.unlink()


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in three shards. Tests only read it."""
    return checkpoints.write(tmp_path_factory.mktemp("provided") / "fake", shards=3)


@pytest.fixture(scope="module")
def expected(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The GGUF made of it when all files are on the disk."""
    target = tmp_path_factory.mktemp("from-disk") / "a.gguf"
    events_of(origin, target)
    return target.read_bytes()


class TestProvidedFiles:
    """Files that come late, in another order or damaged at first give the same bytes as files on the disk."""

    FIRST, SECOND, THIRD = (f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3))

    def run(self, courier: Courier, source: Path, target: Path, quant: str = "Q8_0") -> list[PipelineEvent]:
        return events_of(source, target, quant, provider=courier, manifest=target.with_suffix(".json"))

    def test_late_and_in_another_order(self, origin: Path, expected: bytes, tmp_path: Path) -> None:
        courier = Courier(origin, tmp_path / "fake")
        events = self.run(courier, tmp_path / "fake", tmp_path / "a.gguf")
        assert (tmp_path / "a.gguf").read_bytes() == expected
        order = (self.THIRD, self.SECOND, self.FIRST)
        assert courier.calls == ["start 3", *(f"{what} {name}" for name in order for what in ("take", "release"))]
        assert [event.text for event in events if isinstance(event, Noted) and event.text != "polled"] == [
            f"{name} is on its way" for name in order
        ]
        assert not [*(tmp_path / "fake").glob("*.safetensors")]

    def test_the_manifest_is_the_same_too(self, origin: Path, tmp_path: Path) -> None:
        self.run(Courier(origin, tmp_path / "fake"), tmp_path / "fake", tmp_path / "a.gguf")
        found = Manifest.read(tmp_path / "a.json")
        assert found is not None
        assert found.source_sha256 == {path.name: sha256(path.read_bytes()).hexdigest() for path in origin.iterdir()}

    def test_the_providers_events_come_between_tensors(self, origin: Path, tmp_path: Path) -> None:
        events = self.run(Courier(origin, tmp_path / "fake"), tmp_path / "fake", tmp_path / "a.gguf")
        assert events.count(Noted("polled")) >= len(Shape().tensors)

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
        assert {f"reject {name}" for name in bad} == {call for call in courier.calls if call.startswith("reject")}

    def test_the_counts_stay_right_when_a_file_comes_twice(self, origin: Path, tmp_path: Path) -> None:
        events = self.run(Courier(origin, tmp_path / "fake", {self.SECOND: 1}), tmp_path / "fake", tmp_path / "a.gguf")
        done = [event.index for event in events if isinstance(event, TensorDone)]
        assert done == [*range(1, 19), *range(10, 28)]  # nine tensors a shard, the second of them twice
        (resumed,) = (event for event in events if isinstance(event, Resumed))
        assert resumed.tensors == 9

    @pytest.mark.parametrize("damage", [flipped, poisoned])
    def test_damaged_twice(self, origin: Path, tmp_path: Path, damage: Damage) -> None:
        courier = Courier(origin, tmp_path / "fake", {self.SECOND: 2}, damage)
        with pytest.raises(BadFile, match=r"00002-of-00003\.safetensors is damaged for the second time"):
            self.run(courier, tmp_path / "fake", tmp_path / "a.gguf")
        assert not (tmp_path / "a.gguf").exists()

    @pytest.mark.parametrize("damage", [flipped, poisoned])
    def test_after_that_finished_files_are_not_read_again(
        self, origin: Path, expected: bytes, tmp_path: Path, damage: Damage
    ) -> None:
        courier = Courier(origin, tmp_path / "fake", {self.SECOND: 2}, damage)
        with pytest.raises(BadFile):
            self.run(courier, tmp_path / "fake", tmp_path / "a.gguf")
        shutil.rmtree(tmp_path / "fake")
        courier = Courier(origin, tmp_path / "fake")
        self.run(courier, tmp_path / "fake", tmp_path / "a.gguf")
        assert (tmp_path / "a.gguf").read_bytes() == expected
        assert f"take {self.THIRD}" not in courier.calls  # which came first and was finished

    def test_a_source_published_with_a_nan_is_not_fetched_twice(self, origin: Path, tmp_path: Path) -> None:
        shutil.copytree(origin, tmp_path / "poisoned")
        shard = tmp_path / "poisoned" / self.SECOND
        shard.write_bytes(poisoned(shard.read_bytes()))
        courier = Courier(tmp_path / "poisoned", tmp_path / "fake")
        with pytest.raises(BadValue, match="a value is NaN"):
            self.run(courier, tmp_path / "fake", tmp_path / "a.gguf")
        assert courier.calls.count(f"take {self.SECOND}") == 1
        assert not [*tmp_path.glob("a.*")]

    @pytest.mark.parametrize("tensors", [1, 9, 10, 20])
    def test_a_resumed_run_takes_only_unfinished_files(
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
        finished = (tensors - 1) // 9  # shards; the one that was being read is read again
        assert f"start {3 - finished}" in courier.calls
        assert courier.calls[:finished] == [
            f"release {name}" for name in (self.SECOND, self.THIRD)[-finished:] if finished
        ]

    def test_a_split_gguf(self, gguf: Path, tmp_path: Path) -> None:
        (tmp_path / "origin").mkdir()
        parts = splits.split(gguf, tmp_path / "origin", 10)
        events_of(parts[0], tmp_path / "from-disk.gguf", "COPY")
        courier = Courier(tmp_path / "origin", tmp_path / "copies", {parts[1].name: 1})
        self.run(courier, tmp_path / "copies" / parts[0].name, tmp_path / "a.gguf", "COPY")
        assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "from-disk.gguf").read_bytes()

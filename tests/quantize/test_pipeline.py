"""`r1_quantize.pipeline`: makes a GGUF as events; an interrupted run never leaves a file that looks finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from hashlib import sha256
from itertools import groupby
from pathlib import Path

import gguf as reference
import pytest

from r1_quantize import catalog
from r1_quantize.checkpoint.architecture import architecture_of
from r1_quantize.errors import NotEnoughSpace, UsageError
from r1_quantize.events import (
    Advanced,
    Checked,
    Finished,
    Planned,
    Resumed,
    StartedOver,
    TensorDone,
)
from r1_quantize.pipeline import Job, open_source, quantize
from r1_quantize.plan import size_of
from r1_quantize.recipe import RECIPES
from r1_quantize.store.manifest import Manifest
from r1_quantize.store.store import Store
from r1_quantize.verify import verify
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape
from tests.quantize.conftest import events_of, names_in


class TestEvents:
    """A plan, each tensor, the end, with correct numbers."""

    def test_are_a_plan_then_each_tensor_then_the_end(self, fake: Path, tmp_path: Path) -> None:
        events = events_of(fake, tmp_path / "a.gguf")
        kinds = [kind for kind, _ in groupby(map(type, events))]
        assert kinds == [Planned, *[Advanced, TensorDone] * len(Shape().tensors), Checked, Finished]

    def test_bytes_add_up_to_the_plan(self, fake: Path, tmp_path: Path) -> None:
        planned, *events = events_of(fake, tmp_path / "a.gguf")
        assert isinstance(planned, Planned)
        advanced = [event for event in events if isinstance(event, Advanced)]
        assert sum(event.bytes_in for event in advanced) == planned.bytes_in
        assert 0 <= planned.bytes_out - sum(event.bytes_out for event in advanced) < 40_000  # header and padding
        checked = sum(event.bytes for event in events if isinstance(event, Checked))
        assert 0 <= planned.bytes_out - checked < 32 * len(Shape().tensors)

    def test_the_plan_has_the_size_of_the_result(self, fake: Path, tmp_path: Path) -> None:
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

    def test_tensors_are_those_of_the_file(self, fake: Path, tmp_path: Path) -> None:
        events = events_of(fake, tmp_path / "a.gguf")
        done = [(e.name, e.ggml_type, e.bytes_out) for e in events if isinstance(e, TensorDone)]
        found = reference.GGUFReader(tmp_path / "a.gguf").tensors
        assert sorted(done) == sorted((tensor.name, tensor.tensor_type.name, tensor.n_bytes) for tensor in found)

    def test_tensors_come_in_the_order_of_the_source(self, fake: Path, tmp_path: Path) -> None:
        done = [event.name for event in events_of(fake, tmp_path / "a.gguf") if isinstance(event, TensorDone)]
        sources = {weight.name: weight.source for weight in architecture_of(Shape().config).weights}
        assert [sources[name] for name in done] == list(Shape().tensors)

    def test_nothing_is_written_before_the_plan(self, fake: Path, tmp_path: Path) -> None:
        with closing(quantize(Job(fake, "Q8_0", tmp_path / "a.gguf", name="fake"))) as events:
            next(events)
            assert names_in(tmp_path) == []


class TestManifest:
    """The manifest describes the result."""

    def test_names_source_result_and_tools(self, fake: Path, tmp_path: Path) -> None:
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

    def test_is_written_only_when_the_job_asks_for_it(self, fake: Path, tmp_path: Path) -> None:
        events_of(fake, tmp_path / "a.gguf")
        assert names_in(tmp_path) == ["a.gguf"]

    def test_replaces_that_of_an_older_file(self, fake: Path, tmp_path: Path) -> None:
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
    """However a run ends, no unfinished file has the final name, and the next run resumes it."""

    @pytest.mark.parametrize("taken", [0, 1, 2])
    def test_by_its_caller_before_a_tensor_is_finished(self, fake: Path, tmp_path: Path, taken: int) -> None:
        with closing(quantize(Job(fake, "Q8_0", tmp_path / "a.gguf", name="fake"))) as events:
            for _ in range(taken):
                next(events)
        assert names_in(tmp_path) == []

    @pytest.mark.parametrize("tensors", [1, 2, 13, 26, 27])
    def test_by_its_caller(self, fake: Path, gguf: Path, tmp_path: Path, tensors: int) -> None:
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
    def test_by_sigkill(self, fake: Path, gguf: Path, tmp_path: Path, tensor: int) -> None:
        store = Store(tmp_path, catalog.load())
        command = [sys.executable, "-c", PAUSED, str(fake), str(tmp_path), str(tensor)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
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


class TestDiskSpace:
    """A disk that is too small is refused before the first byte is written."""

    def test_names_the_needed_space_and_a_type_that_would_fit(
        self, fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes = {quant: size_of(open_source(fake, "fake"), RECIPES[quant])[0] for quant in ("Q6_K", "Q5_1", "Q5_K_M")}
        monkeypatch.setattr("r1_quantize.pipeline.free_space", lambda _: sizes["Q6_K"])
        free = f"{sizes['Q6_K'] / 1e6:.3g} MB"
        said = f"[0-9.]+ MB needed on this disk, {free} free; Q6_K would fit, with {free}$"
        with pytest.raises(NotEnoughSpace, match=said):
            events_of(fake, tmp_path / "a.gguf", "Q8_0")
        monkeypatch.setattr("r1_quantize.pipeline.free_space", lambda _: 1000)
        with pytest.raises(NotEnoughSpace, match="no type would fit"):
            events_of(fake, tmp_path / "a.gguf", "Q8_0")
        assert names_in(tmp_path) == []


def test_an_unknown_type_is_refused(fake: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean Q4_1 or Q4_0"):
        events_of(fake, tmp_path / "a.gguf", "Q4")

"""`r1_quantize.writer`: only a complete file gets its final name; finished tensors are kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import gguf
import pytest

from r1_quantize.errors import BadValue, NotEnoughSpace, R1Error, UsageError
from r1_quantize.journal import FileRecord, TensorRecord
from r1_quantize.pipeline import open_source
from r1_quantize.plan import ConversionPlan, plan
from r1_quantize.recipe import recipe_for
from r1_quantize.store.manifest import Manifest
from r1_quantize.writer import PartialGGUF, free_space, salvage
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape
from tests.quantize.conftest import names_in
from tests.quantize.store.test_manifest import MANIFEST

PARTIAL, JOURNAL = "a.gguf.partial", "a.gguf.partial.journal"


@pytest.fixture
def planned(fake: Path) -> ConversionPlan:
    """The artificial checkpoint as plain floats."""
    return plan(open_source(fake, "fake"), recipe_for("F32"))


def data_of(planned: ConversionPlan, number: int) -> bytes:
    """Bytes for a tensor, all finite numbers."""
    return bytes([number % 60] * planned.tensors[number].nbytes)


def put(file: PartialGGUF, planned: ConversionPlan, numbers: Iterator[int] | range) -> None:
    """Writes these tensors."""
    for number in numbers:
        tensor, data = planned.tensors[number], data_of(planned, number)
        file.write_at(tensor.offset, data)
        file.tensor_done(tensor.name, TensorRecord(zlib.crc32(data), "0" * 64))


@contextmanager
def begun(target: Path, planned: ConversionPlan, job: str = "job") -> Iterator[PartialGGUF]:
    """A file that resumes an older unfinished one if there is one."""
    with PartialGGUF(target, planned, job) as file:
        for _ in file.begin():
            pass
        yield file


def write(target: Path, planned: ConversionPlan) -> str:
    """Writes a complete file, last tensor first; returns its digest."""
    with begun(target, planned) as file:
        put(file, planned, range(len(planned.tensors) - 1, -1, -1))
        checking = file.check(sha256)
        while True:
            try:
                next(checking)
            except StopIteration as end:
                file.rename()
                return str(end.value)


def expected(planned: ConversionPlan) -> bytes:
    """The complete file."""
    parts = [planned.header]
    for number in range(len(planned.tensors)):
        data = data_of(planned, number)
        parts.append(data + bytes(-len(data) % 32))
    return b"".join(parts)


@contextmanager
def at_most_bytes_a_file(limit: int) -> Iterator[None]:
    """Limits file sizes: a full disk without privileges. Applies to pytest's own output too."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestComplete:
    """The file has everything that was written, in any order, under its final name, and no other file is left."""

    def test_has_the_bytes_and_their_digest(self, tmp_path: Path, planned: ConversionPlan) -> None:
        digest = write(tmp_path / "a.gguf", planned)
        assert (tmp_path / "a.gguf").read_bytes() == expected(planned)
        assert digest == sha256(expected(planned)).hexdigest()
        assert names_in(tmp_path) == ["a.gguf"]

    def test_has_no_final_name_before(self, tmp_path: Path, planned: ConversionPlan) -> None:
        with begun(tmp_path / "a.gguf", planned) as file:
            put(file, planned, range(len(planned.tensors)))
            assert names_in(tmp_path) == [PARTIAL, JOURNAL]

    def test_replaces_an_older_file(self, tmp_path: Path, planned: ConversionPlan) -> None:
        (tmp_path / "a.gguf").write_bytes(b"older")
        write(tmp_path / "a.gguf", planned)
        assert (tmp_path / "a.gguf").read_bytes() == expected(planned)

    def test_a_file_the_disk_does_not_return_gets_no_name(self, tmp_path: Path, planned: ConversionPlan) -> None:
        with pytest.raises(R1Error, match=r"blk\.1\.attn_q\.weight was not read back as written") as caught:
            self.write_and_spoil(tmp_path / "a.gguf", planned)
        assert "\n" not in str(caught.value)
        assert names_in(tmp_path) == []

    def write_and_spoil(self, target: Path, planned: ConversionPlan) -> None:
        with begun(target, planned) as file:
            put(file, planned, range(len(planned.tensors)))
            spoilt = next(tensor for tensor in planned.tensors if tensor.name == "blk.1.attn_q.weight")
            file.write_at(spoilt.offset + 17, b"\x01")
            for _ in file.check(sha256):
                pass


class TestInterrupted:
    """Finished tensors stay for the next run; an older file is unchanged."""

    def interrupt(
        self, folder: Path, planned: ConversionPlan, count: int, error: type[BaseException] = KeyboardInterrupt
    ) -> None:
        with begun(folder / "a.gguf", planned) as file:
            put(file, planned, range(count))
            raise error

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, NotEnoughSpace])
    def test_is_resumed(self, tmp_path: Path, planned: ConversionPlan, error: type[BaseException]) -> None:
        (tmp_path / "a.gguf").write_bytes(b"older")
        with pytest.raises(error):
            self.interrupt(tmp_path, planned, 3, error)
        assert names_in(tmp_path) == ["a.gguf", PARTIAL, JOURNAL]
        assert (tmp_path / "a.gguf").read_bytes() == b"older"
        with begun(tmp_path / "a.gguf", planned) as file:
            assert [*file.progress.tensors] == [tensor.name for tensor in planned.tensors[:3]]
            assert file.started_over is None

    def test_before_any_tensor_is_finished_leaves_nothing(self, tmp_path: Path, planned: ConversionPlan) -> None:
        with pytest.raises(KeyboardInterrupt):
            self.interrupt(tmp_path, planned, 0)
        assert names_in(tmp_path) == []

    def test_by_a_bad_value_leaves_nothing(self, tmp_path: Path, planned: ConversionPlan) -> None:
        with pytest.raises(BadValue):
            self.interrupt(tmp_path, planned, 3, BadValue)
        assert names_in(tmp_path) == []

    def test_a_tensor_that_never_reached_the_disk_is_made_again(self, tmp_path: Path, planned: ConversionPlan) -> None:
        with pytest.raises(KeyboardInterrupt):
            self.interrupt(tmp_path, planned, 9)
        lost = planned.tensors[4]
        with (tmp_path / PARTIAL).open("r+b") as file:  # as after a power cut: in the journal, but zeros on the disk
            file.seek(lost.offset)
            file.write(bytes(lost.nbytes))
        with begun(tmp_path / "a.gguf", planned) as taken_up:
            assert lost.name not in taken_up.progress.tensors
            assert len(taken_up.progress.tensors) == 8

    def test_by_a_power_cut_that_cut_the_file_short(self, tmp_path: Path, planned: ConversionPlan) -> None:
        with pytest.raises(KeyboardInterrupt):
            self.interrupt(tmp_path, planned, 9)
        os.truncate(tmp_path / PARTIAL, planned.size - 1)
        assert write(tmp_path / "a.gguf", planned) == sha256(expected(planned)).hexdigest()

    def test_another_job_starts_over_and_says_why(self, tmp_path: Path, planned: ConversionPlan) -> None:
        with pytest.raises(KeyboardInterrupt):
            self.interrupt(tmp_path, planned, 3)
        with begun(tmp_path / "a.gguf", planned, "another job") as file:
            assert file.started_over
            assert not file.progress.tensors

    def test_unfinished_files_of_older_versions_are_overwritten(self, tmp_path: Path, planned: ConversionPlan) -> None:
        (tmp_path / PARTIAL).write_bytes(b"x" * planned.size)
        write(tmp_path / "a.gguf", planned)
        assert (tmp_path / "a.gguf").read_bytes() == expected(planned)

    def test_while_it_resumes_loses_nothing(self, tmp_path: Path, planned: ConversionPlan) -> None:
        with pytest.raises(KeyboardInterrupt):
            self.interrupt(tmp_path, planned, 9)
        for stop in range(3):
            with PartialGGUF(tmp_path / "a.gguf", planned, "job") as file:
                for _, _ in zip(range(stop), file.begin(), strict=False):
                    pass
        with begun(tmp_path / "a.gguf", planned) as file:
            assert len(file.progress.tensors) == 9

    def test_damaged_padding_is_rewritten(self, tmp_path: Path) -> None:
        ragged = checkpoints.write(tmp_path / "c", Shape(hidden=32, heads=4, kv_heads=1, head_dim=2))
        planned = plan(open_source(ragged, "ragged"), recipe_for("F32"))
        with pytest.raises(KeyboardInterrupt):
            self.interrupt(tmp_path, planned, 9)
        place = next(t.offset + t.nbytes for t in planned.tensors if t.nbytes % 32)
        with (tmp_path / PARTIAL).open("r+b") as file:
            file.seek(place)
            file.write(b"\1")
        assert write(tmp_path / "a.gguf", planned) == sha256(expected(planned)).hexdigest()

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    @pytest.mark.parametrize("name", [PARTIAL, JOURNAL])
    def test_a_link_is_not_followed(self, tmp_path: Path, planned: ConversionPlan, name: str) -> None:
        (tmp_path / "victim").write_bytes(b"mine")
        (tmp_path / name).symlink_to(tmp_path / "victim")
        with suppress(UsageError):
            write(tmp_path / "a.gguf", planned)
        assert (tmp_path / "victim").read_bytes() == b"mine"
        assert not (tmp_path / "a.gguf").is_symlink()

    def test_by_another_process_that_writes_the_same_file(self, tmp_path: Path, planned: ConversionPlan) -> None:
        with begun(tmp_path / "a.gguf", planned) as file:
            put(file, planned, range(2))
            with pytest.raises(R1Error, match="another process is making"):
                PartialGGUF(tmp_path / "a.gguf", planned, "job")
            assert names_in(tmp_path) == [PARTIAL, JOURNAL]
            assert len(file.progress.tensors) == 2

    def test_a_missing_folder(self, tmp_path: Path, planned: ConversionPlan) -> None:
        with pytest.raises(UsageError, match=r"cannot write .*: No such file"):
            PartialGGUF(tmp_path / "none" / "a.gguf", planned, "job")

    def test_a_folder_of_that_name(self, tmp_path: Path, planned: ConversionPlan) -> None:
        (tmp_path / "a.gguf").mkdir()
        with pytest.raises(R1Error, match=r"a\.gguf: "):
            write(tmp_path / "a.gguf", planned)


class TestRename:
    """A kill at any moment leaves either the complete file, or a partial one with its journal."""

    def test_the_journal_outlives_the_rename(
        self, tmp_path: Path, planned: ConversionPlan, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replace_file, seen = Path.replace, list[bool]()

        def observed(path: Path, target: Path) -> Path:
            if path.name == PARTIAL:
                seen.append((tmp_path / JOURNAL).exists())
            return replace_file(path, target)

        monkeypatch.setattr(Path, "replace", observed)
        write(tmp_path / "a.gguf", planned)
        assert seen == [True]
        assert not (tmp_path / JOURNAL).exists()


class TestForgotten:
    """Forgotten tensors are made again, in this run or the next."""

    def test_keeps_the_others(self, tmp_path: Path, planned: ConversionPlan) -> None:
        names = [tensor.name for tensor in planned.tensors]
        with pytest.raises(KeyboardInterrupt):
            self.forget_and_stop(tmp_path / "a.gguf", planned, names[2:5])
        with begun(tmp_path / "a.gguf", planned) as file:
            assert list(file.progress.tensors) == [*names[:2], *names[5:9]]

    def forget_and_stop(self, target: Path, planned: ConversionPlan, names: list[str]) -> None:
        with begun(target, planned) as file:
            put(file, planned, range(9))
            file.file_done("a.safetensors", FileRecord((1, 2, 3), "0" * 64))
            file.forget(iter(names))
            assert not file.progress.tensors.keys() & set(names)
            assert "a.safetensors" in file.progress.files
            raise KeyboardInterrupt

    def test_can_be_written_again(self, tmp_path: Path, planned: ConversionPlan) -> None:
        with begun(tmp_path / "a.gguf", planned) as file:
            put(file, planned, range(len(planned.tensors)))
            file.write_at(planned.tensors[3].offset, b"\1" * planned.tensors[3].nbytes)
            file.forget([planned.tensors[3].name])
            put(file, planned, range(3, 4))
            for _ in file.check(sha256):
                pass
            file.rename()
        assert (tmp_path / "a.gguf").read_bytes() == expected(planned)
        assert names_in(tmp_path) == ["a.gguf"]

    def test_all_of_them_leave_nothing(self, tmp_path: Path, planned: ConversionPlan) -> None:
        with begun(tmp_path / "a.gguf", planned) as file:
            put(file, planned, range(9))
            file.forget(tensor.name for tensor in planned.tensors)
        assert names_in(tmp_path) == []


class TestChecksums:
    """The CRC-32 of each tensor's bytes in the file."""

    @pytest.mark.parametrize("shape", [Shape(), Shape(llama=True)])
    def test_of_all_of_them(self, tmp_path: Path, shape: Shape) -> None:
        planned = plan(open_source(checkpoints.write(tmp_path / "c", shape), "c"), recipe_for("F32"))
        with begun(tmp_path / "a.gguf", planned) as file:
            for number, tensor in enumerate(planned.tensors):
                if tensor.source.file is None:  # computed, like Llama's rope factors
                    file.write_at(tensor.offset, tensor.source.data)
                else:
                    put(file, planned, range(number, number + 1))
            found = file.checksums()
            for _ in file.check(sha256):
                pass
            file.rename()
        data = (tmp_path / "a.gguf").read_bytes()
        tensors = gguf.GGUFReader(tmp_path / "a.gguf").tensors
        assert found == {t.name: zlib.crc32(data[t.data_offset : t.data_offset + int(t.n_bytes)]) for t in tensors}
        assert any(name.startswith("rope_freqs") for name in found) == shape.llama


class TestSalvaged:
    """A damaged file becomes an unfinished one; its good tensors are not made again."""

    @pytest.fixture
    def made(self, tmp_path: Path, planned: ConversionPlan) -> Manifest:
        """The manifest of a complete file at a.gguf."""
        digest = write(tmp_path / "a.gguf", planned)
        data = (tmp_path / "a.gguf").read_bytes()
        crcs = {t.name: zlib.crc32(data[t.offset : t.offset + t.nbytes]) for t in planned.tensors}
        files = {"model.safetensors": "1" * 64}
        return replace(MANIFEST, sha256=digest, size=len(data), tensor_crc32=crcs, source_sha256=files)

    def damage(self, path: Path, *places: int) -> None:
        with path.open("r+b") as file:
            for place in places:
                file.seek(place)
                file.write(b"\xff")

    def test_only_damaged_tensors_are_unfinished(self, tmp_path: Path, planned: ConversionPlan, made: Manifest) -> None:
        bad = [planned.tensors[number] for number in (2, 7)]
        self.damage(tmp_path / "a.gguf", *(tensor.offset + 3 for tensor in bad))
        salvage(tmp_path / "a.gguf", planned, "job", made)
        assert names_in(tmp_path) == [PARTIAL, JOURNAL]
        with begun(tmp_path / "a.gguf", planned) as file:
            assert {t.name for t in planned.tensors} - file.progress.tensors.keys() == {t.name for t in bad}
            assert file.progress.files["model.safetensors"].digest == "1" * 64

    @pytest.mark.parametrize("spoil", ["header", "cut", "longer", "empty", "nothing"])
    def test_any_other_damage_is_repaired(
        self, tmp_path: Path, planned: ConversionPlan, made: Manifest, spoil: str
    ) -> None:
        path, before = tmp_path / "a.gguf", (tmp_path / "a.gguf").read_bytes()
        change = {"header": b"\0" * 100 + before[100:], "cut": before[:-100_000], "longer": before + b"x" * 1000}
        path.write_bytes(change.get(spoil, b"" if spoil == "empty" else before))
        salvage(path, planned, "job", made)
        with begun(path, planned) as file:
            wanted = [n for n, t in enumerate(planned.tensors) if t.name not in file.progress.tensors]
            assert bool(wanted) == (spoil in {"cut", "empty"})
            for number in wanted:
                put(file, planned, range(number, number + 1))
            for _ in file.check(sha256):
                pass
            file.rename()
        assert path.read_bytes() == before

    def test_a_manifest_without_checksums_means_all_tensors(
        self, tmp_path: Path, planned: ConversionPlan, made: Manifest
    ) -> None:
        salvage(tmp_path / "a.gguf", planned, "job", replace(made, tensor_crc32={}))
        with begun(tmp_path / "a.gguf", planned) as file:
            assert not file.progress.tensors

    def test_wrong_checksums_in_the_manifest_mean_those_tensors(
        self, tmp_path: Path, planned: ConversionPlan, made: Manifest
    ) -> None:
        lies = dict.fromkeys([*made.tensor_crc32, "elsewhere"], 1 << 70)
        salvage(tmp_path / "a.gguf", planned, "job", replace(made, tensor_crc32=lies))
        with begun(tmp_path / "a.gguf", planned) as file:
            assert not file.progress.tensors

    def test_an_interrupted_repair_is_resumed(self, tmp_path: Path, planned: ConversionPlan, made: Manifest) -> None:
        salvage(tmp_path / "a.gguf", planned, "job", made)
        before = (tmp_path / JOURNAL).read_bytes()
        salvage(tmp_path / "a.gguf", planned, "job", replace(made, tensor_crc32={}))
        assert (tmp_path / JOURNAL).read_bytes() == before

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is forbidden to root")
    def test_a_read_only_folder(self, tmp_path: Path, planned: ConversionPlan, made: Manifest) -> None:
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(R1Error, match=r"a\.gguf: Permission denied"):
                salvage(tmp_path / "a.gguf", planned, "job", made)
        finally:
            tmp_path.chmod(0o700)


class TestFullDisk:
    """A full disk gives a line with the space needed, and finished tensors stay."""

    def test_free_space_is_that_of_the_nearest_existing_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = shutil.disk_usage(tmp_path).free
        assert abs(free_space(tmp_path / "not" / "yet" / "there" / "a.gguf") - free) < 1 << 28
        monkeypatch.chdir(tmp_path)
        assert abs(free_space(Path("not/yet/a.gguf")) - free) < 1 << 28
        assert names_in(tmp_path) == []

    def test_while_writing(self, tmp_path: Path, planned: ConversionPlan) -> None:
        limit = planned.tensors[5].offset
        with (
            at_most_bytes_a_file(limit),
            pytest.raises(NotEnoughSpace, match=r"[\d.]+ MB needed, [\d.]+ [kMGT]?B free"),
        ):
            write(tmp_path / "a.gguf", planned)
        assert names_in(tmp_path) == []

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say how much of the disk a file takes")
    def test_the_unfinished_files_own_space_counts_as_free(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On a disk that nothing else writes to; the real one is shared with other tests."""

        def disk_usage(folder: Path) -> SimpleNamespace:
            return SimpleNamespace(free=10**9 - sum(file.stat().st_blocks * 512 for file in folder.iterdir()))

        monkeypatch.setattr(shutil, "disk_usage", disk_usage)
        assert free_space(tmp_path / "a.gguf") == 10**9
        (tmp_path / PARTIAL).write_bytes(b"x" * (1 << 22))
        assert disk_usage(tmp_path).free < 10**9
        assert free_space(tmp_path / "a.gguf") == 10**9

    @pytest.mark.skipif(sys.platform != "linux", reason="needs user namespaces")
    def test_on_a_real_small_disk(self, tmp_path: Path, fake: Path, gguf: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from r1_quantize.events import *\n"
            "from r1_quantize.pipeline import Job, quantize\n"
            "from r1_quantize.errors import NotEnoughSpace\n"
            "folder, filler = Path(sys.argv[1]), Path(sys.argv[1]) / 'filler'\n"
            "job = Job(Path(sys.argv[2]), 'Q8_0', folder / 'a.gguf', 'fake')\n"
            "def run():\n"
            "    for event in quantize(job):\n"
            "        if isinstance(event, Planned) and not filler.exists(): filler.write_bytes(bytes(1_000_000))\n"
            "        if isinstance(event, Resumed): print('resumed', event.tensors > 3)\n"
            "        if isinstance(event, TensorDone) and event.index == 8:\n"
            "            filler.write_bytes(bytes(2_600_000))\n"  # another program fills the disk meanwhile
            "try: run()\n"
            "except NotEnoughSpace as exc: print(exc, sorted(path.name for path in folder.iterdir()))\n"
            "filler.write_bytes(b''); run()\n"
            "from hashlib import sha256; print(sha256((folder / 'a.gguf').read_bytes()).hexdigest())"
        )
        script = 'mount -t tmpfs -o size=3m none "$1" && exec "$2" -c "$3" "$1" "$4"'
        arguments = ["unshare", "-rm", "sh", "-c", script, "sh", str(tmp_path), sys.executable, code, str(fake)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if "unshare" in done.stderr or "mount" in done.stderr:
            pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
        refused, resumed, digest = done.stdout.splitlines()
        assert "No space left on device" in refused
        assert refused.endswith(f"['{PARTIAL}', '{JOURNAL}', 'filler']")
        assert resumed == "resumed True"
        assert digest == sha256(gguf.read_bytes()).hexdigest()

"""`r1_quantize.writer`: a file has its name only when it is whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from r1_quantize.errors import NotEnoughRoom, R1Error
from r1_quantize.writer import GGUFWriter
from tests.quantize.conftest import names_in

BYTES = bytes(range(256)) * 256


def write(target: Path) -> GGUFWriter:
    """Write BYTES to `target`, all the way."""
    with GGUFWriter(target, len(BYTES)) as writer:
        writer.write(BYTES)
        writer.flush()
        writer.rename()
    return writer


@contextmanager
def at_most_bytes_a_file(limit: int) -> Iterator[None]:
    """The one way to run out of room that needs no privileges. Pytest's own output is bound by it too."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestWhole:
    """What was written is there, under its name, and nothing else is."""

    def test_has_the_bytes_and_their_digest(self, tmp_path: Path) -> None:
        writer = write(tmp_path / "a.gguf")
        assert (tmp_path / "a.gguf").read_bytes() == BYTES
        assert writer.sha256 == sha256(BYTES).hexdigest()
        assert names_in(tmp_path) == ["a.gguf"]

    def test_has_no_name_before(self, tmp_path: Path) -> None:
        with GGUFWriter(tmp_path / "a.gguf", len(BYTES)) as writer:
            writer.write(BYTES)
            writer.flush()
            assert names_in(tmp_path) == ["a.gguf.partial"]

    def test_takes_the_place_of_an_older_one(self, tmp_path: Path) -> None:
        (tmp_path / "a.gguf").write_bytes(b"older")
        write(tmp_path / "a.gguf")
        assert (tmp_path / "a.gguf").read_bytes() == BYTES

    def test_what_a_killed_process_left_is_written_over(self, tmp_path: Path) -> None:
        (tmp_path / "a.gguf.partial").write_bytes(BYTES * 2)
        write(tmp_path / "a.gguf")
        assert (tmp_path / "a.gguf").read_bytes() == BYTES

    def test_padding_is_zeros_up_to_32(self, tmp_path: Path) -> None:
        with GGUFWriter(tmp_path / "a.gguf", 64) as writer:
            writer.write(b"x" * 33)
            writer.pad()
            writer.pad()
            writer.flush()
            writer.rename()
        assert (tmp_path / "a.gguf").read_bytes() == b"x" * 33 + bytes(31)


class TestInterrupted:
    """Whatever goes wrong, an older file stays as it was and nothing half-made is left."""

    def write_some_and_raise(self, writer: GGUFWriter, error: type[BaseException]) -> None:
        writer.write(BYTES[:100])
        raise error

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_by_an_error(self, tmp_path: Path, error: type[BaseException]) -> None:
        (tmp_path / "a.gguf").write_bytes(b"older")
        writer = GGUFWriter(tmp_path / "a.gguf", len(BYTES))
        with pytest.raises(error), writer:
            self.write_some_and_raise(writer, error)
        assert names_in(tmp_path) == ["a.gguf"]
        assert (tmp_path / "a.gguf").read_bytes() == b"older"

    def test_by_another_process_that_writes_the_same_file(self, tmp_path: Path) -> None:
        with GGUFWriter(tmp_path / "a.gguf", len(BYTES)) as writer:
            writer.write(BYTES[:100])
            with pytest.raises(R1Error, match="another process is writing it"):
                GGUFWriter(tmp_path / "a.gguf", len(BYTES))
            writer.write(BYTES[100:])
            writer.flush()
            writer.rename()
        assert (tmp_path / "a.gguf").read_bytes() == BYTES

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(R1Error, match="No such file"):
            GGUFWriter(tmp_path / "none" / "a.gguf", 1)

    def test_a_folder_has_the_name(self, tmp_path: Path) -> None:
        (tmp_path / "a.gguf").mkdir()
        with pytest.raises(R1Error, match=r"a\.gguf: "):
            write(tmp_path / "a.gguf")
        assert names_in(tmp_path) == ["a.gguf"]


class TestFullDisk:
    """No room is said before the first byte where it can be known, and leaves nothing where it cannot."""

    def test_is_known_beforehand(self, tmp_path: Path) -> None:
        with pytest.raises(NotEnoughRoom, match=r"bytes are needed on this disk, [\d,]+ are free"):
            GGUFWriter(tmp_path / "a.gguf", 1 << 60)
        assert names_in(tmp_path) == []

    def test_is_met_on_the_way(self, tmp_path: Path) -> None:
        with at_most_bytes_a_file(10_000), pytest.raises(NotEnoughRoom, match="bytes are missing"):
            write(tmp_path / "a.gguf")
        assert names_in(tmp_path) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="needs user namespaces")
    def test_of_a_real_small_disk(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from r1_quantize.writer import GGUFWriter\n"
            "from r1_quantize.errors import NotEnoughRoom\n"
            "folder = Path(sys.argv[1]); filler = folder / 'filler'; size = 200_000\n"
            "try:\n"
            "    with GGUFWriter(folder / 'a.gguf', size) as writer:\n"
            "        filler.write_bytes(bytes(150_000))\n"  # another program takes the room meanwhile
            "        writer.write(bytes(size)); writer.flush(); writer.rename()\n"
            "except NotEnoughRoom as exc: print(exc, sorted(path.name for path in folder.iterdir()))"
        )
        script = 'mount -t tmpfs -o size=256k none "$1" && exec "$2" -c "$3" "$1"'
        arguments = ["unshare", "-rm", "sh", "-c", script, "sh", str(tmp_path), sys.executable, code]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
        assert "No space left on device" in done.stdout
        assert done.stdout.endswith("['filler']\n")

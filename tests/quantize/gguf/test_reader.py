"""`r1_quantize.gguf.reader`: reads valid headers, refuses damaged and hostile ones."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from random import Random

import gguf as reference
import pytest
from gguf.constants import GGUF_DEFAULT_ALIGNMENT, GGUFValueType

from r1_quantize.errors import BadGGUF
from r1_quantize.gguf import metadata, reader
from r1_quantize.gguf.reader import TokenType, ValueType
from r1_quantize.gguf.tensor_type import TensorType

F32 = int(TensorType.F32)


def text(value: str) -> bytes:
    """A string as encoded in a GGUF."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, data: bytes) -> bytes:
    """A key-value pair with any type number and any bytes."""
    return text(key) + struct.pack("<I", kind) + data


def info(name: str, shape: tuple[int, ...] = (8,), kind: int = F32, offset: int = 0) -> bytes:
    """A tensor's description in the header."""
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file(
    folder: Path,
    *parts: bytes,
    entries: int | None = None,
    tensors: int = 0,
    version: int = 3,
    magic: bytes = b"GGUF",
    data: int = 32,
) -> Path:
    """A file of the given parts, followed by `data` zeros after its padded header."""
    count = len(parts) - tensors if entries is None else entries
    head = magic + struct.pack("<IQQ", version, tensors, count) + b"".join(parts)
    path = folder / "some.gguf"
    path.write_bytes(head + bytes(-len(head) % 32 + data))
    return path


class TestTables:
    """Our enums, which `r1 run` needs without importing gguf, equal gguf's."""

    def test_value_types(self) -> None:
        assert {kind.name: int(kind) for kind in ValueType} == {kind.name: int(kind) for kind in GGUFValueType}

    def test_token_types(self) -> None:
        theirs = {kind.name: int(kind) for kind in reference.TokenType}
        assert {kind.name: theirs[kind.name] for kind in TokenType} == {kind.name: int(kind) for kind in TokenType}

    def test_magic_and_alignment(self) -> None:
        assert int.from_bytes(reader.MAGIC, "little") == reference.GGUF_MAGIC
        assert reader.DEFAULT_ALIGNMENT == GGUF_DEFAULT_ALIGNMENT


class TestRead:
    """Reads a valid file as gguf-py does."""

    def test_every_value_is_as_gguf_py_reads_it(self, gguf: Path) -> None:
        theirs = {key: field for key, field in reference.GGUFReader(gguf).fields.items() if key[:5] != "GGUF."}
        ours = reader.read(gguf).metadata
        assert list(ours) == list(theirs)
        assert {key: ours[key] for key in ours} == {key: field.contents() for key, field in theirs.items()}

    def test_every_tensor_is_as_gguf_py_reads_it(self, gguf: Path) -> None:
        theirs = reference.GGUFReader(gguf).tensors
        ours = reader.read(gguf).tensors
        assert [(t.name, list(t.shape), t.type, t.offset, t.nbytes) for t in ours] == [
            (t.name, t.shape.tolist(), t.tensor_type, t.data_offset, t.n_bytes) for t in theirs
        ]

    def test_all_types_of_values(self, tmp_path: Path) -> None:
        values = [("a", 0, "B", 255), ("b", 1, "b", -1), ("c", 2, "H", 65535), ("d", 3, "h", -2), ("e", 4, "I", 7)]
        values += [("f", 5, "i", -7), ("g", 6, "f", 0.5), ("h", 7, "?", True), ("i", 10, "Q", 1 << 63)]
        values += [("j", 11, "q", -(1 << 62)), ("k", 12, "d", 0.1)]
        path = file(tmp_path, *(entry(key, kind, struct.pack("<" + code, v)) for key, kind, code, v in values))
        assert dict(reader.read(path).metadata) == {key: value for key, _, _, value in values}

    def test_entries_keep_the_bytes_of_the_file(self, gguf: Path) -> None:
        first = reference.GGUFReader(gguf).tensors[0].field.offset
        found = reader.read(gguf)
        assert b"".join(entry.data for entry in found.entries) == gguf.read_bytes()[24:first]
        assert [entry.key for entry in found.entries] == list(found.metadata)

    def test_entries_of_every_type_keep_their_bytes(self, tmp_path: Path) -> None:
        scalars = [(0, "B", 255), (1, "b", -1), (2, "H", 65535), (3, "h", -2), (4, "I", 7), (5, "i", -7), (6, "f", 0.1)]
        scalars += [(7, "?", True), (10, "Q", 1 << 63), (11, "q", -(1 << 62)), (12, "d", 0.1)]
        parts = [entry(f"one {kind}", kind, struct.pack("<" + code, value)) for kind, code, value in scalars]
        parts += [entry(f"none {kind}", 9, struct.pack("<IQ", kind, 0)) for kind, *_ in scalars]
        parts += [
            entry(f"two {kind}", 9, struct.pack(f"<IQ2{code}", kind, 2, value, value)) for kind, code, value in scalars
        ]
        parts += [metadata.string("text", "Größe\0").data, metadata.strings("texts", ["", "中文"]).data]
        path = file(tmp_path, *parts, info("a"), tensors=1)
        kept = b"".join(entry.data for entry in reader.read(path).entries)
        assert kept == path.read_bytes()[24 : 24 + len(kept)]
        assert path.read_bytes()[24 + len(kept) :].startswith(info("a"))

    def test_a_file_without_tensors(self, tmp_path: Path) -> None:
        path = file(tmp_path, metadata.string("general.name", "nothing").data, data=0)
        assert reader.read(path).tensors == ()

    def test_another_alignment(self, tmp_path: Path) -> None:
        parts = (metadata.uint32("general.alignment", 64).data, info("a"), info("b", offset=64))
        path = file(tmp_path, *parts, tensors=2, data=256)
        found = reader.read(path)
        assert found.alignment == 64
        assert [tensor.offset - found.data_offset for tensor in found.tensors] == [0, 64]

    def test_the_time_for_a_vocabulary_grows_with_its_size(self, tmp_path: Path) -> None:
        """Four times the words take about four times as long, and 16 times where it is quadratic."""
        small, large = (self.seconds_for_words(tmp_path, count) for count in (38_016, 152_064))
        assert large < 8 * small

    def seconds_for_words(self, folder: Path, count: int) -> float:
        """The processor time to read so many words, the best of three."""
        words = [f"word{number}" for number in range(count)]
        path = file(folder, metadata.strings("tokenizer.ggml.tokens", words).data)
        times = []
        for _ in range(3):
            began = time.process_time()
            found = reader.read(path)
            times.append(time.process_time() - began)
            assert found.metadata["tokenizer.ggml.tokens"] == words
        return min(times)


class TestHostileBytes:
    """Any bytes give a header, or BadGGUF that names the file."""

    def check(self, path: Path, said: str) -> None:
        with pytest.raises(BadGGUF, match=said) as caught:
            reader.read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\3\4" + bytes(100), b"\0" * 100])
    def test_not_a_gguf(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "some.gguf").write_bytes(content)
        self.check(tmp_path / "some.gguf", "not a GGUF")

    def test_text_is_no_damaged_gguf(self, tmp_path: Path) -> None:
        (tmp_path / "passwd").write_bytes(b"root:x:0:0:root:/root:/bin/bash\n")
        with pytest.raises(BadGGUF, match="passwd: not a GGUF, the format of models; choose another file"):
            reader.read(tmp_path / "passwd")

    def test_a_missing_file(self, tmp_path: Path) -> None:
        self.check(tmp_path / "none.gguf", "No such file")

    def test_a_folder(self, tmp_path: Path) -> None:
        self.check(tmp_path, "directory")

    def test_an_older_version(self, tmp_path: Path) -> None:
        self.check(file(tmp_path, version=1), "GGUF version 1; r1 reads versions 2 and 3")

    def test_big_endian(self, tmp_path: Path) -> None:
        self.check(file(tmp_path, version=3 << 24), "a big-endian file")

    @pytest.mark.parametrize("count", [1, 1 << 31, (1 << 64) - 1])
    def test_an_entry_count_that_is_too_large(self, tmp_path: Path, count: int) -> None:
        self.check(file(tmp_path, entries=count, data=0), "cut short|unknown type")

    @pytest.mark.parametrize("count", [1 << 20, 1 << 63, (1 << 64) - 1])
    @pytest.mark.parametrize("items", [0, 8, 12])
    def test_an_array_longer_than_the_file(self, tmp_path: Path, items: int, count: int) -> None:
        self.check(
            file(tmp_path, entry("a", 9, struct.pack("<IQ", items, count))), "(cut short in|strings in) the array 'a'"
        )

    @pytest.mark.parametrize("length", [1 << 20, 1 << 63, (1 << 64) - 1])
    def test_a_string_longer_than_the_file(self, tmp_path: Path, length: int) -> None:
        self.check(file(tmp_path, entry("a", 8, struct.pack("<Q", length))), "cut short in the value of 'a'")

    @pytest.mark.parametrize("length", [1 << 20, (1 << 64) - 1])
    def test_a_string_in_an_array_longer_than_the_file(self, tmp_path: Path, length: int) -> None:
        self.check(file(tmp_path, entry("a", 9, struct.pack("<IQQ", 8, 2, length))), "cut short in the array 'a'")

    def test_arrays_in_arrays(self, tmp_path: Path) -> None:
        self.check(file(tmp_path, entry("a", 9, struct.pack("<IQ", 9, 1))), "array of arrays")

    @pytest.mark.parametrize("kind", [13, 1 << 31])
    def test_an_unknown_type_of_value(self, tmp_path: Path, kind: int) -> None:
        self.check(file(tmp_path, entry("a", kind, b"")), f"'a' has the unknown type {kind}")

    def test_a_duplicate_key(self, tmp_path: Path) -> None:
        twice = metadata.uint32("a", 1).data
        self.check(file(tmp_path, twice, twice), "duplicate key 'a'")

    @pytest.mark.parametrize("alignment", [0, 3, 33])
    def test_an_alignment_that_is_not_a_power_of_two(self, tmp_path: Path, alignment: int) -> None:
        self.check(
            file(tmp_path, metadata.uint32("general.alignment", alignment).data),
            "not a power of two",
        )

    def test_an_alignment_that_is_not_a_number(self, tmp_path: Path) -> None:
        self.check(
            file(tmp_path, metadata.strings("general.alignment", ["x"]).data),
            "not a power of two",
        )

    @pytest.mark.parametrize(
        ("part", "said"),
        [
            (info("a", shape=()), "0 dimensions"),
            (info("a", shape=(1, 1, 1, 1, 1)), "5 dimensions"),
            (info("a", shape=(0,)), r"shape \(0,\)"),
            (info("a", kind=4), "unknown type 4"),
            (info("a", kind=1 << 30), "unknown type"),
            (info("a", shape=(8,), kind=int(TensorType.Q8_0)), "cannot be Q8_0"),
            (info("a", offset=32), "offset 32, expected 0"),
            (info("a", offset=(1 << 64) - 32), "expected 0"),
            (info("a", shape=(1 << 63, 1 << 63)), "cut short: "),
            (info("a", shape=(9,)), "cut short: "),
        ],
    )
    def test_an_impossible_tensor(self, tmp_path: Path, part: bytes, said: str) -> None:
        self.check(file(tmp_path, part, tensors=1), said)

    def test_tensors_that_overlap(self, tmp_path: Path) -> None:
        self.check(file(tmp_path, info("a"), info("b"), tensors=2), "'b' has offset 0, expected 32")

    def test_a_duplicate_tensor(self, tmp_path: Path) -> None:
        self.check(file(tmp_path, info("a"), info("a", offset=32), tensors=2), "duplicate tensor 'a'")

    def test_a_file_cut_short_anywhere(self, gguf: Path, tmp_path: Path) -> None:
        complete = gguf.read_bytes()
        end = reader.read(gguf).data_offset
        path = tmp_path / "cut.gguf"
        for length in [*range(0, end, 97), *range(end, len(complete) - 32, len(complete) // 50)]:
            path.write_bytes(complete[:length])
            with pytest.raises(BadGGUF):
                reader.read(path)

    def test_flipped_bits_give_a_header_or_bad_gguf(self, gguf: Path, tmp_path: Path) -> None:
        content = bytearray(gguf.read_bytes())
        end = reader.read(gguf).data_offset
        random, path = Random(1), tmp_path / "flipped.gguf"
        refused = 0
        for _ in range(300):
            at, bit = random.randrange(end), 1 << random.randrange(8)
            content[at] ^= bit
            path.write_bytes(content)
            content[at] ^= bit
            try:
                dict(reader.read(path).metadata)
            except BadGGUF:
                refused += 1
        assert refused > 0

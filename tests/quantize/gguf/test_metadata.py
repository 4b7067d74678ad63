"""`r1_quantize.gguf.metadata`: the header has the bytes of the GGUF specification."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from gguf import GGUFReader, GGUFWriter

from r1_quantize.gguf import metadata, reader
from r1_quantize.gguf.reader import Entry
from r1_quantize.gguf.tensor_type import TensorType

ENTRIES = (
    metadata.string("general.architecture", "none"),
    metadata.uint32("a", (1 << 32) - 1),
    metadata.int32("b", -1),
    metadata.float32("c", 1e-6),
    metadata.boolean("d", True),
    metadata.string("e", "<｜User｜>\n"),
    metadata.strings("f", ["", "Ġ", "🚀"]),
    metadata.int32s("g", [1, 3, 4, 5]),
)


def text(value: str) -> bytes:
    """A string as encoded in a GGUF: its length in bytes, then UTF-8."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


class TestEntries:
    """A pair is a key, a type number and a value, little-endian."""

    def test_scalars(self) -> None:
        assert metadata.uint32("a", (1 << 32) - 1).data == text("a") + struct.pack("<II", 4, (1 << 32) - 1)
        assert metadata.int32("b", -1).data == text("b") + struct.pack("<Ii", 5, -1)
        assert metadata.float32("c", 1e-6).data == text("c") + struct.pack("<If", 6, 1e-6)
        assert metadata.boolean("d", True).data == text("d") + struct.pack("<IB", 7, 1)

    @pytest.mark.parametrize("value", ["", "<｜User｜>\n", "🚀"])
    def test_strings(self, value: str) -> None:
        assert metadata.string("é", value).data == text("é") + struct.pack("<I", 8) + text(value)

    def test_arrays(self) -> None:
        values = ["", "Ġ", "🚀"]
        assert metadata.strings("f", values).data == (
            text("f") + struct.pack("<IIQ", 9, 8, 3) + b"".join(map(text, values))
        )
        assert metadata.int32s("g", [1, -3]).data == text("g") + struct.pack("<IIQ2i", 9, 5, 2, 1, -3)

    def test_of_every_kind_equal_a_written_file(self, tmp_path: Path) -> None:
        writer = GGUFWriter(tmp_path / "theirs", "none")
        writer.add_uint32("a", (1 << 32) - 1)
        writer.add_int32("b", -1)
        writer.add_float32("c", 1e-6)
        writer.add_bool("d", True)
        writer.add_string("e", "<｜User｜>\n")
        writer.add_array("f", ["", "Ġ", "🚀"])
        writer.add_array("g", [1, 3, 4, 5])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        assert (tmp_path / "theirs").read_bytes()[24:] == b"".join(entry.data for entry in ENTRIES)

    def test_values_that_do_not_fit_are_refused(self) -> None:
        with pytest.raises(struct.error):
            metadata.uint32("a", 1 << 32)
        with pytest.raises(struct.error):
            metadata.int32("a", 1 << 31)
        with pytest.raises(OverflowError):
            metadata.float32("a", 1e39)
        with pytest.raises(UnicodeEncodeError):
            metadata.string("a", "\ud800")


class TestHeader:
    """Counts, pairs, then each tensor's name, reversed shape, type number and offset."""

    TENSORS = (("x", (2, 256), TensorType.Q4_K), ("y", (3,), TensorType.F32), ("z", (1, 64), TensorType.Q2_0))

    def test_bytes(self) -> None:
        entry = Entry("k", b"any bytes, kept as they are")
        assert metadata.encode_header([entry], self.TENSORS) == b"".join(
            [
                b"GGUF" + struct.pack("<IQQ", 3, 3, 1) + entry.data,
                text("x") + struct.pack("<IQQIQ", 2, 256, 2, 12, 0),
                text("y") + struct.pack("<IQIQ", 1, 3, 0, 288),  # after two blocks of 144 bytes
                text("z") + struct.pack("<IQQIQ", 2, 64, 1, 42, 320),  # 12 bytes, padded to 32
            ]
        )

    def test_reads_back_with_both_readers(self, tmp_path: Path) -> None:
        header = metadata.encode_header(ENTRIES, self.TENSORS[:2])
        path = tmp_path / "a.gguf"
        path.write_bytes(header + bytes(-len(header) % 32 + 2 * 144 + 32))
        found = reader.read(path)
        assert found.entries == ENTRIES
        assert [(info.name, info.shape, info.type) for info in found.tensors] == [
            ("x", (256, 2), TensorType.Q4_K),
            ("y", (3,), TensorType.F32),
        ]
        theirs = GGUFReader(path)
        assert [info.data_offset for info in theirs.tensors] == [info.offset for info in found.tensors]


def test_to_float32_rounds_once() -> None:
    assert metadata.to_float32(0.1) == struct.unpack("<f", bytes.fromhex("cdcccc3d"))[0]
    with pytest.raises(OverflowError):
        metadata.to_float32(1e39)

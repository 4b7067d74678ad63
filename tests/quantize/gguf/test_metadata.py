"""`r1_quantize.gguf.metadata`: values as gguf-py's writer puts them, and none that do not fit."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from gguf import GGUFWriter

from r1_quantize.gguf import metadata
from r1_quantize.gguf.metadata import Entry


class TestEntries:
    """The bytes of a pair are those an independent writer writes."""

    def test_of_every_kind(self, tmp_path: Path) -> None:
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
        ours = (
            metadata.string("general.architecture", "none"),
            metadata.uint32("a", (1 << 32) - 1),
            metadata.int32("b", -1),
            metadata.float32("c", 1e-6),
            metadata.boolean("d", True),
            metadata.string("e", "<｜User｜>\n"),
            metadata.strings("f", ["", "Ġ", "🚀"]),
            metadata.int32s("g", [1, 3, 4, 5]),
        )
        assert (tmp_path / "theirs").read_bytes()[24:] == b"".join(map(Entry.encode, ours))

    def test_that_do_not_fit(self) -> None:
        with pytest.raises(struct.error):
            metadata.uint32("a", 1 << 32)
        with pytest.raises(struct.error):
            metadata.int32("a", 1 << 31)
        with pytest.raises(OverflowError):
            metadata.float32("a", 1e39)
        with pytest.raises(UnicodeEncodeError):
            metadata.string("a", "\ud800")

"""`r1_quantize.gguf.split`: the file names of a split GGUF."""

from __future__ import annotations

import ctypes

import pytest
from gguf.gguf_writer import SHARD_NAME_FORMAT

from r1_quantize.binding import function
from r1_quantize.errors import BadGGUF
from r1_quantize.gguf.split import MAX_PARTS, joined_name, part_names

NOT_PARTS = [
    *("", "model.gguf", "model-00001-of-00002", "model-00001-of-00002.safetensors", "model-00001-of-00002.GGUF"),
    *("model-1-of-2.gguf", "model-000001-of-000002.gguf", "model_00001-of-00002.gguf", "-00001-of-00002.gguf"),
    *("model-00001-of-00002.gguf.part", "model-0000١-of-00002.gguf", "model-00001-of-00002.gguf\n"),
]


class TestPartNames:
    """Any part's name gives the names of all parts."""

    @pytest.mark.parametrize("count", [1, 2, 10, MAX_PARTS])
    def test_equal_gguf_pys_names(self, count: int) -> None:
        theirs = [SHARD_NAME_FORMAT.format("model", number, count) for number in range(1, count + 1)]
        assert part_names(theirs[0]) == part_names(theirs[-1]) == theirs

    @pytest.mark.parametrize("count", [1, 2, 10, MAX_PARTS])
    def test_equal_llama_cpps_names(self, count: int) -> None:
        arguments = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32]
        theirs, name = function("llama_split_path", arguments, ctypes.c_int32), ctypes.create_string_buffer(99)
        for number, ours in enumerate(part_names(f"model-00001-of-{count:05}.gguf")):
            theirs(name, len(name), b"model", number, count)
            assert ours == name.value.decode()

    def test_keeps_folders_and_the_rest_of_the_name(self) -> None:
        assert part_names("Q8_0/a-00001-of-00002.gguf-00002-of-00002.gguf") == [
            "Q8_0/a-00001-of-00002.gguf-00001-of-00002.gguf",
            "Q8_0/a-00001-of-00002.gguf-00002-of-00002.gguf",
        ]
        assert part_names("a\nb-00001-of-00001.gguf") == ["a\nb-00001-of-00001.gguf"]

    @pytest.mark.parametrize("name", NOT_PARTS)
    def test_another_name_is_returned_alone(self, name: str) -> None:
        assert part_names(name) == [name]

    @pytest.mark.parametrize("numbers", ["00000-of-00000", "00000-of-00003", "00004-of-00003", "00001-of-00000"])
    def test_refuses_an_impossible_part_number(self, numbers: str) -> None:
        with pytest.raises(BadGGUF, match="which is impossible"):
            part_names(f"model-{numbers}.gguf")

    @pytest.mark.parametrize("count", [MAX_PARTS + 1, 99999])
    def test_refuses_too_many_parts(self, count: int) -> None:
        with pytest.raises(BadGGUF, match=f"says {count:,} parts; r1 reads at most 1,000"):
            part_names(f"model-00001-of-{count:05}.gguf")


class TestJoinedName:
    """The name of the file that joins the parts."""

    def test_drops_the_numbers(self) -> None:
        assert joined_name("Q8_0/model-Q8_0-00001-of-00002.gguf") == "Q8_0/model-Q8_0.gguf"
        assert {joined_name(name) for name in part_names("model-00001-of-00009.gguf")} == {"model.gguf"}

    @pytest.mark.parametrize("name", NOT_PARTS)
    def test_keeps_another_name(self, name: str) -> None:
        assert joined_name(name) == name

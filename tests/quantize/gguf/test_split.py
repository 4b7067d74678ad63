"""`r1_quantize.gguf.split`: what the parts of a GGUF are called."""

from __future__ import annotations

import ctypes

import pytest
from gguf.gguf_writer import SHARD_NAME_FORMAT

from r1_quantize.binding import function
from r1_quantize.errors import BadGGUF
from r1_quantize.gguf.split import MAX_PARTS, part_names, joined_name

NO_PARTS = [
    *("", "model.gguf", "model-00001-of-00002", "model-00001-of-00002.safetensors", "model-00001-of-00002.GGUF"),
    *("model-1-of-2.gguf", "model-000001-of-000002.gguf", "model_00001-of-00002.gguf", "-00001-of-00002.gguf"),
    *("model-00001-of-00002.gguf.part", "model-0000١-of-00002.gguf", "model-00001-of-00002.gguf\n"),
]


class TestPartNames:
    """From the name of any part to those of all."""

    @pytest.mark.parametrize("count", [1, 2, 10, MAX_PARTS])
    def test_are_gguf_pys(self, count: int) -> None:
        theirs = [SHARD_NAME_FORMAT.format("model", number, count) for number in range(1, count + 1)]
        assert part_names(theirs[0]) == part_names(theirs[-1]) == theirs

    @pytest.mark.parametrize("count", [1, 2, 10, MAX_PARTS])
    def test_are_llama_cpps(self, count: int) -> None:
        arguments = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32]
        theirs, name = function("llama_split_path", arguments, ctypes.c_int32), ctypes.create_string_buffer(99)
        for number, ours in enumerate(part_names(f"model-00001-of-{count:05}.gguf")):
            theirs(name, len(name), b"model", number, count)
            assert ours == name.value.decode()

    def test_keep_folders_and_everything_else(self) -> None:
        assert part_names("Q8_0/a-00001-of-00002.gguf-00002-of-00002.gguf") == [
            "Q8_0/a-00001-of-00002.gguf-00001-of-00002.gguf",
            "Q8_0/a-00001-of-00002.gguf-00002-of-00002.gguf",
        ]
        assert part_names("a\nb-00001-of-00001.gguf") == ["a\nb-00001-of-00001.gguf"]

    @pytest.mark.parametrize("name", NO_PARTS)
    def test_one_that_is_no_parts_stands_alone(self, name: str) -> None:
        assert part_names(name) == [name]

    @pytest.mark.parametrize("numbers", ["00000-of-00000", "00000-of-00003", "00004-of-00003", "00001-of-00000"])
    def test_a_part_that_cannot_be(self, numbers: str) -> None:
        with pytest.raises(BadGGUF, match="which there cannot be"):
            part_names(f"model-{numbers}.gguf")

    @pytest.mark.parametrize("count", [MAX_PARTS + 1, 99999])
    def test_more_than_anybody_publishes(self, count: int) -> None:
        with pytest.raises(BadGGUF, match=f"one of {count:,} parts; more than 1,000 are not read"):
            part_names(f"model-00001-of-{count:05}.gguf")


class TestWholeName:
    """The name of what the parts make."""

    def test_is_without_the_numbers(self) -> None:
        assert joined_name("Q8_0/model-Q8_0-00001-of-00002.gguf") == "Q8_0/model-Q8_0.gguf"
        assert {joined_name(name) for name in part_names("model-00001-of-00009.gguf")} == {"model.gguf"}

    @pytest.mark.parametrize("name", NO_PARTS)
    def test_one_that_is_no_parts_stays(self, name: str) -> None:
        assert joined_name(name) == name

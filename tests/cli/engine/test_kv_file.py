"""`r1.engine.kv_file`: a state on disk is as good as a prefill, bit for bit, or it is not read at all."""

from __future__ import annotations

import dataclasses
import json
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from r1.engine import kv_file
from r1.engine.context import Context, ContextParams, Part
from r1.engine.devices import Placement
from r1.engine.kv_file import Damaged, Header, origin_of, read_header, restore, size_of, write
from r1.engine.kv_types import CPU_CUT
from r1.engine.model import Model
from r1.machine.cores import Threads
from r1_quantize.errors import R1Error
from tests.cli.engine.test_context import logits, only, prefill
from tests.fakes.paths import ROOT

ORIGIN = '{"model": "weights"}'
LLAMA, FIXED = 12, 44  # bytes of llama.cpp's part of the header, and of what has a fixed size in ours


def made(model: Model, kv_type: str = "f16", sequences: int = 1, length: int = 1024) -> Context:
    params = ContextParams(length, Threads.of(1), kv_type, sequences=sequences, cells=length)
    return Context(model, params)


@pytest.fixture
def text(model: Model) -> list[int]:
    """512 tokens."""
    return [model.control.bos, *model.tokenize("How many words are in this line? " * 20)][:512]


@pytest.fixture
def segments(text: list[int]) -> list[list[int]]:
    """Two turns."""
    return [text[:150], text[150:300]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.touch(mode=0o600)
    return path


@pytest.fixture
def kept(context: Context, segments: list[list[int]], file: Path) -> Path:
    """The state of two turns."""
    prefill(context, *segments)
    write(file, context, only(context), ORIGIN, prefill_tps=75.0)
    return file


@pytest.fixture
def empty(model: Model) -> Iterator[Context]:
    with made(model) as context:
        yield context


class TestRestore:
    """After it, a sequence is as it would be after a prefill of the same tokens."""

    def test_tokens_edges_and_cells_are_those_of_a_prefill(self, context: Context, kept: Path, empty: Context) -> None:
        assert restore(kept, empty, only(empty), ORIGIN)
        assert only(empty).tokens == only(context).tokens
        assert only(empty).edges == only(context).edges == [0, 150, 300]
        assert len(only(empty).cells) == 300
        assert empty.free_cells == context.free_cells == 1024 - 300

    @pytest.mark.parametrize("kv_type", ["f16", "q8_0", "f32", "q4_0"])
    def test_what_follows_has_the_same_logits_to_the_last_bit(
        self, model: Model, text: list[int], segments: list[list[int]], file: Path, kv_type: str
    ) -> None:
        with made(model, kv_type) as first, made(model, kv_type) as second, made(model, kv_type) as fresh:
            prefill(first, *segments)
            write(file, first, only(first), ORIGIN)
            assert restore(file, second, only(second), ORIGIN)
            assert prefill(second, *segments, text[300:420])[0] == 300
            prefill(fresh, *segments, text[300:420])
            for token in text[420:430]:
                assert logits(second) == logits(fresh)
                second.decode([Part(only(second), [token])])
                fresh.decode([Part(only(fresh), [token])])
            assert logits(second) == logits(fresh)

    def test_a_prompt_that_differs_at_its_end_keeps_what_is_common(
        self, text: list[int], kept: Path, empty: Context, context: Context
    ) -> None:
        restore(kept, empty, only(empty), ORIGIN)
        assert prefill(empty, text[:150], text[310:400])[0] == 150
        prefill(context, text[:150], text[310:400])
        assert logits(empty) == logits(context)

    def test_works_beside_other_sequences_and_between_their_cells(
        self, model: Model, text: list[int], segments: list[list[int]], file: Path
    ) -> None:
        """Half the cells in front of it are in use when the state comes."""
        with made(model, sequences=3) as first, made(model, sequences=3) as second:
            list(first.prefill(first.sequences[0], segments))
            write(file, first, first.sequences[0], ORIGIN)
            other, between, target = second.sequences
            list(second.warm(other, [text[:100]]))
            list(second.warm(between, [text[100:200]]))
            list(second.warm(other, [text[:100], text[:100]]))
            between.truncate(0)
            assert restore(file, second, target, ORIGIN)
            assert second.free_cells == 1024 - 200 - 300
            list(second.prefill(target, [*segments, text[300:400]]))
            found = logits(second)
            list(first.prefill(first.sequences[0], [*segments, text[300:400]]))
            assert found == pytest.approx(logits(first), abs=0.05)  # cells in another order are added in another order
            list(second.prefill(other, [text[:100], text[:150]]))  # the others are as before
            assert other.tokens == [*text[:100], *text[:150]]

    def test_takes_the_place_of_what_the_sequence_held(
        self, text: list[int], kept: Path, context: Context, segments: list[list[int]]
    ) -> None:
        prefill(context, text[200:])
        before = logits_after(context, text, segments)
        prefill(context, text[200:])
        assert restore(kept, context, only(context), ORIGIN)
        assert context.free_cells == 1024 - 300
        assert logits_after(context, text, segments) == before

    def test_what_lay_behind_the_last_edge_is_dropped(
        self, context: Context, text: list[int], segments: list[list[int]], file: Path, empty: Context
    ) -> None:
        """Tokens of a reply were decoded one by one, and cannot be taken over."""
        prefill(context, *segments)
        for token in text[300:310]:
            context.decode([Part(only(context), [token])])
        write(file, context, only(context), ORIGIN)
        assert restore(file, empty, only(empty), ORIGIN)
        assert len(only(empty)) == 300
        assert empty.free_cells == 1024 - 300

    def test_cells_that_are_shared_are_not_counted_as_room(
        self, model: Model, text: list[int], segments: list[list[int]], file: Path
    ) -> None:
        with made(model, sequences=2, length=512) as context:
            first, second = context.sequences
            list(context.warm(first, segments))
            write(file, context, first, ORIGIN)
            second.copy(first, 300)
            assert first.own_cells == 0
            assert not restore(file, context, second, ORIGIN)  # 212 cells are free, and 300 needed
            assert second.tokens == first.tokens
            first.truncate(0)
            assert second.own_cells == 300
            assert restore(file, context, second, ORIGIN)

    def test_a_state_is_not_read_where_it_does_not_belong(self, kept: Path, empty: Context, text: list[int]) -> None:
        prefill(empty, text[:50])
        assert not restore(kept, empty, only(empty), ORIGIN.replace("weights", "others"))
        assert only(empty).tokens == text[:50]

    @pytest.mark.parametrize("length", [299, 300])
    def test_a_state_is_not_read_into_a_context_that_is_too_short(
        self, model: Model, kept: Path, text: list[int], length: int
    ) -> None:
        with made(model, length=length) as context:
            prefill(context, text[:50])
            assert not restore(kept, context, only(context), ORIGIN)
            assert only(context).tokens == text[:50]

    def test_a_missing_file_is_an_os_error(self, tmp_path: Path, empty: Context) -> None:
        with pytest.raises(FileNotFoundError):
            restore(tmp_path / "none", empty, only(empty), ORIGIN)


def logits_after(context: Context, text: list[int], segments: list[list[int]]) -> list[float]:
    prefill(context, *segments, text[300:350])
    return logits(context)


class TestHeader:
    """It says what the file holds, and is read alone."""

    def test_has_what_was_written(self, kept: Path, context: Context) -> None:
        header = read_header(kept)
        assert (header.origin, header.prefill_tps) == (ORIGIN, 75.0)
        assert (header.tokens, header.edges) == (only(context).tokens, only(context).edges)
        assert header.start + header.size == kept.stat().st_size
        assert zlib.crc32(kept.read_bytes()[header.start :]) == header.checksum

    def test_the_size_is_known_before_it_is_written(self, kept: Path, context: Context) -> None:
        assert 0 <= kept.stat().st_size - size_of(context, only(context)) < len(ORIGIN) + 4

    def test_the_file_keeps_its_permissions(self, kept: Path) -> None:
        assert kept.stat().st_mode & 0o777 == 0o600


class TestOrigin:
    """Two contexts that may compute other bits have different origins."""

    def test_is_the_same_for_the_same_kind_of_context(self, model: Model, context: Context) -> None:
        with made(model, length=512) as other:
            assert origin_of(other, "weights") == origin_of(context, "weights")

    def test_names_weights_type_cut_and_build(self, context: Context) -> None:
        facts = json.loads(origin_of(context, "weights"))
        assert (facts["model"], facts["kv_type"], facts["cut"]) == ("weights", "f16", [*CPU_CUT])
        assert any("llama" in name for name in facts["build"]["libraries"])

    @pytest.mark.parametrize("change", [{"kv_type": "q8_0"}, {"sequences": 2}], ids=str)
    def test_differs_for_another_context(self, model: Model, context: Context, change: dict[str, str]) -> None:
        with Context(model, dataclasses.replace(ContextParams(1024), **change)) as other:  # type: ignore[arg-type]
            assert origin_of(other, "weights") != origin_of(context, "weights")

    def test_differs_for_other_weights(self, context: Context) -> None:
        assert origin_of(context, "weights") != origin_of(context, "others")

    def test_differs_for_another_build(self, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        before = origin_of(context, "weights")
        monkeypatch.setattr(kv_file, "_build_facts", lambda: {"ggml": "0.0.1"})
        assert origin_of(context, "weights") != before

    def test_differs_where_layers_are_on_a_gpu(
        self, model: Model, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = origin_of(context, "weights")
        monkeypatch.setattr(model, "placement", Placement(("CUDA0",), 2))
        assert origin_of(context, "weights") != before


def flipped(content: bytes, at: int, chance: random.Random) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def bounds(header: Header, part: str) -> tuple[int, int]:
    """Where a part of the file begins and ends."""
    tokens = LLAMA + FIXED
    edges = tokens + 4 * len(header.tokens)
    origin = edges + 4 * len(header.edges)
    cells = header.start + 8 + 12 * len(header.tokens)
    ends = {
        "llama's header": (0, LLAMA),
        "our header": (LLAMA, tokens),
        "tokens": (tokens, edges),
        "edges": (edges, origin),
        "origin": (origin, header.start),
        "cells": (header.start, cells),
        "keys and values": (cells, header.start + header.size),
    }
    return ends[part]


PARTS = ("llama's header", "our header", "tokens", "edges", "origin", "cells", "keys and values")


class TestDamage:
    """Whatever happened to a file, llama.cpp is not given it, and the sequence stays as it was."""

    @pytest.fixture
    def refused(
        self, kept: Path, empty: Context, text: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[bytes], None]:
        prefill(empty, text[:50])
        monkeypatch.setattr(kv_file, "_load", lambda *_: pytest.fail("llama.cpp was given a damaged file"))
        original = kept.read_bytes()

        def refuse(content: bytes) -> None:
            if content == original:  # a made-up byte may be the right one
                return
            kept.write_bytes(content)
            with pytest.raises(Damaged):
                restore(kept, empty, only(empty), ORIGIN)
            assert only(empty).tokens == text[:50]

        return refuse

    @pytest.mark.parametrize("part", PARTS)
    def test_a_flipped_bit(self, kept: Path, refused: Callable[[bytes], None], part: str) -> None:
        content, chance = kept.read_bytes(), random.Random(part)
        start, end = bounds(read_header(kept), part)
        for _ in range(20):
            refused(flipped(content, chance.randrange(start, end), chance))

    @pytest.mark.parametrize("part", PARTS)
    def test_some_bytes_of_another_file(self, kept: Path, refused: Callable[[bytes], None], part: str) -> None:
        content, chance = kept.read_bytes(), random.Random(part)
        start, end = bounds(read_header(kept), part)
        for _ in range(20):
            first = chance.randrange(start, end)
            last = chance.randint(first + 1, end)
            refused(content[:first] + chance.randbytes(last - first) + content[last:])

    @pytest.mark.parametrize("part", PARTS)
    def test_a_cut(self, kept: Path, refused: Callable[[bytes], None], part: str) -> None:
        content, chance = kept.read_bytes(), random.Random(part)
        start, end = bounds(read_header(kept), part)
        for _ in range(20):
            refused(content[: chance.randrange(start, end)])

    @pytest.mark.parametrize("part", PARTS)
    def test_zeros_from_some_place_on(self, kept: Path, refused: Callable[[bytes], None], part: str) -> None:
        """As a power failure leaves it: the file has its length, and not its content."""
        content, chance = kept.read_bytes(), random.Random(part)
        start, end = bounds(read_header(kept), part)
        for _ in range(20):
            first = chance.randrange(start, end)
            refused(content[:first] + bytes(len(content) - first))

    def test_more_bytes_than_were_written(self, kept: Path, refused: Callable[[bytes], None]) -> None:
        content = kept.read_bytes()
        for more in (b"\0", content[-4096:], content):
            refused(content + more)

    def test_something_else(self, kept: Path, refused: Callable[[bytes], None]) -> None:
        size, chance = kept.stat().st_size, random.Random(0)
        for content in (b"", b"\0" * size, chance.randbytes(size), b"GGUF" + chance.randbytes(200)):
            refused(content)

    def test_a_header_of_another_state(
        self, kept: Path, refused: Callable[[bytes], None], context: Context, text: list[int], tmp_path: Path
    ) -> None:
        prefill(context, text[100:250], text[250:400])
        (other := tmp_path / "other").touch()
        write(other, context, only(context), ORIGIN)
        start = read_header(kept).start
        refused(other.read_bytes()[:start] + kept.read_bytes()[start:])


def resealed(content: bytes, header: Header) -> bytes:
    """The content with checksums that fit it."""
    sealed = bytearray(content)
    struct.pack_into("<II", sealed, LLAMA + 8, 0, zlib.crc32(content[header.start :]))
    struct.pack_into("<I", sealed, LLAMA + 8, zlib.crc32(sealed[: header.start]))
    return bytes(sealed)


class TestForgery:
    """Checksums can be made to fit; what would end the process is refused all the same."""

    def cells(self, header: Header) -> range:
        """Where the descriptions of cells begin."""
        return range(header.start + 8, header.start + 8 + 12 * len(header.tokens), 12)

    @pytest.mark.parametrize(
        ("offset", "value"),
        [(-8, 2), (-8, 0), (-4, 0), (-4, 299), (-4, 2**31 - 1), (0, 1), (0, -1), (0, 300), (4, 0), (4, 2)],
        ids=str,
    )
    def test_cells_that_are_not_those_of_the_tokens(
        self, kept: Path, empty: Context, monkeypatch: pytest.MonkeyPatch, offset: int, value: int
    ) -> None:
        monkeypatch.setattr(kv_file, "_load", lambda *_: pytest.fail("llama.cpp was given a forged file"))
        header, content = read_header(kept), bytearray(kept.read_bytes())
        struct.pack_into("<i", content, self.cells(header).start + offset, value)
        kept.write_bytes(resealed(bytes(content), header))
        with pytest.raises(Damaged, match="not that of these tokens"):
            restore(kept, empty, only(empty), ORIGIN)

    def test_what_llama_cpp_refuses_leaves_an_empty_sequence(
        self, kept: Path, empty: Context, text: list[int], segments: list[list[int]], context: Context
    ) -> None:
        header, content = read_header(kept), kept.read_bytes()
        layout = self.cells(header).stop  # V transposed, layers, type of the keys, bytes of a row
        for offset in (0, 4, 8, 12):
            forged = bytearray(content)
            forged[layout + offset] ^= 1
            kept.write_bytes(resealed(bytes(forged), header))
            prefill(empty, text[:50])
            with pytest.raises(Damaged):
                restore(kept, empty, only(empty), ORIGIN)
            assert (only(empty).tokens, empty.free_cells) == ([], 1024)
        assert logits_after(empty, text, segments) == logits_after(context, text, segments)


CHILD = """
import resource, signal, sys
from pathlib import Path
from r1.engine.context import Context, ContextParams
from r1.engine.kv_file import write
from r1.engine.model import Model
from r1_quantize.errors import R1Error
with Model(Path(sys.argv[1])) as model, Context(model, ContextParams(512)) as context:
    (sequence,) = context.sequences
    list(context.warm(sequence, [list(range(100, 300))]))
    signal.signal(signal.SIGXFSZ, getattr(signal, sys.argv[3]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        write(Path(sys.argv[2]), context, sequence, "{}")
    except R1Error as exc:
        print(exc)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
class TestInterruptedWrite:
    """A file that is not complete is never taken for one that is."""

    def child(self, tiny_path: Path, file: Path, on_limit: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CHILD, str(tiny_path), str(file), on_limit]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=100)

    def test_a_full_disk_is_an_error(self, tiny_path: Path, file: Path, empty: Context) -> None:
        done = self.child(tiny_path, file, "SIG_IGN")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{file}: ")
        assert "write error" in done.stdout
        with pytest.raises(Damaged):
            restore(file, empty, only(empty), "{}")

    def test_a_process_that_is_killed_in_the_middle(self, tiny_path: Path, file: Path, empty: Context) -> None:
        done = self.child(tiny_path, file, "SIG_DFL")
        assert done.returncode < 0
        assert 0 < file.stat().st_size <= 100_000
        with pytest.raises(Damaged):
            restore(file, empty, only(empty), "{}")


def test_an_interrupt_while_llama_cpp_reads_leaves_an_empty_sequence(
    kept: Path, empty: Context, text: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    native = kv_file.llama()
    read = native.llama_state_seq_load_file

    def interrupted(*arguments: object) -> int:
        read(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(native, "llama_state_seq_load_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        restore(kept, empty, only(empty), ORIGIN)
    assert (only(empty).tokens, empty.free_cells) == ([], 1024)
    assert native.llama_memory_seq_pos_max(native.llama_get_memory(empty.handle), 0) == -1
    prefill(empty, text[:50])


def test_writing_fails_without_a_word_of_llama_cpp_on_the_streams(
    context: Context, segments: list[list[int]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prefill(context, *segments)
    with pytest.raises(R1Error, match="none/state"):
        write(tmp_path / "none" / "state", context, only(context), ORIGIN)
    assert capfd.readouterr() == ("", "")


def test_a_sequence_without_tokens_is_not_read(context: Context, file: Path, empty: Context) -> None:
    write(file, context, only(context), ORIGIN)
    assert not restore(file, empty, only(empty), ORIGIN)

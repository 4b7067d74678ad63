"""`r1.kv_store.kv_states`: which of the kept states is read for a prompt, and which are written."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from r1.engine import kv_file
from r1.engine.context import Context, ContextParams
from r1.engine.kv_file import read_header
from r1.engine.model import Model
from r1.engine.sequence import Chunks
from r1.kv_store import kv_states
from r1.kv_store.kv_folder import KvFolder
from r1.kv_store.kv_states import KvStates
from r1.machine.cores import Threads
from r1_quantize.errors import R1Error
from tests.cli.engine.test_context import logits, only, prefill
from tests.fakes.paths import ROOT

SLOW = 100.0
"""Tokens a second of a prefill, so that reading pays."""


@pytest.fixture
def folder(tmp_path: Path) -> KvFolder:
    return KvFolder(tmp_path / "kv-cache", 1 << 30, min_free=0)


@pytest.fixture
def states(folder: KvFolder) -> KvStates:
    return KvStates(folder, "weights")


@pytest.fixture
def empty(model: Model) -> Iterator[Context]:
    with Context(model, ContextParams(1024, threads=Threads.of(1))) as context:
        yield context


@pytest.fixture
def text(model: Model) -> list[int]:
    """700 tokens."""
    return [model.control.bos, *model.tokenize("How many words are in this line? " * 40)][:700]


def keep(states: KvStates, context: Context, *segments: list[int], owner: str = "", tps: float = SLOW) -> bool:
    list(context.warm(only(context), segments))
    return states.keep(context, only(context), owner, tps)


def restored(states: KvStates, context: Context, *segments: list[int], held: int = 0) -> int:
    chunks = Chunks.of(segments, context.cut)
    return states.restore(context, only(context), chunks, len(chunks.tokens), held)


def lengths(folder: KvFolder) -> list[int]:
    return sorted(len(read_header(file.path).tokens) for file in folder.files())


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is read in two seconds; 128 tokens are prefilled in 1.3, 150 in 1.5, 300 in three."""
    ticks = count(0, 2)
    monkeypatch.setattr(kv_states, "perf_counter", lambda: next(ticks))


class TestRestore:
    """A prompt begins where the longest kept state that serves it ends."""

    def test_a_conversation_goes_on_with_the_same_bits(
        self, states: KvStates, context: Context, empty: Context, text: list[int]
    ) -> None:
        assert keep(states, context, text[:150], text[150:400])
        assert restored(states, empty, text[:150], text[150:400]) == 400
        assert only(empty).edges == only(context).edges
        prefill(empty, text[:150], text[150:400], text[400:500])
        prefill(context, text[:150], text[150:400], text[400:500])
        assert logits(empty) == logits(context)

    def test_only_the_common_part_of_a_longer_state_is_held(
        self, states: KvStates, context: Context, empty: Context, text: list[int]
    ) -> None:
        keep(states, context, text[:150], text[150:400])
        assert restored(states, empty, text[:150], text[200:400]) == 150
        assert (only(empty).tokens, empty.free_cells) == (text[:150], 1024 - 150)

    def test_the_longest_of_several_is_taken(
        self, states: KvStates, context: Context, empty: Context, text: list[int]
    ) -> None:
        for number, end in enumerate((150, 450, 300)):
            keep(
                states,
                context,
                *(text[start : min(start + 150, end)] for start in range(0, end, 150)),
                owner=f"{number}",
            )
        assert restored(states, empty, *(text[start : start + 150] for start in range(0, 600, 150))) == 450

    def test_the_longest_is_taken_however_slow_a_shorter_one_seemed(
        self, states: KvStates, context: Context, empty: Context, text: list[int]
    ) -> None:
        keep(states, context, text[:150], owner="a", tps=1.0)
        keep(states, context, text[:150], text[150:300], owner="b")
        assert restored(states, empty, text[:150], text[150:300]) == 300

    @pytest.mark.parametrize(("held", "found"), [(0, 300), (150, 300), (300, 0), (400, 0)])
    def test_nothing_is_read_where_as_much_is_held(
        self, states: KvStates, context: Context, empty: Context, text: list[int], held: int, found: int
    ) -> None:
        keep(states, context, text[:150], text[150:300])
        prefill(empty, text[600:650])
        assert restored(states, empty, text[:150], text[150:300], held=held) == found
        assert only(empty).tokens == (text[:found] if found else text[600:650])

    def test_nothing_serves_another_prompt(
        self, states: KvStates, context: Context, empty: Context, text: list[int]
    ) -> None:
        keep(states, context, text[:150])
        assert restored(states, empty, text[1:150]) == 0

    def test_no_folder_is_no_state(self, states: KvStates, empty: Context, text: list[int], folder: KvFolder) -> None:
        assert restored(states, empty, text) == 0
        assert not folder.path.exists()

    def test_what_is_read_is_used_last(
        self, states: KvStates, context: Context, empty: Context, text: list[int], folder: KvFolder
    ) -> None:
        keep(states, context, text[:150], owner="a")
        keep(states, context, text[100:300], owner="b")
        for number, file in enumerate(folder.files()):
            os.utime(file.path, (100 + number, 100 + number))
        assert restored(states, empty, text[:150]) == 150
        assert [len(read_header(file.path).tokens) for file in folder.files()] == [200, 150]

    @pytest.mark.usefixtures("slow_disk")
    def test_a_disk_that_turns_out_to_be_too_slow_loses_the_file(
        self, states: KvStates, context: Context, empty: Context, text: list[int], folder: KvFolder
    ) -> None:
        keep(states, context, text[:150])
        assert restored(states, empty, text[:150]) == 150
        assert lengths(folder) == []

    @pytest.mark.usefixtures("slow_disk")
    def test_a_file_of_which_little_serves_stays(
        self, states: KvStates, context: Context, empty: Context, text: list[int], folder: KvFolder
    ) -> None:
        """What it costs to read all of it is won back by the prompt that needs all of it."""
        keep(states, context, text[:300])
        assert 0 < restored(states, empty, text[:250], [1, 2, 3]) < 200
        assert lengths(folder) == [300]


class TestOthers:
    """A state of anything else is not there."""

    def test_of_other_weights(
        self, states: KvStates, folder: KvFolder, context: Context, empty: Context, text: list[int]
    ) -> None:
        keep(states, context, text[:150])
        assert restored(KvStates(folder, "others"), empty, text[:150]) == 0
        assert lengths(folder) == [150]

    @pytest.mark.parametrize("change", [{"kv_type": "q8_0"}, {"sequences": 2, "cells": 1024}], ids=str)
    def test_of_another_kind_of_context(
        self, states: KvStates, context: Context, model: Model, text: list[int], change: dict[str, object]
    ) -> None:
        keep(states, context, text[:150])
        params = ContextParams(1024, Threads.of(1), **change)  # type: ignore[arg-type]
        with Context(model, params) as other:
            chunks = Chunks.of([text[:150]], other.cut)
            assert states.restore(other, other.sequences[0], chunks, 150) == 0
        with Context(model, ContextParams(1024)) as other:
            assert restored(states, other, text[:150]) == 150

    def test_of_another_build(
        self,
        folder: KvFolder,
        states: KvStates,
        context: Context,
        empty: Context,
        text: list[int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        keep(states, context, text[:150])
        monkeypatch.setattr(kv_file, "_build_facts", lambda: {"ggml": "0.0.1"})
        assert restored(KvStates(folder, "weights"), empty, text[:150]) == 0

    def test_of_another_version_of_the_file(
        self,
        folder: KvFolder,
        states: KvStates,
        context: Context,
        empty: Context,
        text: list[int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """An older r1 leaves it alone."""
        with monkeypatch.context() as newer:
            newer.setattr(kv_file, "VERSION", kv_file.VERSION + 1)
            keep(KvStates(folder, "weights"), context, text[:150])
        assert restored(states, empty, text[:150]) == 0
        assert len(folder.files()) == 1

    def test_whose_name_is_that_of_another_origin(
        self, folder: KvFolder, states: KvStates, context: Context, empty: Context, text: list[int]
    ) -> None:
        """A hash says where to look, and the header what it is."""
        keep(KvStates(folder, "others"), context, text[:150])
        keep(states, context, text[150:300])
        other, own = folder.files()
        other.path.replace(own.path)
        assert restored(states, empty, text[:150]) == 0
        assert len(folder.files()) == 1


class TestDamage:
    """A damaged file counts as none, and is removed."""

    @pytest.mark.parametrize("at", [0, 20, 100, -100])
    def test_is_removed_and_a_shorter_one_serves(
        self, states: KvStates, context: Context, empty: Context, text: list[int], folder: KvFolder, at: int
    ) -> None:
        keep(states, context, text[:150], owner="a")
        keep(states, context, text[:150], text[150:300], owner="b")
        (longer,) = folder.files(owner="b")
        content = bytearray(longer.path.read_bytes())
        content[at] ^= 4
        longer.path.write_bytes(content)
        assert restored(states, empty, text[:150], text[150:300]) == 150
        assert lengths(folder) == [150]
        prefill(empty, text[:150], text[150:300])
        prefill(context, text[:150], text[150:300])
        assert logits(empty) == logits(context)

    def test_that_llama_cpp_finds_leaves_room_for_a_prefill(
        self,
        states: KvStates,
        context: Context,
        empty: Context,
        text: list[int],
        folder: KvFolder,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        keep(states, context, text[:150])
        with monkeypatch.context() as refusing:
            refusing.setattr(kv_file.llama(), "llama_state_seq_load_file", lambda *_: 0)
            assert restored(states, empty, text[:150]) == 0
        assert lengths(folder) == []
        prefill(empty, text[:150])
        prefill(context, text[:150])
        assert logits(empty) == logits(context)

    def test_a_file_that_vanishes_is_not_missed(
        self,
        states: KvStates,
        context: Context,
        empty: Context,
        text: list[int],
        folder: KvFolder,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Another process removes it after each step of a search."""
        keep(states, context, text[:150])
        (file,) = folder.files()
        content = file.path.read_bytes()
        for name in ("read_header", "restore"):
            real = getattr(kv_file, name)

            def vanishing(path: Path, *arguments: object, real: object = real) -> object:
                path.unlink()
                return real(path, *arguments)  # type: ignore[operator]

            file.path.write_bytes(content)
            with monkeypatch.context() as racing:
                racing.setattr(kv_file, name, vanishing)
                assert restored(states, empty, text[:150]) == 0
        assert not states.trouble


class TestKeep:
    """What is worth its place is kept, once."""

    def test_a_conversation_that_goes_on_replaces_its_older_state(
        self, states: KvStates, context: Context, text: list[int], folder: KvFolder
    ) -> None:
        keep(states, context, text[:150], owner="chat 1")
        keep(states, context, text[:150], text[150:300], owner="chat 1")
        keep(states, context, text[:100], owner="chat 2")
        assert lengths(folder) == [100, 300]
        keep(states, context, text[200:350], owner="chat 1")  # as after /undo
        assert lengths(folder) == [100, 150]

    def test_is_not_written_again(self, states: KvStates, context: Context, text: list[int], folder: KvFolder) -> None:
        assert keep(states, context, text[:150], text[150:300], owner="chat 1")
        (before,) = folder.files()
        assert keep(states, context, text[:150], text[150:300], owner="chat 1")
        assert keep(states, context, text[:150], text[150:300], text[300:310], owner="chat 1")  # few more
        assert keep(states, context, text[:150], owner="chat 1")
        (after,) = folder.files()
        assert (after.path, after.size) == (before.path, before.size)
        assert after.used > before.used

    def test_several_questions_about_a_file_are_kept_once(
        self, states: KvStates, context: Context, text: list[int], folder: KvFolder
    ) -> None:
        assert keep(states, context, [*text[:600], *text[:20]])
        assert keep(states, context, [*text[:600], *text[30:60]])
        assert lengths(folder) == [620]

    def test_without_an_owner_a_contained_state_is_replaced(
        self, states: KvStates, context: Context, text: list[int], folder: KvFolder
    ) -> None:
        keep(states, context, text[:128])
        keep(states, context, text[:128], text[128:300], owner="chat 1")
        keep(states, context, text[200:328])
        keep(states, context, text[:128], text[128:600])
        assert lengths(folder) == [128, 300, 600]

    def test_what_is_prefilled_faster_than_read_is_not_kept(
        self, states: KvStates, context: Context, text: list[int], folder: KvFolder
    ) -> None:
        assert not keep(states, context, text, tps=1e6)
        assert not keep(states, context, text[:20], tps=1e3)
        assert (folder.files(), states.trouble) == ([], "")
        assert keep(states, context, text, tps=0)  # unknown

    def test_an_empty_sequence_is_not_kept(self, states: KvStates, context: Context, folder: KvFolder) -> None:
        assert not states.keep(context, only(context))
        assert not folder.path.exists()

    def test_the_sequence_stays_as_it_was(self, states: KvStates, context: Context, text: list[int]) -> None:
        prefill(context, text[:300])
        before = logits(context)
        states.keep(context, only(context), prefill_tps=SLOW)
        assert (only(context).tokens, only(context).edges) == (text[:300], [0, 128, 300])
        assert prefill(context, text[:300]) == [128, 300]
        assert logits(context) == before

    def test_without_room_nothing_is_kept_and_nothing_said(
        self, context: Context, text: list[int], folder: KvFolder
    ) -> None:
        states = KvStates(KvFolder(folder.path, 10_000, min_free=0), "weights")
        assert not keep(states, context, text[:150])
        assert (folder.files(), states.trouble) == ([], "")

    @pytest.mark.parametrize(
        "error", [OSError(28, "No space left on device"), R1Error("write error: No space left on device")], ids=repr
    )
    def test_a_disk_that_fails_is_said_once_and_leaves_nothing(
        self,
        states: KvStates,
        context: Context,
        text: list[int],
        folder: KvFolder,
        error: Exception,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def fail(path: Path, *_: object) -> None:
            path.write_bytes(b"half")
            raise error

        with monkeypatch.context() as failing:
            failing.setattr(kv_file, "write", fail)
            assert not keep(states, context, text[:150])
        assert "No space left" in states.trouble
        assert {path.name for path in folder.path.iterdir()} == {".lock"}
        assert keep(states, context, text[:150])
        assert not states.trouble

    def test_a_folder_that_cannot_be_made_is_trouble(self, tmp_path: Path, context: Context, text: list[int]) -> None:
        (tmp_path / "file").touch()
        states = KvStates(KvFolder(tmp_path / "file" / "kv-cache", 1 << 30), "weights")
        assert not keep(states, context, text[:150])
        assert "Not a directory" in states.trouble
        assert restored(states, context, text[:150]) == 0


WRITER = """
import sys
from pathlib import Path
from random import Random
from r1.engine.context import Context, ContextParams
from r1.engine.model import Model
from r1.kv_store.kv_folder import KvFolder
from r1.kv_store.kv_states import KvStates
from r1.machine.cores import Threads
from tests.cli.kv_store.test_kv_states import SLOW, conversation
model_path, folder, seed, rounds, most = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])
chance = Random(seed)
with Model(model_path) as model, Context(model, ContextParams(1024, threads=Threads.of(1))) as context:
    states = KvStates(KvFolder(folder, most, min_free=0), "weights")
    for number in range(rounds):
        (sequence,) = context.sequences
        list(context.warm(sequence, conversation(model, chance.randrange(6), chance.randrange(1, 5))))
        states.keep(context, sequence, f"chat {seed}" if number % 2 else "", SLOW)
        assert not states.trouble, states.trouble
        print("kept", flush=True)
"""


def conversation(model: Model, number: int, turns: int) -> list[list[int]]:
    """One of several conversations, so many turns of it."""
    tokens = [model.control.bos, *model.tokenize(f"{number} and {number + 7} are two numbers, " * 40)]
    return [tokens[start : start + 150] for start in range(0, 150 * turns, 150)]


def writer(tiny_path: Path, folder: KvFolder, seed: int, rounds: int, output: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(tiny_path), str(folder.path), str(seed), str(rounds), "3000000"]
    return subprocess.Popen(command, stdout=output, text=True, cwd=ROOT)


def check_all(states: KvStates, folder: KvFolder, context: Context, empty: Context) -> int:
    """Every state that is found gives the logits of a prefill; how many were."""
    found = 0
    for number in range(6):
        turns = conversation(context.model, number, 4)
        only(empty).truncate(0)
        found += bool(restored(states, empty, *turns))
        prefill(empty, *turns)
        only(context).truncate(0)
        prefill(context, *turns)
        assert logits(empty) == logits(context)
    return found


class TestProcesses:
    """Several processes keep and read states at once, and some are killed."""

    def test_two_chats_at_once(
        self, tiny_path: Path, states: KvStates, folder: KvFolder, context: Context, empty: Context
    ) -> None:
        writers = [writer(tiny_path, folder, seed, 25, subprocess.DEVNULL) for seed in (1, 2)]
        found = 0
        while any(process.poll() is None for process in writers):
            found += check_all(states, folder, context, empty)
        assert [process.wait() for process in writers] == [0, 0]
        assert check_all(states, folder, context, empty) + found > 0
        assert sum(file.size for file in folder.files()) <= 3_000_000
        assert list(folder.path.glob("*.partial")) == []

    def test_processes_that_are_killed_while_they_write(
        self, tiny_path: Path, states: KvStates, folder: KvFolder, context: Context, empty: Context
    ) -> None:
        chance = random.Random(0)
        for seed in range(6):
            with writer(tiny_path, folder, seed, 1000, subprocess.PIPE) as process:
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(chance.uniform(0, 0.1))
                process.kill()
        assert check_all(states, folder, context, empty) > 0
        keep(states, context, *conversation(context.model, 9, 3))
        assert list(folder.path.glob("*.partial")) == []

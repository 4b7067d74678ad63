"""Checkpoints and files made to do harm: one line, exit 7, and nothing written anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.fakes import checkpoints

INDEX = "model.safetensors.index.json"
Harm = Callable[[Path], object]


def lying_header(change: Callable[[dict[str, Any]], object]) -> Harm:
    """A shard whose header is changed; the tensors behind it stay."""

    def harm(folder: Path) -> None:
        path = folder / "model.safetensors"
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        change(header)
        checkpoints.write_raw_safetensors(path, json.dumps(header).encode(), data[8 + length :])

    return harm


def set_offsets(begin: int, end: int) -> Callable[[dict[str, Any]], object]:
    return lambda header: header["lm_head.weight"].update(data_offsets=[begin, end])


def announce(length: int) -> Harm:
    """A shard that says its header is so long."""

    def harm(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])

    return harm


def index_to(shard: object) -> Harm:
    """An index that sends a tensor elsewhere."""
    return lambda folder: checkpoints.write_json(folder / INDEX, {"weight_map": {"lm_head.weight": shard}})


def put(name: str, content: bytes) -> Harm:
    """A file with that content."""
    return lambda folder: (folder / name).write_bytes(content)


HARMS: dict[str, Harm] = {
    "a header longer than the file": announce(1 << 40),
    "a header as long as can be said": announce((1 << 64) - 1),
    "a header of no length": announce(0),
    "an offset behind the end": lying_header(set_offsets(1 << 50, (1 << 50) + 163_840)),
    "an offset before the beginning": lying_header(set_offsets(-163_840, 0)),
    "tensors that overlap": lying_header(set_offsets(0, 163_840)),
    "a dtype there is none of": lying_header(lambda header: header["lm_head.weight"].update(dtype="Q4_K")),
    "a dtype of another size": lying_header(lambda header: header["lm_head.weight"].update(dtype="F32")),
    "a dtype that is no float": lying_header(lambda header: header["lm_head.weight"].update(dtype="I16")),
    "a shape of monstrous size": lying_header(lambda header: header["lm_head.weight"].update(shape=[1 << 40, 1 << 40])),
    "another shape": lying_header(lambda header: header["lm_head.weight"].update(shape=[256, 320])),
    "JSON in JSON in JSON": put("config.json", b'{"a":' * 200_000),
    "a JSON number without end": put("config.json", b'{"vocab_size": ' + b"9" * 1_000_000 + b"}"),
    "a list of a million lists": put("tokenizer.json", b"[" * 1_000_000),
    "a tokenizer of nulls": put(
        "tokenizer.json", b'{"model": {"type": "BPE", "vocab": {"a": null}, "merges": [null]}}'
    ),
    "a shard in the folder above": index_to("../outside.safetensors"),
    "a shard far above": index_to("../../../../../../etc/passwd"),
    "a shard by its whole path": index_to("/etc/passwd.safetensors"),
    "a shard with a NUL in its name": index_to("a\0.safetensors"),
    "a shard on another drive": index_to("C:\\outside.safetensors"),
    "a shard that is no text": index_to({"a": "b"}),
    "a shard that is a folder": lambda folder: [
        (folder / "x.safetensors").mkdir(),
        index_to("x.safetensors")(folder),
    ],
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
def test_is_refused(r1: Run, tmp_path: Path, harm: Harm) -> None:
    folder = checkpoints.write(tmp_path / "made" / "checkpoint")
    checkpoints.write_safetensors(tmp_path / "made" / "outside.safetensors", {})
    harm(folder)
    (tmp_path / "out").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = r1("quantize", folder, "-t", "Q8_0", "-o", tmp_path / "out" / "a.gguf")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (7, b"", 1), done.stderr
    assert sorted(tmp_path.rglob("*")) == before

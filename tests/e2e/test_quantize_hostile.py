"""Hostile checkpoints and files give one line and exit code 7, and nothing is written."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r1_quantize.checkpoint.architecture import architecture_of
from r1_quantize.gguf.tensor_type import TensorType
from tests.conftest import Run
from tests.fakes import checkpoints, quantizer
from tests.fakes.checkpoints import Shape
from tests.fakes.in_process import run_each

INDEX = "model.safetensors.index.json"
Harm = Callable[[Path], object]


def lying_header(change: Callable[[dict[str, Any]], object]) -> Harm:
    """A shard with a changed header and unchanged tensors."""

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


def claim(length: int) -> Harm:
    """A shard that claims a header of this length."""

    def harm(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])

    return harm


def index_to(shard: object) -> Harm:
    """An index that points to another shard."""
    return lambda folder: checkpoints.write_json(folder / INDEX, {"weight_map": {"lm_head.weight": shard}})


def put(name: str, content: bytes) -> Harm:
    """A file with that content."""
    return lambda folder: (folder / name).write_bytes(content)


HARMS: dict[str, Harm] = {
    "a header longer than the file": claim(1 << 40),
    "the longest possible header": claim((1 << 64) - 1),
    "a header of length 0": claim(0),
    "an offset past the end": lying_header(set_offsets(1 << 50, (1 << 50) + 163_840)),
    "an offset before the beginning": lying_header(set_offsets(-163_840, 0)),
    "tensors that overlap": lying_header(set_offsets(0, 163_840)),
    "an unknown dtype": lying_header(lambda header: header["lm_head.weight"].update(dtype="Q4_K")),
    "a dtype of another size": lying_header(lambda header: header["lm_head.weight"].update(dtype="F32")),
    "a dtype that is not a float": lying_header(lambda header: header["lm_head.weight"].update(dtype="I16")),
    "an absurdly large shape": lying_header(lambda header: header["lm_head.weight"].update(shape=[1 << 40, 1 << 40])),
    "another shape": lying_header(lambda header: header["lm_head.weight"].update(shape=[256, 320])),
    "JSON in JSON in JSON": put("config.json", b'{"a":' * 200_000),
    "a JSON number without end": put("config.json", b'{"vocab_size": ' + b"9" * 1_000_000 + b"}"),
    "a list of a million lists": put("tokenizer.json", b"[" * 1_000_000),
    "a tokenizer of nulls": put(
        "tokenizer.json", b'{"model": {"type": "BPE", "vocab": {"a": null}, "merges": [null]}}'
    ),
    "a shard in the folder above": index_to("../outside.safetensors"),
    "a shard far above": index_to("../../../../../../etc/passwd"),
    "a shard by its absolute path": index_to("/etc/passwd.safetensors"),
    "a shard with a NUL in its name": index_to("a\0.safetensors"),
    "a shard on another drive": index_to("C:\\outside.safetensors"),
    "a shard that is not a string": index_to({"a": "b"}),
    "a pipe instead of a file": lambda folder: [
        (folder / "generation_config.json").unlink(),
        os.mkfifo(folder / "generation_config.json"),
    ],
    "an endless file": lambda folder: [
        (folder / "config.json").unlink(),
        (folder / "config.json").symlink_to("/dev/zero"),
    ],
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


def with_rows(folder: Path, name: str, scale: float) -> Path:
    """A checkpoint with one tensor multiplied by `scale`."""
    stored = {name: checkpoints.stored(name, shape) for name, shape in Shape(layers=1).tensors.items()}
    checkpoints.write(folder, Shape(layers=1))
    dtype, shape, data = stored[name]
    values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4") * np.float32(scale)
    stored[name] = dtype, shape, (values.view("<u4") >> 16).astype("<u2").tobytes()
    checkpoints.write_safetensors(folder / "model.safetensors", stored)
    return folder


def write_importance(path: Path, weight: float) -> Path:
    """An importance matrix in llama.cpp's .dat form, with the same weight for every column of every matrix."""
    names = (w.name for w in architecture_of(Shape(layers=1).config).weights if len(w.shape) == 2)
    columns = {name: 512 if "ffn_down" in name else 256 for name in names}
    data = struct.pack("<i", len(columns))
    for name, count in columns.items():
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 1, count)
        data += struct.pack(f"<{count}f", *[weight] * count)
    path.write_bytes(data)
    return path


class TestTheProcessSurvives:
    """ggml aborts the process on unexpected input, so such input must not reach it."""

    @pytest.mark.parametrize("quant", ["IQ3_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "Q2_K", "Q4_K_M"])
    def test_with_absurd_weights_and_importance(self, environ: dict[str, str], tmp_path: Path, quant: str) -> None:
        """One process for each type, because a process takes up to 9 s to compute the tables of one."""
        plain, imatrix = checkpoints.write(tmp_path / "c", Shape(layers=1)), tmp_path / "imatrix.gguf"
        quantizer.write_imatrix(imatrix, Shape(layers=1))
        scales, importance = [1e14, 1e30], {-1.0: 7, 3e38: 7, 1e-42: 0, 0.0: 0}
        row = "model.layers.0.mlp.up_proj.weight"
        sources = {f"{scale}": (with_rows(tmp_path / f"{scale}", row, scale), imatrix) for scale in scales}
        sources |= {f"{odd}": (plain, write_importance(tmp_path / f"{odd}.dat", odd)) for odd in importance}
        commands = [
            ["quantize", folder, "-t", quant, "--imatrix", matrix, "-o", tmp_path / f"{name}.gguf", "-q"]
            for name, (folder, matrix) in sources.items()
        ]
        outcomes = run_each(commands, environ)
        assert [status for status, _ in outcomes[len(scales) :]] == list(importance.values()), outcomes
        for scale, (status, stderr) in zip(scales, outcomes, strict=False):
            assert status in {0, 7}, stderr
            if status:
                assert "up_proj.weight: a value is NaN, infinite or too large for" in stderr
                assert not list(tmp_path.glob(f"{scale}.gguf*"))

    @pytest.mark.parametrize("kind", ["I8", "I16", "I32", "I64", "F64", "Q8_K"])
    def test_with_matrices_of_types_that_are_not_weights(self, r1: Run, tmp_path: Path, kind: str) -> None:
        folder = checkpoints.write(tmp_path / "c", Shape(layers=1))
        source, number = tmp_path / "s.gguf", TensorType[kind]
        assert r1("quantize", folder, "-t", "F32", "-o", source, "-q").returncode == 0
        data, name = bytearray(source.read_bytes()), b"output.weight"
        at = data.index(name) + len(name) + 4 + 16  # after the number of dimensions and two dimensions
        assert data[at : at + 4] == bytes(4)
        data[at : at + 4] = int(number).to_bytes(4, "little")
        source.write_bytes(data + bytes(1 << 20))
        done = r1("quantize", source, "-t", "Q8_0", "-o", tmp_path / "a.gguf")
        assert (done.returncode, done.stderr.count(b"\n")) == (7, 1), done.stderr


class TestTheSourceIsNotOverwritten:
    """No -o overwrites a file of the source."""

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
    def test_a_file_of_the_checkpoint(self, r1: Run, tmp_path: Path, name: str) -> None:
        folder = checkpoints.write(tmp_path / "c")
        before = (folder / name).read_bytes()
        done = r1("quantize", folder, "-o", folder / name)
        assert (done.returncode, (folder / name).read_bytes()) == (2, before)
        assert b"is part of the source; choose another output or type" in done.stderr

    def test_a_gguf_at_the_path_of_the_unfinished_file(self, r1: Run, tmp_path: Path) -> None:
        folder, source = checkpoints.write(tmp_path / "c"), tmp_path / "e.gguf.partial"
        assert r1("quantize", folder, "-t", "BF16", "-o", tmp_path / "x.gguf", "-q").returncode == 0
        (tmp_path / "x.gguf").rename(source)
        before = source.read_bytes()
        done = r1("quantize", source, "-o", tmp_path / "e.gguf")
        assert (done.returncode, source.read_bytes()) == (2, before)

    def test_an_importance_matrix(self, r1: Run, tmp_path: Path) -> None:
        folder = checkpoints.write(tmp_path / "c")
        imatrix = quantizer.write_imatrix(tmp_path / "imatrix.gguf", Shape())
        before = imatrix.read_bytes()
        done = r1("quantize", folder, "--imatrix", imatrix, "-o", imatrix)
        assert (done.returncode, imatrix.read_bytes()) == (2, before)

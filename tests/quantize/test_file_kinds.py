"""`r1_quantize.file_kinds`: what a file is that is not what its name says."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile

import pytest

from r1_quantize.file_kinds import START_BYTES, kind_of

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4" * 64 + b"\nsize 3554214621\n"


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("archive/data.pkl", b"x")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file; download it again"),
        (POINTER, "a git-lfs pointer"),
        (b"<!DOCTYPE html>\n<html>", "a web page"),
        (b"\n\n  <HTML><body>404", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "a web page"),
        (b"GGUF\3\0\0\0", "a GGUF with another name"),
        (b"\x48\x91\0\0\0\0\0\0" + b'{"__metadata__": {"format": "pt"}', "a checkpoint's shard with another name"),
        (zipped(), "a zip archive"),
        (pickle.dumps({"a": 1}, protocol=2), "a PyTorch pickle"),
        (pickle.dumps({"a": 1}, protocol=4), "a PyTorch pickle"),
        (gzip.compress(b"x", mtime=0), "a compressed file; unpack it first"),
        (b"tjgg\1\0\0\0", "llama.cpp's old formats"),
        (bytes(START_BYTES), "a file that begins with zeros"),
    ],
)
def test_is_recognised(content: bytes, kind: str) -> None:
    assert kind in (kind_of(content[:START_BYTES]) or "")


@pytest.mark.parametrize(
    "content", [b"{", b'{"a": 1}', b"[]", b"x", b"\xff\xfe", b"\0\0", b"version 1", b"null", b"gguf"]
)
def test_anything_else_is_not(content: bytes) -> None:
    assert kind_of(content) is None

"""`r1_quantize.journal`: progress is recorded, and a journal damaged by a power cut can still be read."""

from __future__ import annotations

import json
from hashlib import shake_256
from pathlib import Path

import pytest

from r1_quantize.journal import FileRecord, Journal, JournalContent, TensorRecord, read_journal

TENSORS = {
    "token_embd.weight": TensorRecord(0, "0" * 64),
    "blk.0.attn_q.weight": TensorRecord((1 << 32) - 1, "0123456789abcdef" * 4),
    'a "strange"\nname, für 中文': TensorRecord(7, "f" * 64),
}
FILES = {
    "model-00001-of-00002.safetensors": FileRecord(
        (1 << 40, 1_795_000_000_123_456_789, 1_795_000_000_987_654_321), "a" * 64
    ),
    "größe.gguf": FileRecord((0, -1, 0), "b" * 64),
}
COMPLETE = JournalContent("the job", TENSORS, FILES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the journal."""
    return tmp_path / "some.gguf.partial.journal"


def write(path: Path, progress: JournalContent = COMPLETE) -> None:
    """Writes a journal record by record."""
    journal = Journal(path, JournalContent(progress.job))
    for name, tensor in progress.tensors.items():
        journal.tensor(name, tensor)
    for name, file in progress.files.items():
        journal.file(name, file)
    journal.close()


class TestRoundTrip:
    """Recorded progress can be read back."""

    def test_reads_back_what_was_recorded(self, path: Path) -> None:
        write(path)
        assert read_journal(path) == COMPLETE

    def test_a_missing_journal_is_none(self, path: Path) -> None:
        assert read_journal(path) is None

    def test_an_unreadable_journal_is_none(self, tmp_path: Path) -> None:
        assert read_journal(tmp_path) is None

    def test_each_record_is_written_at_once(self, path: Path) -> None:
        journal = Journal(path, JournalContent("the job"))
        assert read_journal(path) == JournalContent("the job")
        for count, (name, tensor) in enumerate(TENSORS.items(), start=1):
            journal.tensor(name, tensor)
            assert read_journal(path) == JournalContent("the job", dict(list(TENSORS.items())[:count]))
        journal.close()

    def test_a_new_journal_starts_with_what_is_kept(self, path: Path) -> None:
        write(path)
        kept = JournalContent("another job", {"a": TensorRecord(1, "a" * 64)}, {"b": FileRecord((2, 3, 4), "b" * 64)})
        Journal(path, kept).close()
        assert read_journal(path) == kept

    def test_records_follow_what_is_kept(self, path: Path) -> None:
        journal = Journal(path, JournalContent("the job", {"a": TensorRecord(1, "a" * 64)}))
        journal.tensor("b", TensorRecord(2, "b" * 64))
        journal.file("c", FileRecord((3, 4, 5), "c" * 64))
        journal.close()
        expected = {"a": TensorRecord(1, "a" * 64), "b": TensorRecord(2, "b" * 64)}
        assert read_journal(path) == JournalContent("the job", expected, {"c": FileRecord((3, 4, 5), "c" * 64)})

    def test_the_last_record_of_a_tensor_counts(self, path: Path) -> None:
        journal = Journal(path, JournalContent("the job", {"a": TensorRecord(1, "a" * 64)}))
        journal.tensor("a", TensorRecord(2, "b" * 64))
        journal.close()
        assert read_journal(path) == JournalContent("the job", {"a": TensorRecord(2, "b" * 64)})

    def test_is_lines_of_json(self, path: Path) -> None:
        write(path)
        assert [next(iter(json.loads(line))) for line in path.read_text("ascii").splitlines()] == [
            *("job", "tensor", "tensor", "tensor", "file", "file")
        ]

    def test_a_failed_write_raises(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="No such file"):
            Journal(tmp_path / "none" / "journal", COMPLETE)


class TestDamage:
    """Invalid lines are skipped, and the others count."""

    def test_a_torn_last_line_loses_only_itself(self, path: Path) -> None:
        progress = JournalContent("the job", TENSORS)
        write(path, progress)
        content = path.read_bytes()
        last = content.rindex(b"\n", 0, -1) + 1
        *earlier, _ = TENSORS.items()
        for length in range(last, len(content) - 1):
            path.write_bytes(content[:length])
            assert read_journal(path) == JournalContent("the job", dict(earlier))
        path.write_bytes(content[:-1])  # all of the line but its end
        assert read_journal(path) == progress

    def test_cut_anywhere_it_has_only_what_was_recorded(self, path: Path) -> None:
        write(path)
        content = path.read_bytes()
        for length in range(len(content)):
            path.write_bytes(content[:length])
            found = read_journal(path)
            assert found is not None
            assert found.job in {"", "the job"}
            assert found.tensors.items() <= TENSORS.items()
            assert found.files.items() <= FILES.items()

    @pytest.mark.parametrize(
        "line",
        [
            b'{"tensor": "a", "crc32": 1e999, "source_digest": ""}',
            b'{"file": "a", "stamp": [Infinity, 0, 0], "digest": ""}',
            b"",
            b"{",
            b"\0" * 4096,  # left by some file systems for data that was not on the disk yet
            b"\xff\xfe\x00\x01",
            b"null",
            b"7",
            b"true",
            b'"job"',
            b'"a tensor"',
            b"[]",
            b'["job"]',
            b'["tensor", "crc32", "source_digest"]',
            b"{}",
            b'{"job"',
            b'{"tensor": "x"}',
            b'{"tensor": "x", "crc32": 7}',
            b'{"tensor": "x", "crc32": "many", "source_digest": ""}',
            b'{"tensor": "x", "crc32": null, "source_digest": ""}',
            b'{"tensor": "x", "crc32": [7], "source_digest": ""}',
            b'{"tensor": "x", "crc32": NaN, "source_digest": ""}',
            b'{"tensor": "x", "crc32": ' + b"9" * 5000 + b', "source_digest": ""}',
            b'{"file": "x", "size": 7, "modified": 7, "digest": ""}',  # of an earlier version
            b'{"file": "x", "stamp": [7, 7, 7]}',
            b'{"file": "x", "stamp": [7, 7], "digest": ""}',
            b'{"file": "x", "stamp": [7, 7, 7, 7], "digest": ""}',
            b'{"file": "x", "stamp": [7, 7, "now"], "digest": ""}',
            b'{"file": "x", "stamp": [7, [7], 7], "digest": ""}',
            b'{"file": "x", "stamp": "now", "digest": ""}',
            b'{"file": "x", "stamp": 7, "digest": ""}',
            b'{"file": "x", "stamp": null, "digest": ""}',
            b"[" * 100_000,
            b'{"job":' * 100_000,
            b'{"tensor": ' + b"[" * 100_000,
        ],
    )
    def test_an_invalid_line_is_skipped(self, path: Path, line: bytes) -> None:
        write(path)
        lines = path.read_bytes().splitlines()
        for at in range(len(lines) + 1):
            path.write_bytes(b"\n".join([*lines[:at], line, *lines[at:]]) + b"\n")
            assert read_journal(path) == COMPLETE

    @pytest.mark.parametrize("seed", range(50))
    def test_random_bytes_record_nothing(self, path: Path, seed: int) -> None:
        path.write_bytes(shake_256(bytes([seed])).digest(10_000))
        assert read_journal(path) == JournalContent()

    def test_flipped_bits_raise_nothing(self, path: Path) -> None:
        write(path)
        content = bytearray(path.read_bytes())
        for at in range(len(content)):
            content[at] ^= 1 << at % 8
            path.write_bytes(content)
            content[at] ^= 1 << at % 8
            assert isinstance(read_journal(path), JournalContent)

    def test_an_empty_journal_records_nothing(self, path: Path) -> None:
        path.write_bytes(b"")
        assert read_journal(path) == JournalContent()

"""The KV cache on disk, with the installed program: what was read once is not prefilled again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from r1.engine.kv_types import CPU_CUT
from tests.conftest import Run

Ask = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="looks at POSIX permissions")

_CHUNK = CPU_CUT.size + CPU_CUT.least  # the longest
TEXT = "The quick brown fox jumps over the lazy dog, and nobody counts how often. "
ASKED = ("--seed", "3", "--max-tokens", "30", "--json", "--no-stdin")


@pytest.fixture
def own_home(tmp_path: Path) -> Path:
    return tmp_path / "own-home"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "big.md"
    path.write_text(TEXT * 60, encoding="utf-8")
    return path


@pytest.fixture
def ask(r1: Run, own_home: Path, endless_path: Path, file: Path) -> Ask:
    """Asks about the file. The model is a small one that takes long prompts."""

    def asked(question: str = "How often?", size: str = "4GB") -> dict[str, Any]:
        variables = {"R1_HOME": str(own_home), "R1_CACHE_SIZE": size}
        done = r1("run", "-m", endless_path, *ASKED, "-f", file, question, **variables)
        assert done.returncode in {0, 3}, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    return asked


def cached(report: dict[str, Any]) -> int:
    """Tokens of the prompt that were not prefilled."""
    return int(report["usage"]["cached_tokens"])


def tokens(report: dict[str, Any]) -> int:
    return int(report["usage"]["prompt_tokens"])


def text(report: dict[str, Any]) -> tuple[str, str]:
    return report["thinking"], report["answer"]


class TestRun:
    """`r1 run -f FILE` reads a file once."""

    def test_a_file_is_prefilled_once(self, ask: Ask, own_home: Path) -> None:
        first, again = ask(), ask()
        assert cached(first) == 0
        assert tokens(first) - _CHUNK <= cached(again) < tokens(first)
        assert text(again) == text(first)
        (kept,) = (own_home / "kv-cache").glob("*.kv")
        assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        other = ask("Which animals are there?")
        assert cached(other) > tokens(other) - 2 * _CHUNK
        assert text(other) == text(ask("Which animals are there?", size="off"))
        assert len(list(kept.parent.glob("*.kv"))) == 1  # the file is in it already

    def test_nothing_is_kept_or_read_where_that_is_off(self, ask: Ask, r1: Run, own_home: Path) -> None:
        first = ask()
        assert cached(ask(size="off")) == 0
        assert cached(ask()) > 0
        assert r1("rm", "-y", "--cache", R1_HOME=str(own_home)).returncode == 0
        again = ask(size="off")
        assert (cached(again), text(again)) == (0, text(first))
        assert not list((own_home / "kv-cache").glob("*.kv"))

    def test_a_prompt_without_a_file_leaves_nothing_on_the_disk(
        self, r1: Run, own_home: Path, endless_path: Path
    ) -> None:
        variables = {"R1_HOME": str(own_home), "R1_CACHE_SIZE": "4GB", "R1_MAX_TOKENS": "5"}
        assert r1("run", "-m", endless_path, stdin=(TEXT * 60).encode(), **variables).returncode in {0, 3}
        assert not (own_home / "kv-cache").exists()

    def test_a_damaged_file_changes_nothing(self, ask: Ask, own_home: Path) -> None:
        first = ask()
        (kept,) = (own_home / "kv-cache").glob("*.kv")
        content = bytearray(kept.read_bytes())
        content[len(content) // 2] ^= 1
        kept.write_bytes(content)
        again = ask()
        assert (cached(again), text(again)) == (0, text(first))

    def test_a_home_that_cannot_be_written_is_no_error(self, ask: Ask, own_home: Path) -> None:
        own_home.mkdir()
        (own_home / "kv-cache").touch()
        first = ask()
        assert text(ask()) == text(first)


class TestChat:
    """A chat that is continued does not read its conversation again."""

    def test_is_kept_when_it_ends_and_gone_when_it_is_deleted(
        self, r1: Run, own_home: Path, endless_path: Path
    ) -> None:
        def kept() -> list[Path]:
            return list((own_home / "kv-cache").glob("*.kv"))

        variables = {"R1_HOME": str(own_home), "R1_MODEL": str(endless_path), "R1_CACHE_SIZE": "4GB"}
        variables |= {"R1_TEMP": "0", "R1_MAX_TOKENS": "30"}
        assert r1("chat", stdin=(TEXT * 60).encode(), **variables).returncode in {0, 3}
        (first,) = kept()
        assert r1("chat", "--continue", stdin=b"And now?", **variables).returncode in {0, 3}
        assert len(kept()) == 1
        assert r1("history", "delete", "-y", "1", **variables).returncode == 0
        assert not kept()
        assert not first.exists()

"""`r1 run -f FILE` again: what was prefilled of the file the first time is on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r1.kv_store import kv_states
from tests.conftest import Run


@pytest.fixture
def large_file(tmp_path: Path) -> Path:
    path = tmp_path / "large.txt"
    path.write_text("The river flows past the mill. " * 60)
    return path


@pytest.mark.parametrize("options", [[], ["--votes", "2"]], ids=["one reply", "a vote"])
def test_the_file_is_prefilled_once(
    r1: Run, own_home: Path, large_file: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tiny` prefills faster than most disks read, so that nothing would be kept."""
    monkeypatch.setattr(kv_states, "_READ_BPS", 1e12)
    monkeypatch.setattr(kv_states, "_MIN_GAIN_S", 0.0)
    arguments = ["run", "-m", "tiny", "-f", large_file, "--json", "--seed", "3", *options, "17+25?"]
    variables = {"R1_HOME": str(own_home), "R1_CACHE_SIZE": "1GB"}
    first, second = (json.loads(r1(*arguments, **variables).stdout) for _ in range(2))
    assert first["usage"]["cached_tokens"] == 0
    assert second["usage"]["cached_tokens"] > 0.8 * second["usage"]["prompt_tokens"]
    assert (second["thinking"], second["answer"]) == (first["thinking"], first["answer"])

"""`r1 verify`: damage is found and named."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Run


class TestVerify:
    """A line for each check; the exit code says if all passed."""

    def test_an_intact_model(self, r1: Run) -> None:
        done = r1("verify", "tiny")
        assert (done.returncode, done.stderr) == (0, b"")
        assert all(line.startswith("ok ") for line in done.stdout.decode().splitlines())

    def test_one_flipped_bit(self, r1: Run, own_home: Path) -> None:
        path = own_home / "models" / "tiny" / "Q8_0.gguf"
        data = bytearray(path.read_bytes())
        data[-1000] ^= 1
        path.write_bytes(data)
        done = r1("verify", "tiny:Q8_0", R1_HOME=str(own_home))
        assert done.returncode == 7
        assert "BAD  digest" in done.stdout.decode()
        assert done.stderr.count(b"\n") == 1

    def test_an_unreadable_manifest(self, r1: Run, own_home: Path) -> None:
        (own_home / "models" / "tiny" / "Q8_0.json").write_bytes(b"\0" * 600)
        done = r1("verify", "tiny:Q8_0", R1_HOME=str(own_home))
        assert done.returncode == 7
        assert done.stdout.startswith(b"BAD  manifest")

    def test_a_truncated_file(self, r1: Run, own_home: Path) -> None:
        path = own_home / "models" / "tiny" / "Q8_0.gguf"
        path.write_bytes(path.read_bytes()[:-10_000])
        done = r1("verify", "tiny:Q8_0", "--json", R1_HOME=str(own_home))
        facts = json.loads(done.stdout)
        assert done.returncode == 7
        assert facts["whole"] is False
        assert "cut short" in facts["checks"][0]["detail"]

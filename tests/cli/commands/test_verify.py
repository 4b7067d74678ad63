"""`r1 verify`: damage is found and named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from r1.commands import verify as module
from r1_quantize import catalog
from r1_quantize.store.manifest import Manifest
from r1_quantize.store.model import StoredModel
from r1_quantize.store.store import Store
from tests.conftest import Run
from tests.fakes.consoles import console, written


class TestVerify:
    """A line for each check; the exit code says if all passed."""

    def test_an_intact_model(self, r1: Run) -> None:
        done = r1("verify", "tiny")
        assert (done.returncode, done.stderr) == (0, b"")
        assert all(line.startswith("ok ") for line in done.stdout.decode().splitlines())

    def test_on_a_narrow_terminal_the_details_are_in_a_column_of_their_own(
        self, environ: dict[str, str], tiny_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "40")
        terminal = console(environ=environ, stdout_is_terminal=True)
        assert module.verify(terminal, str(tiny_path), repairing=False, as_json=False) == 0
        lines = written(terminal.stdout).splitlines()
        assert max(map(len, lines)) < 40
        assert {line[:5] for line in lines} == {"ok   ", "     "}
        assert {line[15:16] for line in lines} == {" "}
        assert all(line[16] != " " for line in lines)

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


PULLED = Manifest(
    name="qwen-7b",
    quant="Q8_0",
    source="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
    revision="0" * 40,
    source_sha256={},
    sha256="0" * 64,
    size=1,
    recipe={},
    tools={},
    created="2026-01-01",
)
LOCAL = replace(PULLED, source="my-folder", revision=None)


class TestRemedy:
    """The command that replaces a damaged model depends on where it came from."""

    @pytest.mark.parametrize(
        ("name", "quant", "manifest", "remedy"),
        [
            ("model.gguf", None, None, "download or make it again"),
            ("tiny", "Q8_0", PULLED, "r1 quantize tiny -t Q8_0 --force makes it again"),
            ("qwen-7b", "Q8_0", PULLED, "r1 verify --repair qwen-7b:Q8_0 replaces the damaged parts"),
            ("qwen-7b", "Q8_0", None, "r1 rm qwen-7b:Q8_0, then r1 pull qwen-7b:Q8_0 gets it again"),
            ("someones", "Q8_0", PULLED, "r1 verify --repair someones:Q8_0 replaces the damaged parts"),
            (
                "someones",
                "Q8_0",
                LOCAL,
                "make it again from my-folder: r1 quantize PATH -t Q8_0 --name someones --force",
            ),
            (
                "someones",
                "Q8_0",
                None,
                "make it again from its source: r1 quantize PATH -t Q8_0 --name someones --force",
            ),
        ],
    )
    def test_is_a_command_wherever_there_is_one(
        self, tmp_path: Path, name: str, quant: str | None, manifest: Manifest | None, remedy: str
    ) -> None:
        model = StoredModel(name=name, quant=quant, path=tmp_path / "x", size=1, modified=0.0, manifest=manifest)
        assert module._remedy(Store(tmp_path, catalog.load()), model) == remedy

"""The wheel: what people install has everything in it, and works from where it was put."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.fakes.paths import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as hatchling builds it from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return next(folder.glob("r1_local-*.whl"))


def test_holds_both_packages_the_catalogue_and_the_built_in_checkpoint(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"r1/app.py", "r1/py.typed", "r1_quantize/pipeline.py", "r1_quantize/models.toml"} <= names
    assert "r1/evaluate/tiny.jsonl" in names
    tiny = {
        name.removeprefix("r1_quantize/store/tiny/") for name in names if name.startswith("r1_quantize/store/tiny/")
    }
    assert tiny == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert not [name for name in names if name.endswith(".gguf") or name.startswith(("tests/", "scripts/"))]


def test_answers_from_where_it_was_unpacked(wheel: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    fresh = {**environ, "PYTHONPATH": str(tmp_path / "site"), "R1_HOME": str(tmp_path / "home")}
    where = [sys.executable, "-c", "import r1, r1_quantize; print(r1.__file__, r1_quantize.__file__)"]
    found = subprocess.run(where, env=fresh, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300)
    assert found.stdout.count(str(tmp_path / "site")) == 2
    command = [sys.executable, "-m", "r1", "run", "--no-stdin", "--temp", "0", "What is 17 + 25?"]
    answer = subprocess.run(command, env=fresh, cwd=tmp_path, capture_output=True, check=True, timeout=300)
    assert rb"\boxed{42}" in answer.stdout
    assert answer.stderr == b""


def test_the_checkpoint_keeps_to_its_size() -> None:
    tiny = ROOT / "quantize" / "r1_quantize" / "store" / "tiny"
    assert sum(path.stat().st_size for path in tiny.iterdir()) <= 8_000_000

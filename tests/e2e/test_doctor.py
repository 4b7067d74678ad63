"""`r1 doctor` on this machine: the real program, in a pipe and on a terminal as narrow as a phone's."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import R1, Run


def test_json_agrees_with_other_tools(r1: Run, home: Path) -> None:
    done = r1("doctor", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    facts = json.loads(done.stdout)
    assert facts["memory"]["total_bytes"] <= psutil.virtual_memory().total
    assert facts["disks"]["home"]["path"] == str(home)
    assert facts["devices"][0]["kind"] in {"cpu", "gpu", "igpu", "accelerator"}
    assert facts["memory"]["bandwidth_bytes_per_second"] is None or facts["memory"]["bandwidth_bytes_per_second"] > 1e8
    assert {model["name"] for model in facts["models"]} == {
        *("qwen-1.5b", "qwen-7b", "qwen-14b", "qwen-32b", "llama-8b", "llama-70b")
    }
    assert (facts["versions"]["trouble"], facts["terminal"]["is_terminal"]) == (None, False)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
def test_on_a_narrow_terminal_and_without_llama_cpp_it_says_what_to_do(environ: dict[str, str], tmp_path: Path) -> None:
    from tests.e2e.terminal import Terminal, without_style

    (tmp_path / "llama_cpp").mkdir()
    (tmp_path / "llama_cpp" / "__init__.py").touch()  # a package without its module
    path = os.pathsep.join([str(tmp_path), environ.get("PYTHONPATH", "")])
    with Terminal([*R1, "doctor"], {**environ, "PYTHONPATH": path, "COLUMNS": "40"}) as terminal:
        shown = without_style(terminal.read_to_end())
        assert terminal.status == 0
    lines = shown.split("\r\n")
    assert max(len(line) for line in lines if not line.startswith("  ")) <= 40
    words = " ".join(shown.split())
    assert "! cannot load llama-cpp-python" in words
    assert "pip install --force-reinstall" in words
    assert "256 colours" in words
    assert "qwen-1.5b:Q4_K_M" in words

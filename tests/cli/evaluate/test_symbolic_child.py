"""The program by itself: its lines, and its own end."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from r1.evaluate import symbolic
from tests.test_house import imported

PROGRAM = Path(symbolic.__file__).with_name("symbolic_child.py")


def _run(limit_s: str, lines: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", str(PROGRAM), limit_s, str(1 << 30)]
    return subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120, cwd=folder, check=False)


def test_says_what_it_has_read_and_replies_to_each_line_until_stdin_ends(tmp_path: Path) -> None:
    (tmp_path / "sympy.py").write_text("raise SystemExit('what lies in the folder is not imported')")
    done = _run("60", '["x+y", "y+x"]\n["x", "y"]\n["x", "\\\\frac{"]\n', tmp_path)
    assert done.stdout == "null\n1\n2\ntrue\n1\n2\nfalse\n1\n2\nnull\n"
    assert done.returncode == 0


def test_ends_itself_when_its_time_is_over(tmp_path: Path) -> None:
    done = _run("0.2", '["2^{2^{2^{99}}}", "5"]\n["x", "x"]\n', tmp_path)
    assert set(done.stdout.split()) <= {"null", "1", "2"}  # no result
    assert done.returncode != 0


def test_imports_nothing_of_r1() -> None:
    names = set(imported(ast.parse(PROGRAM.read_text(encoding="utf-8"))))
    assert "math_verify" in names
    assert not {name for name in names if name.split(".")[0] in ("r1", "r1_quantize")}

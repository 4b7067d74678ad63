"""The folders of the checkout, the tests' data and the built-in checkpoint, for tests in any folder."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
TINY = ROOT / "quantize" / "r1_quantize" / "store" / "tiny"

"""Where the checkout and the tests' data are, whatever folder a test is in."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
TINY = ROOT / "quantize" / "r1_quantize" / "store" / "tiny"

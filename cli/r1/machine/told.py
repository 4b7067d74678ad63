"""What a person has been told once and is not to be told again.

Knows: the file in R1_HOME that remembers it. Does not know: what it was about.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_FILE = "told"
_LONGEST = 100_000  # bytes; a file that is not ours is not read whole


def is_told(home: Path, what: str) -> bool:
    """Whether the person was told of `what`, one line that names it."""
    with suppress(OSError), (home / _FILE).open(encoding="utf-8", errors="replace") as known:
        return what in known.read(_LONGEST).splitlines()
    return False


def tell(home: Path, what: str) -> None:
    """Remembers it. Where nothing can be remembered, the person is told again: that costs a line."""
    with suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        with (home / _FILE).open("a", encoding="utf-8") as known:
            known.write(f"{what}\n")

"""Text → the clipboard of the person in front of the screen, over SSH too.

Knows: OSC 52, tmux, screen, and that some terminals know none of it. Does not know: what is copied.
"""

from __future__ import annotations

import subprocess
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress

_PATIENCE = 2.0  # seconds for another program to take the text


def copy(text: str, environ: Mapping[str, str], write: Callable[[str], None]) -> None:
    """Tries every way there is, for none of them says whether it worked; `write` sends an escape code to the terminal.

    The system's own clipboard only when the screen is this machine's: over SSH it is another one's.
    """
    if environ.get("TMUX"):
        _tell_tmux(text)
    write(_osc52(text, in_screen=environ.get("TERM", "").startswith("screen") and not environ.get("TMUX")))
    if not (environ.get("SSH_CONNECTION") or environ.get("SSH_TTY")):
        _tell_the_system(text)


def _osc52(text: str, *, in_screen: bool) -> str:
    """https://invisible-island.net/xterm/ctlseqs/ctlseqs.html, "Operating System Commands", 52."""
    code = f"\x1b]52;c;{b64encode(text.encode()).decode()}\x07"
    return f"\x1bP{code}\x1b\\" if in_screen else code


def _tell_tmux(text: str) -> None:
    """tmux takes no OSC 52 from programs unless told to, but hands its own buffers on (`-w`, since 3.2)."""
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            ["tmux", "load-buffer", "-w", "-"], input=text.encode(), timeout=_PATIENCE, capture_output=True, check=False
        )


def _tell_the_system(text: str) -> None:
    import pyperclip

    with suppress(pyperclip.PyperclipException, OSError, subprocess.SubprocessError):
        pyperclip.copy(text)

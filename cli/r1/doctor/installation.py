"""How r1 was installed, and so the command that compiles llama.cpp anew for it.

Knows: pip, pipx and uv. Does not know: which build is wanted.
"""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from r1.engine.build import BINDING, binding_version

Tool = Literal["pip", "pipx", "uv"]


@dataclass(frozen=True, slots=True)
class Installation:
    """`python` is the interpreter of r1's environment, which is called `name`; `version` is llama-cpp-python's."""

    tool: Tool
    python: str
    name: str
    version: str
    windows: bool = False

    def reinstall(self, flag: str) -> str:
        """The line that makes llama-cpp-python anew, with `flag` for CMake: `-DGGML_CUDA=on`.

        It is for the shell of the system: PowerShell on Windows, else one like sh.
        """
        package = f'"{BINDING}=={self.version}"' if self.version else BINDING
        anew = f"--force-reinstall --no-cache-dir {package}"
        command = {
            "pip": f"{self._program(self.python)} -m pip install {anew}",
            "pipx": f"pipx runpip {self.name} install {anew}",
            "uv": f"uv pip install --python {self._quoted(self.python)} "
            f"--reinstall-package {BINDING} --no-cache {package}",
        }[self.tool]
        return f'$env:CMAKE_ARGS="{flag}"; {command}' if self.windows else f'CMAKE_ARGS="{flag}" {command}'

    def _quoted(self, path: str) -> str:
        if self.windows:
            return f'"{path}"' if " " in path else path
        return shlex.quote(path)

    def _program(self, path: str) -> str:
        """PowerShell takes a quoted path for a text, unless it is told to run it."""
        return f"& {self._quoted(path)}" if self.windows and " " in path else self._quoted(path)


def installation(prefix: Path | None = None, python: str = sys.executable) -> Installation:
    """That of this process; `prefix` is the folder of its environment."""
    folder = prefix or Path(sys.prefix)
    return Installation(_tool(folder), python, folder.name, binding_version(), sys.platform == "win32")


def _tool(folder: Path) -> Tool:
    """pipx and uv leave a file in the environments that they made; one made by `uv venv` has no pip."""
    if (folder / "pipx_metadata.json").exists():
        return "pipx"
    if (folder / "uv-receipt.toml").exists():
        return "uv"
    has_pip = importlib.util.find_spec("pip") is not None
    return "pip" if has_pip or shutil.which("uv") is None else "uv"

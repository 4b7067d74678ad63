"""How r1 was installed (pip, pipx or uv), and the command that reinstalls llama.cpp with other build flags."""

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
    """`python` is the interpreter of r1's environment, `name` the environment's, `version` that of llama-cpp-python."""

    tool: Tool
    python: str
    name: str
    version: str
    windows: bool = False

    def reinstall(self, flag: str) -> str:
        """The command that compiles llama-cpp-python again with a flag for CMake, such as `-DGGML_CUDA=on`.

        For PowerShell on Windows, elsewhere for a POSIX shell.
        """
        package = f'"{BINDING}=={self.version}"' if self.version else BINDING
        forced = f"--force-reinstall --no-cache-dir {package}"
        command = {
            "pip": f"{self._program(self.python)} -m pip install {forced}",
            "pipx": f"pipx runpip {self.name} install {forced}",
            "uv": f"uv pip install --python {self._quoted(self.python)} "
            f"--reinstall-package {BINDING} --no-cache {package}",
        }[self.tool]
        return f'$env:CMAKE_ARGS="{flag}"; {command}' if self.windows else f'CMAKE_ARGS="{flag}" {command}'

    def _quoted(self, path: str) -> str:
        if self.windows:
            return f'"{path}"' if " " in path else path
        return shlex.quote(path)

    def _program(self, path: str) -> str:
        """PowerShell prints a quoted path unless the call operator `&` precedes it."""
        return f"& {self._quoted(path)}" if self.windows and " " in path else self._quoted(path)


def installation(prefix: Path | None = None, python: str = sys.executable) -> Installation:
    """The one that this process runs from; `prefix` is the folder of its environment."""
    folder = prefix or Path(sys.prefix)
    return Installation(
        tool=_tool(folder),
        python=python,
        name=folder.name,
        version=binding_version(),
        windows=sys.platform == "win32",
    )


def _tool(folder: Path) -> Tool:
    """pipx and uv leave a file in the environments that they create; one created by `uv venv` has no pip."""
    if (folder / "pipx_metadata.json").exists():
        return "pipx"
    if (folder / "uv-receipt.toml").exists():
        return "uv"
    has_pip = importlib.util.find_spec("pip") is not None
    return "pip" if has_pip or shutil.which("uv") is None else "uv"

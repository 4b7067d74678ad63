"""`r1.doctor.installation`: the command that compiles llama.cpp again, for every way of installing r1."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from r1.doctor.installation import Installation, Tool, installation
from tests.fakes.paths import ROOT

PAGE = ROOT / "docs" / "memory.md"


def line(tool: Tool, python: str = "/v/bin/python", *, windows: bool = False) -> str:
    installed = Installation(tool=tool, python=python, name="r1-local", version="0.3.36", windows=windows)
    return installed.reinstall("-DGGML_CUDA=on")


class TestReinstall:
    """A command that can be typed unchanged."""

    def test_with_pip_is_the_line_in_the_docs(self) -> None:
        in_docs = 'CMAKE_ARGS="-DGGML_CUDA=on" pip install --force-reinstall --no-cache-dir "llama-cpp-python==0.3.36"'
        assert in_docs in PAGE.read_text(encoding="utf-8")
        assert line("pip") == in_docs.replace(" pip ", " /v/bin/python -m pip ")

    def test_with_pipx_it_uses_runpip(self) -> None:
        words = shlex.split(line("pipx"))
        assert words[:4] == ["CMAKE_ARGS=-DGGML_CUDA=on", "pipx", "runpip", "r1-local"]
        assert words[4:] == ["install", "--force-reinstall", "--no-cache-dir", "llama-cpp-python==0.3.36"]

    def test_with_uv_it_names_the_interpreter(self) -> None:
        words = shlex.split(line("uv", "/home/me/uv tools/python"))
        assert words[1:6] == ["uv", "pip", "install", "--python", "/home/me/uv tools/python"]
        assert words[6:] == ["--reinstall-package", "llama-cpp-python", "--no-cache", "llama-cpp-python==0.3.36"]

    def test_on_windows_it_is_for_powershell(self) -> None:
        said = line("pip", r"C:\Program Files\r1\python.exe", windows=True)
        assert said.startswith(r'$env:CMAKE_ARGS="-DGGML_CUDA=on"; & "C:\Program Files\r1\python.exe" -m pip install ')

    def test_without_a_known_version_it_names_none(self) -> None:
        assert (
            Installation(tool="pip", python="p", name="v", version="").reinstall("-DX=on").endswith(" llama-cpp-python")
        )


class TestInstallation:
    """pipx and uv leave a file in the environments they create."""

    @pytest.mark.parametrize(
        ("file", "tool"), [("pipx_metadata.json", "pipx"), ("uv-receipt.toml", "uv"), ("pyvenv.cfg", "pip")]
    )
    def test_is_recognised_by_a_file_in_the_environment(self, tmp_path: Path, file: str, tool: str) -> None:
        prefix = tmp_path / "r1-local"
        prefix.mkdir()
        (prefix / file).touch()
        found = installation(prefix, "/p")
        assert (found.tool, found.name, found.python) == (tool, "r1-local", "/p")

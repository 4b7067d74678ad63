"""`r1.engine.build`: the features and versions of llama.cpp."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from r1.engine.build import binding_version, build, gcc_of, parse_system_info
from r1.engine.llama import llama

CUDA = (
    "CUDA : ARCHS = 500,610,700 | USE_GRAPHS = 1 | PEER_MAX_BATCH_SIZE = 128 | "
    "CPU : SSE3 = 1 | AVX2 = 1 | LLAMAFILE = 1 | OPENMP = 1 | "
)  # the names that ggml_backend_get_features returns in ggml-cuda and ggml-cpu


class TestSystemInfo:
    """One line with the features of each backend."""

    def test_is_split_by_backend(self) -> None:
        found = parse_system_info(CUDA)
        assert list(found) == ["CUDA", "CPU"]
        assert found["CUDA"]["ARCHS"] == "500,610,700"
        assert found["CPU"] == {"SSE3": "1", "AVX2": "1", "LLAMAFILE": "1", "OPENMP": "1"}

    def test_a_backend_may_have_no_features(self) -> None:
        assert parse_system_info("Metal : CPU : NEON = 1 | ") == {"Metal": {}, "CPU": {"NEON": "1"}}

    def test_invalid_text_has_no_backends(self) -> None:
        assert parse_system_info("") == parse_system_info(" | ||") == {}


class TestBuild:
    """The loaded library."""

    def test_has_the_cpu_backend_and_versions(self) -> None:
        found = build()
        assert "CPU" in found.backends
        assert int(found.commit, 16) > 0
        assert found.ggml.count(".") == 2

    def test_has_the_version_of_its_compiler(self) -> None:
        """As readelf finds it; None where the library was not compiled by GCC."""
        path = Path(llama()._lib._name)
        readelf = shutil.which("readelf")
        if readelf is None:
            pytest.skip("no readelf")
        said = subprocess.run([readelf, "-p", ".comment", path], capture_output=True, text=True, check=False).stdout
        version = re.search(r"GCC: \(.*\) (\d+)\.(\d+)", said)
        assert build().gcc == (version and (int(version[1]), int(version[2])))

    def test_the_binding_is_the_installed_one(self) -> None:
        assert binding_version() == version("llama-cpp-python")


class TestGccOf:
    """The compiler by the library's `.comment`."""

    @pytest.mark.parametrize(
        ("content", "version"),
        [
            (b"\0GCC: (Debian 12.2.0-14+deb12u1) 12.2.0\0", (12, 2)),
            (b"\0GCC: (GNU) 11.4.1 20231218 (Red Hat 11.4.1-3)\0", (11, 4)),
            (b"\0GCC: (Ubuntu 13.3.0-6ubuntu2~24.04) 13.3.0\0", (13, 3)),
            (b"\0GCC: (GNU) 12.2.0\0clang version 18.1.3\0", None),  # clang links GCC's start files
            (b"", None),
            (b"GCC: () x.y.z", None),
        ],
    )
    def test_is_found(self, tmp_path: Path, content: bytes, version: tuple[int, int] | None) -> None:
        (tmp_path / "lib.so").write_bytes(b"\x7fELF" + bytes(100) + content)
        assert gcc_of(tmp_path / "lib.so") == version

    def test_a_missing_file_has_none(self, tmp_path: Path) -> None:
        assert gcc_of(tmp_path / "lib.so") is None

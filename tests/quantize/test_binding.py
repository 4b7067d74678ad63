"""`r1_quantize.binding`: loads llama.cpp's library once, without its package."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

import r1_quantize
from r1_quantize.binding import binding, function
from r1_quantize.errors import R1Error

ROOT = Path(r1_quantize.__path__[0]).parent


def python(code: str, *flags: str, **environ: str) -> str:
    """The output of `code` in a new interpreter."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


class TestSchemaConverter:
    """`schema_converter()` is the module that turns a JSON Schema into a grammar."""

    def test_loads_neither_the_package_nor_the_library(self) -> None:
        code = (
            "import sys; from r1_quantize.binding import schema_converter; print(schema_converter().SchemaConverter);"
            "print([name for name in ('numpy', 'llama_cpp', 'llama_cpp.llama_cpp', 'requests') if name in sys.modules])"
        )
        assert python(code).splitlines() == ["<class 'r1_quantize._llama_grammar.SchemaConverter'>", "[]"]


class TestBinding:
    """`binding()` is the one instance of the low-level module."""

    def test_does_not_run_the_packages_init(self) -> None:
        code = (
            "import sys; from r1_quantize.binding import binding; binding();"
            "print([name for name in ('numpy', 'jinja2', 'llama_cpp', 'llama_cpp.llama') if name in sys.modules])"
        )
        assert python(code) == "[]"

    @pytest.mark.parametrize("order", ["binding(); import llama_cpp", "import llama_cpp"])
    def test_shares_its_module_with_the_real_package(self, order: str) -> None:
        code = (
            f"from r1_quantize.binding import binding; {order};"
            "print(llama_cpp.Llama.__name__, binding() is llama_cpp.llama_cpp)"
        )
        assert python(code).splitlines()[-1] == "Llama True"

    @pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
    def test_the_library_is_loaded_once(self) -> None:
        code = (
            "from r1_quantize.binding import binding, function; binding(); import llama_cpp;"
            "function('ggml_quantize_chunk', [], None);"
            "lines = [line.split() for line in open('/proc/self/maps') if 'libggml-base' in line];"
            "print(len({line[-1] for line in lines}))"
        )
        assert python(code).splitlines()[-1] == "1"

    def test_loads_on_android(self) -> None:
        """Termux's Python says "android" since 3.13. llama-cpp-python 0.3.36 takes that for an unsupported platform."""
        code = (
            "import sys, ctypes, importlib.util, typing_extensions; sys.platform = 'android';"
            "from r1_quantize.binding import binding;"
            "print(binding().llama_max_devices() > 0, sys.platform, 'llama_cpp' in sys.modules)"
        )
        assert python(code) == "True android False"

    def test_many_threads_get_the_same_module(self) -> None:
        code = (
            "from concurrent.futures import ThreadPoolExecutor; from r1_quantize.binding import binding\n"
            "with ThreadPoolExecutor(8) as pool:\n"
            "    print(len({id(module) for module in pool.map(lambda _: binding(), range(32))}))"
        )
        assert python(code) == "1"

    def test_reports_that_llama_cpp_python_is_not_installed(self) -> None:
        code = (
            "from r1_quantize.binding import binding\n"
            "try: binding()\n"
            "except Exception as exc: print(type(exc).__name__, exc)"
        )
        assert python(code, "-S").startswith("R1Error cannot load llama-cpp-python (it is not installed);")

    def test_reports_a_missing_library(self, tmp_path: Path) -> None:
        code = (
            "from r1_quantize.binding import binding\n"
            "try: binding()\n"
            "except Exception as exc: print(type(exc).__name__, exc)"
        )
        said = python(code, LLAMA_CPP_LIB_PATH=str(tmp_path))
        assert said.startswith("R1Error cannot load llama-cpp-python (Shared library")


class TestFunction:
    """`function` finds functions the binding leaves out, in the library already loaded."""

    def test_a_function_of_a_library_below_llama(self) -> None:
        assert function("ggml_type_name", [ctypes.c_int], ctypes.c_char_p)(8) == b"q8_0"

    def test_leaves_the_bindings_own_functions_alone(self) -> None:
        before = binding().llama_print_system_info.restype
        function("llama_print_system_info", [], ctypes.c_void_p)
        assert binding().llama_print_system_info.restype is before

    def test_names_a_function_that_is_not_exported(self) -> None:
        with pytest.raises(R1Error, match="lacks ggml_no_such_thing"):
            function("ggml_no_such_thing", [], None)

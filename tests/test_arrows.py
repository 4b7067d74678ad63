"""Which module may import which, and what the light commands must not import at all."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.chats import write_three_chats
from tests.fakes.paths import ROOT

SOURCES = sorted([*(ROOT / "cli" / "r1").rglob("*.py"), *(ROOT / "quantize" / "r1_quantize").rglob("*.py")])

FORBIDDEN = {
    "r1_quantize": ("r1", "typer", "rich", "prompt_toolkit"),
    "r1.machine": ("typer", "rich", "prompt_toolkit", "r1_quantize", "r1"),
    "r1.engine": ("typer", "rich", "prompt_toolkit", "starlette", "r1_quantize", "r1"),
    "r1.forms": ("typer", "rich", "prompt_toolkit", "r1.render", "r1.console", "r1.settings"),
    "r1.fit": ("typer", "rich", "prompt_toolkit", "r1.render", "r1.console"),
    "r1.history": ("typer", "rich", "prompt_toolkit", "r1.render", "r1.console"),
    "r1.render": ("typer", "prompt_toolkit", "r1.library", "r1.prompt_input", "r1.loaded_model", "r1.settings"),
    "r1.serve": ("typer", "rich", "prompt_toolkit", "pydantic", "r1.commands"),
    "r1.doctor": ("typer", "prompt_toolkit", "r1.settings"),
    "r1.markdown": ("typer", "prompt_toolkit", "r1.library", "r1.prompt_input", "r1.settings"),
    "r1.hints": ("typer", "rich", "prompt_toolkit", "r1.render", "r1.console"),
    "r1.commands": ("typer",),
}
"""What a wing must not import, beside the order of floors that tests/test_house.py holds."""

SHARED = (
    *("r1_quantize.errors", "r1_quantize.binding", "r1_quantize.control_tokens"),
    "r1_quantize.gguf.tensor_type",
)
"""The light modules that both source roots share. Of our own modules they import only each other."""

ALLOWED = {
    "r1.machine": ("r1.machine",),
    "r1.engine": ("r1.engine", "r1.machine", *SHARED),
}
"""The engine itself, the ground floor, and the modules that both source roots share."""

HEAVY = {
    *("llama_cpp", "huggingface_hub", "gguf", "numpy", "prompt_toolkit", "pylatexenc", "pyperclip", "starlette"),
    *("rich", "pygments", "markdown_it", "pydantic", "psutil", "ctypes", "_hashlib"),  # the last is OpenSSL
}
"""What --help, list and completion must not import: it would take longer than everything else they do."""


def module_name(path: Path) -> str:
    root = ROOT / "cli" if path.is_relative_to(ROOT / "cli") else ROOT / "quantize"
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere in the file, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this test can read them"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_the_sources_are_found() -> None:
    assert {"r1.app", "r1.engine.scheduler", "r1_quantize.pipeline"} <= set(map(module_name, SOURCES))


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_arrows_point_one_way(path: Path) -> None:
    for owner, forbidden in FORBIDDEN.items():
        if not is_within(module_name(path), owner):
            continue
        for imported in imports_of(path):
            if any(is_within(imported, allowed) for allowed in ALLOWED.get(owner, ())):
                continue
            assert not any(is_within(imported, package) for package in forbidden), f"{owner} imports {imported}"


def test_the_shared_modules_import_only_each_other() -> None:
    shared = [path for path in SOURCES if module_name(path) in SHARED]
    assert len(shared) == len(SHARED)
    ours = {name for path in shared for name in imports_of(path) if name.startswith(("r1.", "r1_quantize."))}
    assert {name for name in ours if not any(is_within(name, module) for module in SHARED)} == set()


def test_huggingface_hub_has_one_importer() -> None:
    importers = {
        module_name(path) for path in SOURCES if any(is_within(name, "huggingface_hub") for name in imports_of(path))
    }
    assert importers == {"r1_quantize.hub.hub"}


def modules_after(arguments: list[str], environ: dict[str, str]) -> tuple[set[str], str]:
    """The modules in memory when `r1 ARGUMENTS` has ended, and what it printed."""
    program = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(list(sys.modules)), file=sys.stderr))\n"
        f"sys.argv = {['r1', *arguments]!r}\n"
        "from r1.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=300, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1])), done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "--json"],
        ["show", "tiny"],
        ["run", "--help"],
        ["bench", "--help"],
        ["history", "--json"],
        ["--show-completion", "bash"],
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(arguments: list[str], environ: dict[str, str]) -> None:
    modules, printed = modules_after(arguments, environ)
    assert printed
    assert "r1.app" in modules
    assert not {module.partition(".")[0] for module in modules} & HEAVY


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("r1 pull qwen-1", ["qwen-1.5b", "qwen-14b"]),
        ("r1 run --model t", ["tiny:Q8_0"]),
        ("r1 quantize ti", ["tiny", "tiny:Q8_0"]),
        ("r1 run --device ", ["auto", "cpu", "gpu"]),
        ("r1 run --kv-type q8", ["q8_0"]),
        ("r1 chat --chat ", ["3", "2", "1"]),
        ("r1 ver", ["verify"]),
    ],
)
def test_completion_imports_nothing_heavy(
    tmp_path: Path, environ: dict[str, str], line: str, candidates: list[str]
) -> None:
    write_three_chats(tmp_path / "history.db")
    asked = {"R1_HOME": str(tmp_path), "_R1_COMPLETE": "zsh", "_R1_LINE": line}
    modules, printed = modules_after([], {**environ, **asked})
    assert [one.partition("\t")[0] for one in printed.splitlines()] == candidates
    assert not {module.partition(".")[0] for module in modules} & HEAVY


def test_answering_a_prompt_runs_no_package_init_of_the_binding_and_needs_no_numpy(environ: dict[str, str]) -> None:
    modules, printed = modules_after(["run", "-m", "tiny", "--no-stdin", "hi"], environ)
    assert printed
    assert "llama_cpp.llama_cpp" in modules
    assert not {"llama_cpp", "numpy", "huggingface_hub", "prompt_toolkit", "rich", "psutil", "pydantic"} & modules

"""The shape of the source: wings on floors, imports that only go down, no circle, names of modules that exist.

`python -m tests.test_house` prints the figures: files, lines, longest class, floors, longest import chain.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.fakes.paths import ROOT

FLOORS = (
    ("r1.__main__",),
    ("r1.app", "r1.preload"),
    ("r1.dispatch",),
    ("r1.commands", "r1.options", "r1.examples", "r1.help", "r1.exit", "r1.shells"),
    ("r1.chat", "r1.serve", "r1.jsonl", "r1.hints", "r1.conversion", "r1.completion"),
    ("r1.doctor", "r1.evaluate"),
    ("r1.render", "r1.history"),
    ("r1.markdown", "r1.loaded_model"),
    ("r1.fit", "r1.library", "r1.prompt_input", "r1.request_maker", "r1.forms", "r1.kv_store"),
    ("r1.settings", "r1.tuned", "r1.interrupt", "r1.console", "r1.prompt_limit"),
    ("r1.engine",),
    ("r1.machine", "r1"),
    ("r1_quantize.hub",),
    ("r1_quantize",),
)
"""The top floor first. A module belongs to the longest of these names that it begins with."""

MAX_CLASS_LINES = 250


@cache
def sources() -> dict[str, Path]:
    """Dotted name → file, of every module; a package stands for its `__init__`."""
    found = {}
    for root in (ROOT / "cli", ROOT / "quantize"):
        for path in sorted(root.rglob("*.py")):
            found[".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """Our own modules that `module` imports anywhere, also inside functions and for type checking."""
    tree = ast.parse(sources()[module].read_text(encoding="utf-8"))
    return frozenset(name for name in imported(tree) if name in sources() and name != module)


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that are imported anywhere in `tree`, and the packages of names that are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in sources() else node.module


def wing(module: str) -> str:
    """The name in FLOORS that `module` belongs to."""
    names = [name for floor in FLOORS for name in floor if f"{module}.".startswith(f"{name}.")]
    return max(names, key=len)


def floor(module: str) -> int:
    """Counted from the top."""
    return next(number for number, names in enumerate(FLOORS) if wing(module) in names)


def without_packages() -> dict[str, frozenset[str]]:
    return {
        module: frozenset(name for name in imports(module) if sources()[name].name != "__init__.py")
        for module in sources()
    }


@cache
def chain(module: str) -> tuple[str, ...]:
    """The longest way down from `module`, itself included."""
    below = (chain(name) for name in without_packages()[module])
    return (module, *max(below, key=len, default=()))


@cache
def height(name: str) -> int:
    """The floor of a wing, counted from the ground, if every wing stands as low as its imports allow."""
    below = {wing(name_below) for module in sources() if wing(module) == name for name_below in imports(module)}
    return 1 + max(map(height, below - {name}), default=0)


@pytest.mark.parametrize("module", sources())
def test_imports_go_down_or_stay_in_the_wing(module: str) -> None:
    for name in imports(module):
        assert wing(name) == wing(module) or floor(name) > floor(module), f"{module} imports {name}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    list(TopologicalSorter(without_packages()).static_order())  # raises CycleError, which names the circle


def test_no_two_packages_import_each_other() -> None:
    packages = {module for module, path in sources().items() if path.name == "__init__.py"} - {"r1", "r1_quantize"}
    arrows = {
        (module.rpartition(".")[0], name.rpartition(".")[0])
        for module in sources()
        for name in without_packages()[module]
    }
    both = {(a, b) for a, b in arrows if a < b and (b, a) in arrows and {a, b} <= packages}
    assert not both


def classes() -> Iterator[tuple[int, str, ast.ClassDef]]:
    for module, path in sources().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield (node.end_lineno or 0) - node.lineno + 1, f"{module}.{node.name}", node


def test_no_class_is_too_long_to_read() -> None:
    assert [(lines, name) for lines, name, _ in classes() if lines > MAX_CLASS_LINES] == []


def main() -> None:
    """Prints the figures."""
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in sources().items()}
    modules = [module for module, path in sources().items() if path.name != "__init__.py"]
    tests = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "tests").rglob("*.py")}
    longest = max((chain(module) for module in modules), key=len)
    print(f"{len(modules)} modules, {sum(lengths.values()):,} lines")
    print(f"{len(tests)} test files, {sum(tests.values()):,} lines")
    print("longest module:", *max((lengths[module], module) for module in modules))
    print("longest class:", *max((lines, name) for lines, name, _ in classes()))
    print(f"{height('r1.__main__')} floors; longest import chain of {len(longest)}:", " > ".join(longest))


if __name__ == "__main__":
    main()

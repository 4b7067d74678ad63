"""`scripts/phone/termux.txt` lists every package r1 needs in Termux, where pip installs with `--no-deps`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.fakes.paths import ROOT

TERMUX = {
    "sys_platform": "android",
    "platform_system": "Android",
    "platform_machine": "aarch64",
    "python_version": "3.14",
}
FROM_PKG = {"numpy", "psutil"}
OLDER: dict[str, list[str]] = {"jsonschema": ["attrs>=17.4.0", "pyrsistent>=0.14.0"], "pyrsistent": []}
"""What packages need that are older in Termux, or are not installed here, from their metadata."""
NEVER_LOADED = {"hf-xet", "jinja2", "diskcache", "requests"}


def listed() -> dict[str, Requirement]:
    lines = (ROOT / "scripts/phone/termux.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def needed(lines: list[str], extras: Iterable[str] = ()) -> dict[str, Requirement]:
    requirements = [Requirement(line) for line in lines]
    return {
        canonicalize_name(requirement.name): requirement
        for requirement in requirements
        if requirement.marker is None
        or any(requirement.marker.evaluate({**TERMUX, "extra": extra}) for extra in ("", *extras))
    }


def ours() -> dict[str, Requirement]:
    return needed(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])


def test_versions_are_those_of_the_project() -> None:
    wanted = {name: requirement.specifier for name, requirement in ours().items() if name not in FROM_PKG}
    found = listed()
    assert {name: found[name].specifier for name in wanted} == wanted


def test_nothing_is_missing() -> None:
    """Judged by the packages installed here."""
    seen, waiting = set[str](), ours()
    while waiting:
        name, requirement = waiting.popitem()
        seen.add(name)
        requirements = OLDER[name] if name in OLDER else metadata.requires(name) or []
        more = needed(requirements, requirement.extras)
        waiting |= {other: more[other] for other in more.keys() - seen - NEVER_LOADED}
    assert seen - FROM_PKG == set(listed())

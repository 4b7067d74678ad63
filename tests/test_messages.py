"""Every option that a message names exists on the command that prints it, and every slash command in the chat.

A command can print the messages of every module that it imports, directly or not, except those in `NEVER`.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import pytest
import typer

from r1.app import app
from r1.chat.slash_commands import COMMANDS
from tests.test_house import imported, imports, sources

ANY_COMMAND = ("r1.app", "r1.options", "r1.examples", "r1.help", "r1.completion", "r1.dispatch", "r1.exit")
"""Modules whose texts stand beside the commands that they are about: there, some command must have all the options."""

NOT_OURS = ("r1.shells", "r1.doctor.installation", "r1.machine.cores", "r1.machine.processor", "r1.machine.graphics")
"""Modules with the options of other programs."""

OPTION = re.compile(r"(?<![\w-])(?:--[a-z][a-z-]+|-[a-zA-Z])(?![\w-])")
OWN_COMMAND = re.compile(r"\br1 (history [a-z]+|[a-z]+)((?: (?!r1 )[^;,()`]*)?)")
FOREIGN = re.compile(r"(pip install|uv pip install|ulimit|jq)[^;,()`]*")
"""Other programs, and their options."""

IN_CHAT = tuple(name for name in sources() if name.startswith("r1.chat.") or name == "r1.commands.chat")
SLASH = re.compile(r"(?<![\w./<~])/([a-z]{2,})(?![\w./])")
ROOT_OPTIONS = frozenset({"--version", "-V", "--install-completion", "--show-completion"})

_QUANTIZING = ("pull", "quantize")
_GENERATING = ("run", "chat", "bench", "eval")
_DRAFTING = ("run", "chat", "eval", "serve")

PRINTED_BY: dict[str, tuple[str, ...]] = {
    # the options of a command's own arguments; others import the module for its other functions
    "r1.conversion": ("quantize",),
    "r1.prompt_input": ("run",),
    "r1_quantize.catalog": _QUANTIZING,
    "r1.library": ("quantize",),
    "r1_quantize.hub.pull_job": ("pull",),  # a repair does not ask whether the model is here already
    # quantizing: other commands make only the built-in model, or one as its manifest records it
    "r1_quantize.checkpoint.pretokenizer": _QUANTIZING,
    "r1_quantize.gguf_source": _QUANTIZING,
    "r1_quantize.imatrix": _QUANTIZING,
    "r1_quantize.recipe": _QUANTIZING,
    "r1_quantize.plan": _QUANTIZING,
    # running a model, on the devices that were asked for: other commands take all devices, and load none
    "r1.engine.devices": _GENERATING,
    "r1.engine.llama": _GENERATING,
    "r1.engine.context": _GENERATING,
    "r1.engine.model": _GENERATING,
    "r1.engine.draft_model": _DRAFTING,
    "r1.console": ("rm", "history delete"),
    "r1.evaluate.vote": ("run",),  # an evaluation counts votes, but holds none
}
"""The commands that print the messages of a module, where these are fewer than those that import it."""

OTHERWISE: dict[str, tuple[str, ...]] = {
    "already {}, and its lost precision": ("quantize",),  # a pull quantizes only what is not quantized
    "give the chats to delete, or --all": ("history delete",),
    " or pass --force to overwrite it": ("history export",),
    "with --draft MODEL": _DRAFTING,
    "without --draft it would fit": _DRAFTING,
    "leave --draft out": _DRAFTING,
    "one with --draft": _DRAFTING,
    "fewer prompts at once (--parallel)": ("run", "bench", "eval"),  # a chat has one sequence
}
"""The same for a single text, by a part of it."""


class Text(NamedTuple):
    """A text in the source; the values in it are `{}`."""

    module: str
    line: int
    text: str


def is_docstring(parent: ast.AST, node: ast.AST) -> bool:
    return isinstance(parent, ast.Expr) and parent.value is node


@cache
def texts() -> tuple[Text, ...]:
    """Every text in the source that is no docstring."""
    return tuple(text for module in sources() for text in _texts_of(module))


def _texts_of(module: str) -> Iterator[Text]:
    tree = ast.parse(sources()[module].read_text(encoding="utf-8"))
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for parent in ast.walk(tree):
        for node in ast.iter_child_nodes(parent):
            if id(node) in inner or is_docstring(parent, node):
                continue
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
                yield Text(module, node.lineno, "".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield Text(module, node.lineno, node.value)


@cache
def commands() -> dict[str, Any]:
    """Every command by name; those of a group with the group's name before it."""
    found: dict[str, Any] = {}
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        found[name] = command
        found |= {f"{name} {inner}": each for inner, each in getattr(command, "commands", {}).items()}
    return found


@cache
def options(command: str) -> frozenset[str]:
    """The options of a command, each spelling."""
    parameters = commands()[command].params
    found = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
    return frozenset({*found, "--help", "-h"})


@cache
def reachable(command: str) -> frozenset[str]:
    """The modules that a command imports, directly or not."""
    function = inspect.unwrap(commands()[command].callback)
    todo = [name for name in imported(ast.parse(inspect.getsource(function))) if name in sources()]
    found = {"r1.app"}
    while todo:
        if (module := todo.pop()) not in found:
            found.add(module)
            todo += imports(module)
    return frozenset(found)


@cache
def named(text: str) -> frozenset[tuple[str | None, str]]:
    """The options in a text, each with the command of ours that stands before it, or None: the one that prints it."""
    text = FOREIGN.sub("", text)
    found: set[tuple[str | None, str]] = set()
    for match in OWN_COMMAND.finditer(text):
        if match[1] in commands():
            found |= {(match[1], option) for option in OPTION.findall(match[2])}
            text = text.replace(match[0], "", 1)
    return frozenset({*found, *((None, option) for option in OPTION.findall(text))})


def printed_by(text: Text) -> list[str]:
    """The commands that can print a text."""
    exception = next((commands for part, commands in OTHERWISE.items() if part in text.text), None)
    chosen = exception or PRINTED_BY.get(text.module)
    return [name for name in commands() if text.module in reachable(name) and (chosen is None or name in chosen)]


def messages() -> list[Text]:
    """The texts in our words that name options of ours."""
    found = (text for text in texts() if " " in text.text and text.module not in NOT_OURS)
    return [text for text in found if named(text.text)]


def test_a_command_has_the_options_that_its_messages_name() -> None:
    missing = [
        f"{text.module}:{text.line}: {command} has no {option}"
        for text in messages()
        if text.module not in ANY_COMMAND
        for own, option in named(text.text)
        if own is not None or text.module not in IN_CHAT  # there, it may be an argument of a slash command
        for command in (printed_by(text) if own is None else [own])
        if option not in options(command)
    ]
    assert missing == []


def test_the_texts_of_the_command_line_name_options_that_some_command_has() -> None:
    every = [options(command) for command in commands()] + [ROOT_OPTIONS]
    missing = [
        f"{text.module}:{text.line}: {wanted}"
        for text in messages()
        if text.module in ANY_COMMAND
        for wanted in [{option for own, option in named(text.text) if own is None}]
        if not any(wanted <= (has | ROOT_OPTIONS) for has in every)
    ]
    assert missing == []


def test_every_message_is_printed_by_some_command() -> None:
    """Otherwise the tables here are out of date."""
    assert [text for text in messages() if text.module not in (*ANY_COMMAND, *IN_CHAT) and not printed_by(text)] == []
    modules = {text.module for text in messages()}
    assert PRINTED_BY.keys() <= modules
    assert [part for part in OTHERWISE if not any(part in text.text for text in messages())] == []


def test_a_slash_command_that_a_text_names_exists() -> None:
    wanted = {(text.module, name) for text in texts() for name in SLASH.findall(text.text) if text.module in IN_CHAT}
    assert wanted
    assert [(module, name) for module, name in sorted(wanted) if COMMANDS.get(name) is None] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pass --imatrix FILE, or choose Q4_K", {(None, "--imatrix")}),
        ("r1 quantize SOURCE --list-types shows all", {("quantize", "--list-types")}),
        ("{}; choose another with -m; `r1 list` shows them", {(None, "-m")}),
        ("give them, or --all: r1 history delete ID --yes", {(None, "--all"), ("history delete", "--yes")}),
        ("make it again: r1 quantize PATH -t {} --force", {("quantize", "-t"), ("quantize", "--force")}),
        ("reinstall it: pip install --force-reinstall x", set()),
        ("a well-known e-mail -- and a 2-3 range, model-v1", set()),
    ],
)
def test_options_are_found_in_a_text(text: str, found: set[tuple[str | None, str]]) -> None:
    assert named(text) == found

"""`--help` as plain text in sections. Typer's own uses Rich, which takes longer to import than all of `r1 --help`."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from typer import TyperException
from typer.core import TyperCommand, TyperGroup

_MAX_COLUMNS = 100
_TWO_COLUMNS_FROM = 60  # columns; on narrower terminals, descriptions go below their terms
_MAX_TERM = 24  # columns; a description goes below a longer term

_VALUES = {"path": "FILE", "str": "TEXT"}
"""What a value is called in the help, by its type, where an option does not say."""

_OTHER_NAMES: dict[tuple[str | None, str], str] = {
    ("eval", "--votes"): "-k K is the number of samples, and of votes, of each problem"
}
"""What another command's option is called here, by command and option."""

Row = tuple[str, str]
"""A term and its description."""


class _ShortHelp:
    """The first sentence of the help, which shells show beside a command; Typer's own ends after 45 characters."""

    help: str | None

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002 — Typer's parameter
        return _first_sentence(self.help or "")


SIMILAR = 0.66  # difflib's ratio from which an option, or a command, is taken for a misspelt one


def similar_option(given: str, options: Iterable[str]) -> str | None:
    """The option that may be meant. The dashes, which all have, do not make two of them alike."""
    from difflib import get_close_matches  # only after a mistake

    names = {option.lstrip("-"): option for option in options if option.startswith("--")}
    return next((names[name] for name in get_close_matches(given.lstrip("-"), names, n=1, cutoff=SIMILAR)), None)


class Command(_ShortHelp, TyperCommand):
    """A command whose help is plain text."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except TyperException as exc:
            given = getattr(exc, "option_name", None)
            if given and hasattr(exc, "possibilities"):  # Typer's have all that are a little like it
                similar = similar_option(given, (name for param in self.get_params(ctx) for name in param.opts))
                exc.possibilities = [similar] if similar else []
                if (self.name, given) in _OTHER_NAMES:
                    exc.possibilities = []
                    exc.message += f"; {_OTHER_NAMES[self.name, given]}"
            raise

    def get_help(self, ctx: Any) -> str:
        return _help(self, ctx, _options(self, ctx))


class Group(_ShortHelp, TyperGroup):
    """A group of commands whose help is plain text. Its own options may also stand before a command's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = next((index for index, arg in enumerate(args) if not arg.startswith("-")), len(args))
        command = self.commands.get(args[at]) if args[at:] else None
        if command is not None and {*args[:at]} <= {name for param in command.params for name in param.opts}:
            args = [args[at], *args[:at], *args[at + 1 :]]  # `history --json list` means `history list --json`
        return super().parse_args(ctx, args)

    def get_help(self, ctx: Any) -> str:
        commands = [(name, command.get_short_help_str()) for name, command in self.commands.items()]
        return _help(self, ctx, _options(self, ctx) | {"Commands": commands})


def _help(command: TyperCommand | TyperGroup, ctx: Any, sections: dict[str, list[Row]]) -> str:
    columns = min(shutil.get_terminal_size().columns, _MAX_COLUMNS)
    arguments = (piece.strip("{}") for piece in command.collect_usage_pieces(ctx))  # {ID}: required
    blocks = [
        _wrap(" ".join(["Usage:", ctx.command_path, *arguments]), columns, indent=6),
        _wrap(command.help or "", columns),
        *(_section(title, rows, columns) for title, rows in sections.items() if rows),
        "\n".join(_epilog(command.epilog or "", columns)),
    ]
    return "\n\n".join(filter(None, blocks))


def _options(command: TyperCommand | TyperGroup, ctx: Any) -> dict[str, list[Row]]:
    """Title → rows: arguments, options without a panel, then a section for each panel."""
    sections: dict[str, list[Row]] = {"Arguments": [], "Options": []}
    for param in command.get_params(ctx):
        default = "Arguments" if param.param_type_name == "argument" else "Options"
        title = getattr(param, "rich_help_panel", None) or default
        sections.setdefault(title, []).append((_term(param), getattr(param, "help", None) or ""))
    return sections


def _term(param: Any) -> str:
    """`-m, --model MODEL`. Typer's own would be `-m, --model <str>`, and it adds `[required]` to the description."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    names = ", ".join(sorted(param.opts, key=lambda name: len(name) - len(name.lstrip("-"))))
    if param.is_flag:
        return names
    choices = getattr(param.type, "choices", ())
    return f"{names} {param.metavar or '|'.join(choices) or _VALUES[param.type.name]}"


def _section(title: str, rows: list[Row], columns: int) -> str:
    terms = [len(term) for term, _ in rows if len(term) <= _MAX_TERM]
    indent = 2 + max(terms, default=2) + 2 if columns >= _TWO_COLUMNS_FROM else 6
    return "\n".join([f"{title}:", *(line for row in rows for line in _row(row, indent, columns))])


def _row(row: Row, indent: int, columns: int) -> Iterator[str]:
    term, description = row
    lines = _wrap(description, max(columns - indent, 10)).splitlines()
    if lines and 2 + len(term) + 2 <= indent and columns >= _TWO_COLUMNS_FROM:
        yield f"  {term:<{indent - 2}}{lines.pop(0)}"
    else:
        yield f"  {term}"
    yield from (" " * indent + line for line in lines)


def _epilog(text: str, columns: int) -> Iterable[str]:
    """Wraps paragraphs, but not indented lines, which are commands to copy."""
    for line in text.splitlines():
        yield line if line.startswith(" ") else _wrap(line, columns)


def _wrap(text: str, columns: int, indent: int = 0) -> str:
    """`indent`: columns before the second and later lines."""
    return textwrap.fill(" ".join(text.split()), columns, break_on_hyphens=False, subsequent_indent=" " * indent)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0].rstrip(".")

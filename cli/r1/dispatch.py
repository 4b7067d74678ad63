"""The command that a line without one means: `r1 "question"` is `r1 run "question"`, and `r1` alone is `r1 chat`.

The options of `run` and `chat` are taken without a command, too. Options before a command's name move behind it.
"""

from __future__ import annotations

import copy
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import typer

from r1 import shells
from r1.console import Console
from r1.help import SIMILAR, Command, Group, similar_option
from r1_quantize.errors import ModelNotFound, UsageError

_MEANT = {
    **dict.fromkeys(("ls", "ps", "models", "tags"), "list"),
    **dict.fromkeys(("delete", "remove", "del", "uninstall"), "rm"),
    **dict.fromkeys(("download", "install", "get", "fetch", "add"), "pull"),
    **dict.fromkeys(("update", "upgrade"), "pull --update"),
    **dict.fromkeys(("info", "inspect", "describe"), "show"),
    **dict.fromkeys(("check", "repair"), "verify"),
    **dict.fromkeys(("ask", "generate", "prompt", "complete"), "run"),
    **dict.fromkeys(("talk", "start", "interactive", "repl"), "chat"),
    **dict.fromkeys(("continue", "resume"), "chat --continue"),
    **dict.fromkeys(("convert", "quant"), "quantize"),
    **dict.fromkeys(("benchmark", "perf", "speed"), "bench"),
    **dict.fromkeys(("chats", "session", "sessions", "logs"), "history"),
    **dict.fromkeys(("server", "api", "listen"), "serve"),
    **dict.fromkeys(("evaluate", "evaluation", "score", "grade"), "eval"),
    **{name: f"history {name}" for name in ("search", "export")},
    "version": "--version",
    "help": "--help",
}
"""What other programs call our commands."""

_MISSING = {"stop", "create", "cp", "push", "signin", "launch"}
"""Commands of Ollama that r1 has no counterpart of."""

_SHOWN = 40  # characters of a word in a message

_DASH_NOTE = "a prompt that begins with a dash goes after `--`"
_NAME_NOTE = "a prompt that begins with a command's name goes after `--`"
_CHAT_NOTE = "a prompt is for `r1 run`"
_NO_FIRST_WORDS = {"serve", "history"}  # commands whose names few prompts begin with
_NAME = re.compile(r"[\w.:/\\~+-]+", re.ASCII)  # of a model, or its path


@dataclass(slots=True)
class _Line:
    """A command line in its parts. `words` are what is neither an option nor an option's value.

    `rest_at` is the position of the first word, or of the `--` before it: then the words `are_literal`, and none of
    them is a command. `options` are the names of all options as given, and `leading` the positions of those before the
    first word. `attached` are short options with text in the same argument, such as `-fnotes.txt`.
    """

    words: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    leading: dict[str, int] = field(default_factory=dict)
    attached: list[str] = field(default_factory=list)
    rest_at: int | None = None
    are_literal: bool = False
    lacks_value: str | None = None  # the last option, if it takes a value and has none


def app_for(app: typer.Typer, arguments: Sequence[str]) -> typer.Typer:
    """The app without the commands that a line does not need, if it begins with a command's name.

    Typer builds every command of an app, with all options, before it looks at the line: that takes a fiftieth of a
    second.
    """
    first = "".join(arguments[:1])
    commands = [
        each for each in app.registered_commands if first == (each.name or getattr(each.callback, "__name__", ""))
    ]
    groups = [each for each in app.registered_groups if each.name == first]
    if not (commands or groups):
        return app
    only = copy.copy(app)
    only.registered_commands, only.registered_groups = commands, groups
    return only


class RootGroup(Group):
    """`r1` itself. Where the command is left out, it is `run` for a prompt or a pipe, and else `chat`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = self._with_command(ctx, args)
        return super().parse_args(ctx, args if ctx.resilient_parsing else shells.with_shell(args))

    def _main_shell_completion(self, *_: Any, **__: Any) -> None:
        """Answers the script of a shell, and ends; Typer's own answer is for other scripts."""
        if shells.REQUEST in os.environ:
            shells.print_answer(self)
            sys.exit(0)

    def _with_command(self, ctx: Any, args: list[str]) -> list[str]:
        """`args`, beginning with a command's name, or with an option of `r1` itself such as `--help`.

        Raises UsageError for a line that is not clear. Shell completion gets nothing for a line that needs no name yet.
        """
        if args and args[0] in self.commands:
            return args
        own = {name for param in self.get_params(ctx) for name in param.opts}
        line = _read(args, {**_takes_value(self.commands["run"]), **_takes_value(self.commands["chat"])})
        at = min((at for name, at in line.leading.items() if name in own), default=None)
        if at is not None:
            return args[at:]
        if line.words and not line.are_literal and line.words[0] in self.commands:
            return self._with_options_moved(args, line.rest_at or 0)
        if ctx.resilient_parsing:
            return [self._command_to_complete(line), *args] if line.words or line.lacks_value else []
        self._check(line, own)
        return [self._command_for(line), *args]

    def _with_options_moved(self, args: list[str], at: int) -> list[str]:
        """The command and its subcommand first, then the options that were before it."""
        subcommands: Mapping[str, Any] = getattr(self.commands[args[at]], "commands", {})
        end = at + 1 + (args[at + 1 : at + 2] != [] and args[at + 1] in subcommands)
        return [*args[at:end], *args[:at], *args[end:]]

    def _command_to_complete(self, line: _Line) -> str:
        return "run" if line.words or line.lacks_value in _takes_value(self.commands["run"]) else "chat"

    def _check(self, line: _Line, own: set[str]) -> None:
        """Raises UsageError for an unknown option, and for words that are meant as a command."""
        known = [*own, *_takes_value(self.commands["run"]), *_takes_value(self.commands["chat"])]
        unknown = next((name for name in line.leading if name not in known), None)
        if unknown is not None:
            similar = similar_option(unknown, known)
            advice = f"did you mean {similar}?" if similar else f"{_DASH_NOTE};"
            raise UsageError(f"no such option: {unknown}; {advice} see r1 --help")
        _require_no_attached_text(line.attached, "r1 --help")
        if line.words and not line.are_literal and self._only_run_has().isdisjoint(line.options):
            _require_no_command(line.words, self.commands)

    def _only_run_has(self) -> set[str]:
        """The options that no other command has, such as --file: what stands beside them is a prompt."""
        others = (_takes_value(command) for name, command in self.commands.items() if name != "run")
        return _takes_value(self.commands["run"]).keys() - set().union(*others)

    def _command_for(self, line: _Line) -> str:
        """`run` for a prompt, for options that only `run` has, and for a pipe; else `chat`."""
        run, chat = (_takes_value(self.commands[name]) for name in ("run", "chat"))
        only_run = next((name for name in line.options if name in run and name not in chat), None)
        only_chat = next((name for name in line.options if name in chat and name not in run), None)
        if only_chat and (line.words or only_run):
            other = f"{only_run} of `r1 run`" if only_run else "a prompt is for `r1 run`"
            raise UsageError(f"{only_chat} is an option of `r1 chat`, and {other}; leave one of them out")
        if line.words or only_run:
            return "run"
        return "chat" if only_chat or Console.of_process().stdin_is_terminal else "run"

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Commands and the options of `r1` itself, and the options that are taken without a command."""
        items = super().shell_complete(ctx, incomplete)
        for command in (self.commands["run"], self.commands["chat"]):
            with command.make_context(command.name, [], parent=ctx, resilient_parsing=True) as inner:
                items += command.shell_complete(inner, incomplete)
        return list({item.value: item for item in items}.values())

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.TyperException as exc:
            of_command = getattr(exc, "ctx", None)
            is_direct = of_command and of_command.parent is ctx and _may_be_a_prompt(exc.message)
            if of_command and is_direct and of_command.info_name not in _NO_FIRST_WORDS:
                note = _CHAT_NOTE if of_command.info_name == "chat" else _NAME_NOTE
                exc.message = f"{exc.message.rstrip('.')}; {note}"
            raise


def _may_be_a_prompt(message: str) -> bool:
    """Whether Typer's message can be about `r1 list all primes`."""
    is_surplus = message.startswith(("Got unexpected extra argument", "No such command"))
    return is_surplus and "Did you mean" not in message


class PromptCommand(Command):
    """A command whose words are a prompt. It may begin with a dash by mistake: `r1 run "-5 + 3"`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            _require_no_attached_text(_read(args, _takes_value(self)).attached, f"{ctx.command_path} --help")
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as exc:
            if getattr(exc, "possibilities", True) in ([], None):  # no option has a similar name
                exc.message += f"; {_DASH_NOTE}"
            raise


def require_no_prompt(model: str | None) -> None:
    """Raises ModelNotFound where a prompt was given in the place of a model: `r1 chat "What is 2+2?"`."""
    if model is None or _NAME.fullmatch(model) or os.path.exists(model):  # noqa: PTH110 — too long for a Path
        return
    if len(model.split()) > 1 or not ("/" in model or model.endswith(".gguf")):
        raise ModelNotFound(
            f"no model is called {_brief([model])}; to ask one question: {_brief(['r1', 'run', model])}"
        )


def note_model_name(console: Console, words: Sequence[str]) -> None:
    """Notes that the first word of a prompt is a model's name, for people who know Ollama's `run MODEL PROMPT`."""
    from r1.library import named_by

    if not (words and console.stderr_is_terminal):
        return
    model = named_by(console.environ, words[0])
    if model is not None:
        command = _brief(["r1", "run", "-m", model, *words[1:]] if words[1:] else ["r1", "chat", model])
        console.note(f"{words[0]} was taken as part of the prompt; to choose this model: {command}")


def _takes_value(command: Any) -> dict[str, bool]:
    """The names of the command's options, and whether each takes a value."""
    options = (param for param in command.params if param.param_type_name == "option")
    return {name: not param.is_flag for param in options for name in (*param.opts, *param.secondary_opts)}


def _read(args: Sequence[str], takes_value: Mapping[str, bool]) -> _Line:
    """The parts of a command line; an option that is not in `takes_value` is read as one without a value."""
    line = _Line()
    at = 0
    while at < len(args) and args[at] != "--":
        arg, start = args[at], at
        at += 1
        if not arg.startswith("-") or arg == "-":
            line.rest_at = start if line.rest_at is None else line.rest_at
            line.words.append(arg)
            continue
        names, value = _option_names(arg, takes_value)
        line.options += names
        if line.rest_at is None:
            line.leading |= dict.fromkeys(names, start)
        if value and not arg.startswith("--"):
            line.attached.append(arg)
        if value is None and takes_value.get(names[-1]):
            line.lacks_value = names[-1] if at == len(args) else None
            at += 1
    line.are_literal = line.rest_at is None
    line.rest_at = at if line.rest_at is None else line.rest_at
    line.words += args[at + 1 :]
    return line


def _option_names(arg: str, takes_value: Mapping[str, bool]) -> tuple[list[str], str | None]:
    """`--temp=0` → --temp and "0"; `-qfx` → -q, -f and "x". The names end with the first one that is not known."""
    if arg.startswith("--"):
        name, equals, value = arg.partition("=")
        return [name], value if equals else None
    names: list[str] = []
    for index, letter in enumerate(arg[1:], start=2):
        names.append(f"-{letter}")
        if takes_value.get(names[-1], True):
            return names, arg[index:] or None
    return names, None


def _require_no_attached_text(attached: Sequence[str], help_command: str) -> None:
    """Raises UsageError for `-make a list`, which would be the option -m and its value."""
    for arg in attached:
        if len(arg.split()) > 1 and not os.path.exists(arg[2:]):  # noqa: PTH110 — a Path cannot hold every text
            raise UsageError(f"no such option: {arg.split()[0]}; {_DASH_NOTE}; see {help_command}")


def _require_no_command(words: Sequence[str], commands: Mapping[str, Any]) -> None:
    """Raises UsageError where the first word is meant as a command: alone, or before what looks like its argument."""
    word, *others = words
    name = word.lower()
    similar = get_close_matches(name, commands, n=1, cutoff=SIMILAR)
    meant = _MEANT.get(name) or (similar[0] if similar and name not in _MISSING else None)
    if not (meant or name in _MISSING) or (others and not _is_argument(others[0], commands)):
        return
    advice = f"did you mean `{_command(meant, others)}`?" if meant else "`r1 --help` lists the commands;"
    raise UsageError(f"no such command {word!r}; {advice} to ask the model: {_brief(['r1', 'run', *words])}")


def _command(meant: str, others: Sequence[str]) -> str:
    return _brief(["r1", *([*others, meant] if meant.startswith("--") else [*meant.split(), *others])])


def _is_argument(word: str, commands: Mapping[str, Any]) -> bool:
    """Whether `word` is rather an argument of a command than the second word of a prompt."""
    from r1.library import named_by

    subcommands = getattr(commands["history"], "commands", {})
    return len(word.split()) > 1 or word in commands or word in subcommands or named_by(os.environ, word) is not None


def _brief(words: Sequence[str]) -> str:
    """Words as a shell takes them, on one line; of a long word only the beginning."""
    lines = (" ".join(word.split()) for word in words)
    return shlex.join(line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…" for line in lines)

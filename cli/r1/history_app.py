"""`r1 history` on the command line, a part of `r1.app`.

Knows: the command line. Does not know: how anything is done; a command's module is imported when it is called.
"""

from __future__ import annotations

import typer

from r1 import examples, options
from r1.console import Console

history_app = typer.Typer(no_args_is_help=False, rich_markup_mode="rich")


@history_app.callback(invoke_without_command=True, epilog=examples.HISTORY)
def _history(context: typer.Context, as_json: options.AsJson = False) -> int:
    """The chats that were had: listed, searched, shown, exported, deleted."""
    return list_(as_json) if context.invoked_subcommand is None else 0


@history_app.command("list", epilog=examples.HISTORY_LIST)
def list_(as_json: options.AsJson = False) -> int:
    """The chats, newest first."""
    from r1.commands.history import list_chats

    return list_chats(Console.of_process(), as_json=as_json)


@history_app.command(epilog=examples.HISTORY_SEARCH)
def search(words: options.Words, as_json: options.AsJson = False) -> int:
    """Find words in questions, answers, thinking, attached files and titles."""
    from r1.commands.history import search

    return search(Console.of_process(), words, as_json=as_json)


@history_app.command(epilog=examples.HISTORY_SHOW)
def show(chat: options.Chat, thinking: options.WithThinking = False, as_json: options.AsJson = False) -> int:
    """Print a chat as plain text."""
    from r1.commands.history import show

    return show(Console.of_process(), chat, thinking=thinking, as_json=as_json)


@history_app.command(epilog=examples.HISTORY_EXPORT)
def export(
    chat: options.Chat, file: options.ExportTo, thinking: options.WithThinking = False, force: options.Force = False
) -> int:
    """Write a chat to a Markdown or a JSON file."""
    from r1.commands.history import export

    return export(Console.of_process(), chat, file, thinking=thinking, force=force)


@history_app.command(epilog=examples.HISTORY_DELETE)
def delete(chats: options.Chats = None, everything: options.All = False, yes: options.Yes = False) -> int:
    """Delete chats for good: their words are wiped from the file."""
    from r1.commands.history import delete

    return delete(Console.of_process(), chats or (), everything=everything, yes=yes)

"""Shell completion: a script for each shell, and the program's answers to these scripts.

A script calls `r1` with two variables: `_R1_COMPLETE`, the shell's name, and `_R1_LINE`, the command line up to the
cursor. The answer is one line for each candidate: the value, and after a tab its description. Where a file is expected
it is a tab and "files", and the shell completes names of files. The scripts evaluate nothing that `r1` prints: a chat's
title may be any text.

Typer's own scripts cannot complete NAME:QUANT in bash, where a colon ends a word, nor names of files, and evaluate
descriptions in zsh.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from r1.completion import FILES
from r1.console import Console, printable
from r1_quantize.errors import UNUSABLE_PATH, R1Error, UsageError
from r1_quantize.files import expanded

REQUEST, _LINE, _BREAKS = "_R1_COMPLETE", "_R1_LINE", "_R1_BREAKS"
_MAX_DESCRIPTION = 60  # characters

_BASH = """_r1_completion() {
    COMPREPLY=()
    [[ ${COMP_WORDS[COMP_CWORD-1]} == *[\\<\\>] ]] && return  # a redirection
    local candidate
    while IFS= read -r candidate; do
        [[ $candidate == $'\\tfiles' ]] && return
        COMPREPLY+=("$candidate")
    done < <(_R1_COMPLETE=bash _R1_BREAKS="$COMP_WORDBREAKS" _R1_LINE="${COMP_LINE:0:COMP_POINT}" "$1" 2>/dev/null)
    compopt +o default 2>/dev/null  # no names of files; bash 3 does not have it
}
complete -o default -F _r1_completion r1
"""

_ZSH = """#compdef r1
_r1() {
    local line value
    local -a candidates
    for line in "${(@f)$(_R1_COMPLETE=zsh _R1_LINE="${words[1,CURRENT-1]} $PREFIX" r1 2>/dev/null)}"; do
        if [[ $line == $'\\tfiles' ]]; then
            compset -P '--*='
            _files
            return
        fi
        [[ -n $line ]] || continue
        value=${${line%%$'\\t'*}//:/\\\\:}
        if [[ $line == *$'\\t'* ]]; then
            candidates+=("$value:${line#*$'\\t'}")
        else
            candidates+=("$value")
        fi
    done
    _describe -V r1 candidates
}
if [[ $funcstack[1] == _r1 ]]; then
    _r1 "$@"
else
    compdef _r1 r1
fi
"""

_FISH = """function __r1_complete
    set -lx _R1_COMPLETE fish
    set -lx _R1_LINE (commandline -cp | string collect)
    for candidate in (r1 2>/dev/null)
        if test "$candidate" = \\tfiles
            __fish_complete_path (commandline -ct)
        else
            printf '%s\\n' $candidate
        end
    end
end
complete --command r1 --no-files --keep-order --arguments '(__r1_complete)'
"""

_POWERSHELL = """Register-ArgumentCompleter -Native -CommandName r1 -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $line = $commandAst.ToString()
    $end = [Math]::Min($line.Length, $cursorPosition - $commandAst.Extent.StartOffset)
    $env:_R1_LINE = $line.Substring(0, $end) + $(if ($wordToComplete) { "" } else { " " })
    $env:_R1_COMPLETE = "powershell"
    try {
        $lines = @(r1 2>$null)
        if (-not $lines) { "" }  # PowerShell completes names of files only where it gets nothing
        $lines | Where-Object { $_ -and $_ -ne "`tfiles" } | ForEach-Object {
            $value, $text = $_ -split "`t", 2
            if (-not $text) { $text = $value }
            [System.Management.Automation.CompletionResult]::new($value, $value, "ParameterValue", $text)
        }
    } finally {
        Remove-Item Env:_R1_LINE, Env:_R1_COMPLETE
    }
}
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH, "powershell": _POWERSHELL, "pwsh": _POWERSHELL}
NAMES = ("bash", "zsh", "fish", "powershell")


def script(shell: str) -> str:
    """The script for `shell`, or for the present shell if that is empty. Raises UsageError for an unknown one."""
    name = shell.lower() or _present()
    if name not in _SCRIPTS:
        of = f"of {name!r} " if name else ""
        raise UsageError(f"the completion {of}is not known; name a shell: {', '.join(NAMES)}")
    return _SCRIPTS[name]


def install(shell: str, environ: Mapping[str, str]) -> Path:
    """Writes the script to the place where the shell, or its start-up file, finds it. Returns the script's path.

    Raises UsageError for an unknown shell and for a file that cannot be written, R1Error when the disk fails.
    """
    name, text = shell.lower() or _present(), script(shell)
    try:
        file = _places(name, environ)
        file.parent.mkdir(parents=True, exist_ok=True)
        if name in {"powershell", "pwsh"}:
            _append(file, text)
            return file
        file.write_text(text, encoding="utf-8", newline="\n")
        if name == "bash":
            _append(expanded("~/.bashrc"), f"source {shlex.quote(str(file))}\n")
        elif name == "zsh":
            folder = environ.get("ZDOTDIR") or "~"
            _append(expanded(f"{folder}/.zshrc"), "fpath+=~/.zfunc; autoload -Uz compinit; compinit\n")
    except OSError as exc:
        error = UsageError if exc.errno in UNUSABLE_PATH else R1Error
        raise error(f"{exc.filename or name}: {exc.strerror}; r1 --show-completion {name} prints the script") from exc
    return file


def _places(shell: str, environ: Mapping[str, str]) -> Path:
    match shell:
        case "bash":
            return _below_home("~/.bash_completions/r1.sh")
        case "zsh":
            return _below_home("~/.zfunc/_r1")
        case "fish":
            return _below_home(f"{environ.get('XDG_CONFIG_HOME') or '~/.config'}/fish/completions/r1.fish")
    program = shell if shutil.which(shell) else "pwsh"  # the name of PowerShell outside Windows
    command = [program, "-NoProfile", "-Command", "echo $profile"]
    profile = subprocess.run(command, capture_output=True, check=False)
    return Path(profile.stdout.decode("utf-8", "replace").strip())


def _below_home(path: str) -> Path:
    file = expanded(path)
    if not file.is_absolute():
        raise UsageError("this user has no home folder; r1 --show-completion prints the script")
    return file


def _append(file: Path, text: str) -> None:
    """Adds `text` unless the file has it."""
    before = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    if text not in before:
        gap = "" if not before or before.endswith("\n") else "\n"
        with file.open("a", encoding="utf-8", newline="\n") as opened:
            opened.write(gap + text)


def _present() -> str:
    """The shell that started this program; empty if that cannot be found out."""
    from typer._completion_shared import _get_shell_name

    return _get_shell_name() or Path(os.environ.get("SHELL", "")).name


def names(incomplete: str) -> list[str]:
    """The names of shells, for completion."""
    return [name for name in NAMES if name.startswith(incomplete)]


def with_shell(args: Sequence[str]) -> list[str]:
    """`args` with an empty value after an option that takes the name of a shell, if it has none."""
    complete = list(args)
    for name in ("--show-completion", "--install-completion"):
        if name in complete:
            at = complete.index(name) + 1
            if complete[at : at + 1] == [] or complete[at].startswith("-"):
                complete.insert(at, "")
    return complete


def answer(command: Any, environ: Mapping[str, str]) -> str:
    """What a script gets for `_R1_LINE`; nothing if that fails, because an error would end in the command line."""
    try:
        return "".join(f"{line}\n" for line in _candidates(command, environ))
    except Exception:
        return ""


def _candidates(command: Any, environ: Mapping[str, str]) -> Iterator[str]:
    from typer._click.shell_completion import split_arg_string
    from typer._completion_classes import BashComplete

    line = environ.get(_LINE, "")
    words = split_arg_string(line)[1:]
    typed = words.pop() if words and not line[-1].isspace() else ""
    option = typed[: typed.find("=") + 1] if typed.startswith("--") else ""
    done = _done(typed, environ)
    for item in BashComplete(command, {}, "r1", REQUEST).get_completions(words, typed):  # the same for every shell
        if item.help == FILES:
            yield FILES
            return
        value = f"{option}{item.value}"[done:]
        description = _description(item.help) if environ[REQUEST] != "bash" else ""
        yield f"{value}\t{description}" if description else value


def _done(typed: str, environ: Mapping[str, str]) -> int:
    """The number of characters that bash has taken as words of their own, because a colon or "=" ends a word."""
    breaks = environ.get(_BREAKS, "") if environ[REQUEST] == "bash" else ""
    return 1 + max((typed.rfind(mark) for mark in ":=" if mark in breaks), default=-1)


def _description(text: str | None) -> str:
    line = printable(" ".join((text or "").split()))
    return line if len(line) <= _MAX_DESCRIPTION else f"{line[: _MAX_DESCRIPTION - 1].rstrip()}…"


def print_answer(command: Any) -> None:
    """Prints the answer to a script."""
    Console.of_process().out(answer(command, os.environ))

"""`r1.shells`: a script for each shell, where it is installed, and the answers it gets."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from r1.app import app
from r1.history.history import History
from r1.shells import answer, install, script
from r1_quantize.errors import UsageError
from tests.conftest import R1, Run
from tests.fakes.chats import asked, say

BREAKS = " \t\n\"'@><=;|&(:"
"""Bash's COMP_WORDBREAKS."""

MARKS = {
    "bash": "complete -o default -F _r1_completion r1",
    "zsh": "#compdef r1",
    "fish": "complete --command r1",
    "powershell": "Register-ArgumentCompleter -Native -CommandName r1",
}
"""What only the script of this shell has."""


class TestScript:
    """`r1 --show-completion SHELL`."""

    @pytest.mark.parametrize("shell", MARKS)
    def test_is_that_shells(self, r1: Run, shell: str) -> None:
        text = script(shell)
        assert [name for name, mark in MARKS.items() if mark in text] == [shell]
        assert script(shell.upper()) == text
        done = r1("--show-completion", shell)
        assert (done.returncode, done.stdout.decode(), done.stderr) == (0, text, b"")

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_is_valid_in_that_shell(self, shell: str, tmp_path: Path) -> None:
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        file = tmp_path / "script"
        file.write_text(script(shell), encoding="utf-8")
        done = subprocess.run([shell, "-n", file], capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, b"")

    def test_an_unknown_shell_is_a_usage_error(self) -> None:
        with pytest.raises(UsageError, match=r"^the completion of 'tcsh' is not known; name a shell: bash, zsh, fish"):
            script("tcsh")

    def test_without_a_name_it_is_that_of_the_present_shell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("typer._completion_shared._get_shell_name", lambda: "zsh")
        assert script("") == script("zsh")
        monkeypatch.setattr("typer._completion_shared._get_shell_name", lambda: None)
        monkeypatch.setenv("SHELL", "/usr/bin/fish")
        assert script("") == script("fish")
        monkeypatch.setenv("SHELL", "")
        with pytest.raises(UsageError, match=r"^the completion is not known; name a shell"):
            script("")


class TestInstall:
    """The script is where the shell finds it, once, however often it is installed."""

    @pytest.fixture
    def home_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        return tmp_path

    @pytest.mark.parametrize(
        ("shell", "file", "start", "line"),
        [
            ("bash", ".bash_completions/r1.sh", ".bashrc", "source {file}"),
            ("zsh", ".zfunc/_r1", ".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit"),
            ("fish", ".config/fish/completions/r1.fish", None, ""),
        ],
    )
    def test_writes_the_script_and_the_start_up_file(
        self, home_folder: Path, shell: str, file: str, start: str | None, line: str
    ) -> None:
        if start:
            (home_folder / start).write_text("alias ll='ls -l'", encoding="utf-8")
        for _ in range(2):
            assert install(shell, {}) == home_folder / file
        assert (home_folder / file).read_text(encoding="utf-8") == script(shell)
        if start:
            text = (home_folder / start).read_text(encoding="utf-8")
            assert text == f"alias ll='ls -l'\n{line.format(file=home_folder / file)}\n"

    @pytest.mark.skipif(sys.platform == "win32" or shutil.which("bash") is None, reason="needs bash")
    def test_a_home_with_a_quote_in_its_name_does_not_break_bash(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = tmp_path / "O'Neil & sons"
        home.mkdir()
        monkeypatch.setenv("HOME", str(home))
        install("bash", {})
        shell = ["bash", "--norc", "-c", 'source "$HOME/.bashrc" && complete -p r1']
        done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout.startswith("complete "), done.stderr) == (True, "")

    def test_powershell_says_where_its_profile_is(self, home_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        profile = home_folder / "Documents" / "profile.ps1"
        monkeypatch.setattr(
            subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, f"{profile}\r\n".encode())
        )
        for _ in range(2):
            assert install("powershell", {}) == profile
        assert profile.read_text(encoding="utf-8") == script("powershell")

    def test_a_user_without_a_home_gets_no_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("r1.shells.expanded", Path)
        with pytest.raises(UsageError, match="no home folder; r1 --show-completion prints the script"):
            install("bash", {})
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_cannot_be_written_is_one_line(self, r1: Run, tmp_path: Path) -> None:
        (tmp_path / ".zfunc").write_text("")
        done = r1("--install-completion", "zsh")
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
        assert done.stderr.endswith(b"; r1 --show-completion zsh prints the script\n")

    def test_the_command_says_where(self, r1: Run, tmp_path: Path) -> None:
        done = r1("--install-completion", "fish")
        file = tmp_path / "config" / "fish" / "completions" / "r1.fish"
        assert done.stdout.decode() == f"completion installed in {file}; it works in a new shell\n"
        assert file.exists()


class TestAnswer:
    """One line for each candidate."""

    @pytest.mark.parametrize(
        ("line", "lines"),
        [
            ("r1 run -m tiny", "tiny:Q8_0\n"),
            ("r1 run -m tiny:", "Q8_0\n"),
            ("r1 run -m tiny:q", "q8_0\n"),
            ("r1 run --model=ti", "tiny:Q8_0\n"),
            ("r1 run --model=tiny:", "Q8_0\n"),
            ("r1 quantize x --type=IQ4_N", "IQ4_NL\n"),
        ],
    )
    def test_bash_gets_what_follows_a_colon_or_an_equals_sign(
        self, monkeypatch: pytest.MonkeyPatch, home: Path, line: str, lines: str
    ) -> None:
        """Bash replaces only the text after such a character, because it ends a word."""
        monkeypatch.setenv("R1_HOME", str(home))
        command = typer.main.get_command(app)
        assert answer(command, {"_R1_COMPLETE": "bash", "_R1_LINE": line, "_R1_BREAKS": BREAKS}) == lines

    def test_a_title_is_one_line_without_control_codes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("R1_HOME", str(tmp_path))
        with History.open(tmp_path / "history.db") as history:
            session, _ = say(history, None, asked("x"))
            history.title(session, "a\x1b[31m\tb" + " $(touch /tmp/no) `x` '\" 草莓" * 9)
        command = typer.main.get_command(app)
        printed = answer(command, {"_R1_COMPLETE": "zsh", "_R1_LINE": "r1 history show "})
        value, tab, title = printed.removesuffix("\n").partition("\t")
        assert (value, tab, printed.count("\n")) == ("1", "\t", 1)
        assert title.startswith("a[31m b $(touch /tmp/no) `x` '\" 草莓 $(touch")
        assert len(title) <= 60


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """`r1`, a program of this tree, in a folder with the file notes.txt."""
    program = tmp_path / "bin" / "r1"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(R1)} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "notes.txt").touch()
    return program


LINES = {
    "r1 run -m tiny:": "tiny:Q8_0",
    "r1 run --model=tin": "--model=tiny:Q8_0",
    "r1 ver": "verify",
    "r1 run -f no": "FILES",
    "r1 show ./no": "FILES",
    "r1 pull ./": "",
    "r1 run --seed ": "",
    "r1 --chat ": "",
}
"""Command lines, and what a shell offers."""


def _completed(shell: str, test: str, program: Path, environ: dict[str, str]) -> list[str]:
    """What `test` prints for each of LINES: it has the script as $1 and the lines after it, and prints with `|`."""
    if sys.platform == "win32" or shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    file = program.parent / "script"
    file.write_text(script(shell), encoding="utf-8")
    no_start_up = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    name = [] if shell == "fish" else [shell]  # $0
    done = subprocess.run(
        [shell, *no_start_up, "-c", test, *name, file, *LINES],
        env={**environ, "PATH": f"{program.parent}:{environ['PATH']}"},
        cwd=program.parent.parent, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_bash_completes_with_the_script(environ: dict[str, str], program: Path) -> None:
    """Bash completes names of files by default, where the function does not turn that off."""
    test = """source "$1"
compopt() { FILES=; }
for COMP_LINE in "${@:2}" "r1 list > no"; do
    COMP_POINT=${#COMP_LINE} COMP_WORDS=($COMP_LINE) COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) FILES=FILES
    _r1_completion r1
    echo "${COMPREPLY[@]-$FILES}"
done
complete -p r1
"""
    after_a_break = {"r1 run -m tiny:": "Q8_0", "r1 run --model=tin": "tiny:Q8_0"}
    expected = [*(LINES | after_a_break).values(), "FILES", "complete -o default -F _r1_completion r1"]
    assert _completed("bash", test, program, environ) == expected


def test_zsh_completes_with_the_script(environ: dict[str, str], program: Path) -> None:
    """The functions of zsh's completion, which only work in a terminal, are replaced."""
    test = """compdef() { :; }
_files() { offered=FILES; }
_describe() { offered=${(P)3}; }
compset() { :; }
source $1
for line in "${@:2}"; do
    words=(${(z)line}) PREFIX=${${line##* }} CURRENT=${#words} offered=
    [[ -n $PREFIX ]] || CURRENT=$((CURRENT + 1))
    _r1
    echo ${${offered%%:[A-Z]* *}//\\\\:/:}  # without the description
done
"""
    assert _completed("zsh", test, program, environ) == [*LINES.values()]


def test_fish_completes_with_the_script(environ: dict[str, str], program: Path) -> None:
    test = """source $argv[1]
for line in $argv[2..]
    echo (complete -C $line | string replace -r '\\t.*' '')
end
"""
    files = {"r1 run -f no": "notes.txt", "r1 show ./no": "./notes.txt"}
    assert _completed("fish", test, program, environ) == [*(LINES | files).values()]

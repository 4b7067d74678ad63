"""`r1.app`: how arguments and options reach the commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from r1 import app as module
from r1.commands import bench, chat, history, list_types, pull, quantize, remove, run, show, verify
from r1.console import Console
from r1.dispatch import app_for
from r1.exit import run_app
from r1.settings import Settings, load
from tests.fakes.consoles import console, written

MODEL = "qwen-7b:Q8_0"
OTHER = "qwen-14b"

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The arguments of every command that is called; none of them runs."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def record(*arguments: Any, **options: Any) -> int:
        calls.append((arguments[1:], options))  # without the console
        return 0

    functions = {
        run: "run",
        chat: "chat",
        bench: "bench",
        pull: "run",
        quantize: "run",
        list_types: "list_types",
        show: "show",
        verify: "verify",
        remove: "remove",
    }
    for owner, name in functions.items():
        monkeypatch.setattr(owner, name, record)
    return calls


@pytest.fixture
def quiet() -> list[bool]:
    """For each command that was called, whether its console is quiet."""
    return []


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quiet: list[bool]) -> Call:
    """Runs `r1 ARGUMENTS` in this process; returns the exit status and stderr."""
    of_each = quiet

    def begin(*arguments: str, **environ: str) -> tuple[int, str]:
        made = console(b"", environ={"R1_HOME": str(tmp_path), **environ})

        def of_process(*, quiet: bool = False) -> Console:
            of_each.append(quiet)
            return made

        monkeypatch.setattr(sys, "argv", ["r1", *arguments])
        monkeypatch.setattr(sys, "stderr", made.stderr)
        monkeypatch.setattr(Console, "of_process", of_process)
        monkeypatch.setattr(module, "keep_libraries_quiet", lambda: None)
        monkeypatch.setattr("r1.settings.config_file", lambda: tmp_path / "config.toml")
        return run_app(app_for(module.app, arguments)), written(made.stderr)

    return begin


WITH_ARGUMENT = ["chat", "bench", "pull", "quantize", "show", "verify"]


def model_in(arguments: tuple[Any, ...]) -> str | None:
    """The model that a command was called with, from its argument or from -m."""
    (found,) = {
        argument.model if isinstance(argument, Settings) else argument
        for argument in arguments
        if isinstance(argument, Settings) or argument in {MODEL, OTHER}
    }
    return found


class TestModel:
    """Every command that works on one model takes it as its first word and as -m."""

    @pytest.mark.parametrize("command", WITH_ARGUMENT)
    @pytest.mark.parametrize("form", [[MODEL], ["-m", MODEL], ["--model", MODEL], [MODEL, "-m", MODEL]], ids=" ".join)
    def test_is_an_argument_or_an_option(self, received: list[Any], call: Call, command: str, form: list[str]) -> None:
        assert call(command, *form) == (0, "")
        assert model_in(received[0][0]) == MODEL

    @pytest.mark.parametrize("command", WITH_ARGUMENT)
    def test_two_different_models_are_a_usage_error(self, received: list[Any], call: Call, command: str) -> None:
        message = f"r1: {MODEL} and -m {OTHER} name different models; leave one of them out\n"
        assert call(command, MODEL, "-m", OTHER) == (2, message)
        assert not received

    @pytest.mark.parametrize("command", ["quantize", "show", "verify", "rm"])
    def test_is_required_where_there_is_no_default(self, received: list[Any], call: Call, command: str) -> None:
        status, error = call(command)
        assert (status, error.count("\n")) == (2, 1)
        assert error.startswith("r1: no ")
        assert not received

    @pytest.mark.parametrize("command", ["chat", "bench", "run"])
    def test_is_left_to_the_settings_otherwise(self, received: list[Any], call: Call, command: str) -> None:
        call(command, R1_MODEL=OTHER)
        assert model_in(received[0][0]) == OTHER

    def test_run_takes_an_option_because_its_words_are_the_prompt(self, received: list[Any], call: Call) -> None:
        assert call("run", "-m", MODEL, OTHER)[0] == 0
        (options, settings), _ = received[0]
        assert (options.words, settings.model) == ((OTHER,), MODEL)

    def test_the_types_of_a_model_are_listed_by_an_option_too(self, received: list[Any], call: Call) -> None:
        assert call("quantize", "--list-types", "-m", MODEL)[0] == 0
        assert received == [((MODEL,), {"as_json": False})]

    def test_rm_takes_any_number_in_both_ways(self, received: list[Any], call: Call) -> None:
        assert call("rm", MODEL, "-m", OTHER, "-m", "tiny")[0] == 0
        assert received[0][0] == ([MODEL, OTHER, "tiny"],)

    @pytest.mark.parametrize(("form", "given"), [([], False), ([MODEL], True), (["-m", MODEL], True)])
    def test_a_chat_knows_if_its_model_was_named(
        self, received: list[Any], call: Call, form: list[str], given: bool
    ) -> None:
        call("chat", *form)
        assert received[0][0][0].model_given is given


class TestSettings:
    """Shared options reach the settings under their own names."""

    FLAGS = (
        *("--temp", "0.5", "--top-p", "0.9", "--seed", "7", "--max-tokens", "100", "--system", "Be brief."),
        *("--ctx", "512", "--kv-type", "q8_0", "--threads", "2", "--device", "cpu", "--gpu-layers", "0"),
        *("--rpc", "host:1", "--force", "--thinking", "hide", "-m", MODEL, "--speculate", "draft", "--draft", OTHER),
    )

    @pytest.mark.parametrize("command", ["run", "chat"])
    def test_all_of_them_arrive(self, received: list[Any], call: Call, command: str) -> None:
        assert call(command, *self.FLAGS)[0] == 0
        assert received[0][0][-1] == Settings(
            model=MODEL,
            thinking="hide",
            system="Be brief.",
            temp=0.5,
            top_p=0.9,
            seed=7,
            max_tokens=100,
            ctx=512,
            threads=2,
            device="cpu",
            gpu_layers=0,
            rpc="host:1",
            kv_type="q8_0",
            force=True,
            speculate="draft",
            draft=OTHER,
        )

    @pytest.mark.parametrize("command", ["run", "chat"])
    def test_a_draft_model_that_is_not_named_is_an_error(self, received: list[Any], call: Call, command: str) -> None:
        line = "r1: --speculate draft needs a draft model; name one with --draft MODEL\n"
        assert call(command, "--speculate", "draft") == (2, line)
        assert call(command, "--speculate", "draft", "--draft", OTHER)[0] == 0
        assert received[0][0][-1].draft == OTHER

    @pytest.mark.parametrize("command", ["run", "chat"])
    def test_words_are_not_case_sensitive(self, received: list[Any], call: Call, command: str) -> None:
        assert call(command, "--thinking", "Hide", "--device", "CPU", "--kv-type", "F16") == (0, "")
        settings = received[0][0][-1]
        assert (settings.thinking, settings.device, settings.kv_type) == ("hide", "cpu", "f16")

    @pytest.mark.parametrize("command", ["run", "chat", "bench"])
    def test_none_of_them_is_given_by_default(self, received: list[Any], call: Call, command: str) -> None:
        call(command)
        assert received[0][0][-1] == load({}, {}) == Settings()

    @pytest.mark.parametrize("command", ["run", "chat"])
    def test_a_system_prompt_is_warned_about(self, received: list[Any], call: Call, command: str) -> None:
        warning = "r1: R1 was not trained with a system prompt; put instructions in the prompt itself\n"
        assert call(command, "--system", "Be brief.") == (0, warning)
        assert call(command) == (0, "")

    def test_tuning_and_a_number_of_threads_exclude_each_other(self, received: list[Any], call: Call) -> None:
        status, error = call("bench", "--tune", "--threads", "2")
        assert (status, error.count("\n")) == (2, 1)
        assert call("bench", "--tune", R1_THREADS="2")[0] == 0


class TestQuiet:
    """-q is an option of every command."""

    def test_every_command_has_it(self) -> None:
        root = typer.main.get_command(module.app)
        commands = {**root.commands, **root.commands["history"].commands}
        without = [
            name
            for name, command in commands.items()
            if not any({"-q", "--quiet"} <= {*p.opts} for p in command.params)
        ]
        assert without == []

    @pytest.mark.parametrize(
        "command", ["chat", "run", "pull x", "quantize x", "show x", "verify x", "bench", "rm x", "list", "history"]
    )
    def test_reaches_the_console(self, received: list[Any], call: Call, quiet: list[bool], command: str) -> None:
        call(*command.split())
        call(*command.split(), "-q")
        assert quiet == [False, True]


class TestHistory:
    """`r1 history` is `r1 history list`; the options of both may stand before or after the word `list`."""

    @pytest.mark.parametrize("line", ["--json", "list --json", "--json list", "-q list --json", "-q --json list"])
    def test_options_may_stand_before_the_subcommand(
        self, call: Call, monkeypatch: pytest.MonkeyPatch, line: str
    ) -> None:
        printed: list[bool] = []
        monkeypatch.setattr(history, "list_chats", lambda _, *, as_json: printed.append(as_json))
        assert call("history", *line.split()) == (0, "")
        assert printed == [True]


class TestUsageErrors:
    """One line that names the help of the command that was misused."""

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (["history", "export", "--bad"], "no such option: --bad; see r1 history export --help"),
            (["shov"], "no such command 'shov'; did you mean `r1 show`? to ask the model: r1 run shov"),
            (["run", "--temp", "hot"], "--temp: 'hot' is not a number from 0 to 10 (0: always the most likely token)"),
            (
                ["bench", "-r", "x"],
                "invalid value for '--repetitions' / '-r': 'x' is not a whole number; see r1 bench --help",
            ),
            (
                ["bench", "-p", "-1"],
                "invalid value for '--prompt' / '-p': -1 is not from 0 to 1048576; see r1 bench --help",
            ),
            (["history", "show"], "missing argument 'ID'; see r1 history show --help"),
            (
                ["list", "x"],
                "too many arguments: x; a prompt that begins with a command's name goes after `--`; see r1 list --help",
            ),
        ],
    )
    def test_have_our_style(self, call: Call, arguments: list[str], line: str) -> None:
        assert call(*arguments) == (2, f"r1: {line}\n")

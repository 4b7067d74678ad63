"""`r1.options`: shared options."""

from __future__ import annotations

import inspect

import pytest
import typer

from r1 import options


class TestWithSettings:
    """A command's signature lists the shared options; the command gets them as one mapping."""

    def test_the_options_follow_the_commands_own(self) -> None:
        @options.with_settings({"temp": options.Temp}, {"force": options.ForceLoad})
        def command(flags: dict[str, object], name: options.ModelToRun = None) -> int:
            """Its help."""
            return 0

        parameters = inspect.signature(command).parameters
        assert [*parameters] == ["name", "temp", "force"]
        assert (parameters["temp"].default, parameters["force"].default) == (None, False)
        assert command.__doc__ == "Its help."

    def test_the_command_gets_one_mapping(self) -> None:
        received: list[object] = []

        @options.with_settings(options.SAMPLING)
        def command(flags: dict[str, object], name: options.ModelToRun = None) -> int:
            received.extend([flags, name])
            return 7

        assert command(name="tiny", **dict.fromkeys(options.SAMPLING, None) | {"temp": 0.5}) == 7
        assert received == [{"temp": 0.5, "top_p": None, "seed": None, "max_tokens": None, "system": None}, "tiny"]

    def test_typer_accepts_such_a_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        app = typer.Typer(add_completion=False)

        @app.command()
        @options.with_settings(options.SAMPLING, options.MODEL_AND_MACHINE)
        def command(flags: dict[str, object], json: options.Json = False) -> None:
            print(json, {name: value for name, value in flags.items() if value})

        app(["--json", "--seed", "3", "--force"], standalone_mode=False)
        assert capsys.readouterr().out == "True {'seed': '3', 'force': True}\n"

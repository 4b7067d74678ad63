"""`r1.help`: help as plain text that fits the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest

from r1.app import app
from r1.exit import run_app

COMMANDS = [
    *([], ["chat"], ["run"], ["serve"], ["pull"], ["quantize"], ["list"], ["doctor"], ["show"], ["verify"], ["bench"]),
    *(["eval"], ["rm"]),
    *(["history", *more] for more in ([], ["list"], ["search"], ["show"], ["export"], ["delete"])),
]

HelpOf = Callable[..., str]


@pytest.fixture
def help_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> HelpOf:
    """The help of a command at a width."""

    def read(*command: str, columns: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["r1", *command, "--help"])
        assert run_app(app) == 0
        return capsys.readouterr().out

    return read


class TestHelp:
    """Every command's help."""

    @pytest.mark.parametrize("columns", [40, 80, 200])
    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_fits_except_for_commands_to_copy(self, help_of: HelpOf, command: list[str], columns: int) -> None:
        lines = help_of(*command, columns=columns).splitlines()
        examples = lines.index("Examples:") if "Examples:" in lines else len(lines)
        prose = [line for number, line in enumerate(lines) if number < examples or not line.startswith("    ")]
        assert max(map(len, prose)) <= columns
        assert "\x1b" not in "".join(lines)

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_has_examples_that_are_not_wrapped(self, help_of: HelpOf, command: list[str]) -> None:
        _, examples = help_of(*command, columns=40).split("Examples:\n")
        commands = [line for line in examples.splitlines() if line.startswith("    ")]
        assert commands
        assert all("r1" in line for line in commands)
        assert any(f"r1 {' '.join(command)}" in line for line in commands) or command == ["chat"]

    def test_a_long_usage_continues_indented(self, help_of: HelpOf) -> None:
        assert help_of("history", "search", columns=40).startswith(
            "Usage: r1 history search [OPTIONS]\n      WORDS…\n\n"
        )

    def test_the_options_of_run_are_grouped(self, help_of: HelpOf) -> None:
        text = help_of("run")
        titles = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
        groups = [
            *("The answer:", "The thinking:", "The form of the answer:", "Many prompts:"),
            *("The model:", "The machine:"),
        ]
        assert titles == ["Arguments:", "Options:", *groups, "Examples:"]
        answer, machine = text.index("The answer:"), text.index("The machine:")
        assert answer < text.index("--temp") < text.index("The model:") < text.index("--ctx") < machine
        assert machine < text.index("--gpu-layers")

    def test_all_commands_are_listed_with_a_sentence(self, help_of: HelpOf) -> None:
        _, commands = help_of(columns=200).split("Commands:\n")
        rows = [line for line in commands.split("\n\n")[0].splitlines() if not line.startswith("   ")]
        listed = [line.split(maxsplit=1) for line in rows]
        assert [name for name, _ in listed] == [name for name, *more in filter(None, COMMANDS) if not more]
        assert all(sentence[0].isupper() for _, sentence in listed)

    def test_a_narrow_terminal_has_descriptions_below_options(self, help_of: HelpOf) -> None:
        assert "  --seed N\n      The same seed gives the same text.\n" in help_of("run", columns=40)
        assert re.search(r"^  --seed N +The same seed gives the same text\.", help_of("run", columns=80), re.MULTILINE)

    @pytest.mark.parametrize("columns", [20, 40, 59])
    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_a_narrow_terminal_has_one_column(self, help_of: HelpOf, command: list[str], columns: int) -> None:
        """Terms are indented by two spaces, descriptions by six, also below a short term such as ID."""
        for line in help_of(*command, columns=columns).partition("Examples:")[0].splitlines():
            indent = len(line) - len(line.lstrip())
            assert indent in {0, 2, 6}
            assert indent != 2 or "  " not in line.strip()

    @pytest.mark.parametrize("columns", [40, 80, 200])
    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_values_have_names_and_not_types(self, help_of: HelpOf, command: list[str], columns: int) -> None:
        """Typer prints <str>, <path>, <list[Path]>, <show|hide|only>, [required] and [0<=x<=10]."""
        text = help_of(*command, columns=columns).partition("Examples:")[0]
        assert not re.findall(r"<\w[^>]*>|\[required\]|<=x|\bbool\b|\bPath\b|\[default", text)

    def test_the_value_of_each_option_of_run(self, help_of: HelpOf) -> None:
        text = help_of("run", columns=200)
        for term in ("-m, --model MODEL", "-f, --file FILE", "--temp N", "--thinking show|hide|only", "--kv-type TYPE"):
            assert f"  {term} " in text or f"  {term}\n" in text

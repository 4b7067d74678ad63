"""`r1.dispatch`: the command that a line without one means."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from r1 import app as module
from r1.commands import chat, list_models, pull, remove, run, run_lines, show
from r1.commands.chat import ChatOptions
from r1.console import Console
from r1.dispatch import app_for
from r1.exit import run_app
from r1.prompt_input import PromptOptions
from r1.settings import Settings
from tests.fakes.consoles import console, written


class Outcome(NamedTuple):
    """The command that was called with its arguments; or the exit status and what was printed."""

    command: str | None
    arguments: tuple[Any, ...]
    status: int
    stdout: str
    stderr: str

    def of(self, kind: type[Any]) -> Any:
        """The argument of this type."""
        return next(argument for argument in self.arguments if isinstance(argument, kind))


Call = Callable[..., Outcome]


class TestAppFor:
    """Only what a line needs is built."""

    def names(self, *line: str) -> set[str]:
        return set(typer.main.get_command(app_for(module.app, line)).commands)  # type: ignore[attr-defined]

    @pytest.mark.parametrize("name", sorted(typer.main.get_command(module.app).commands))  # type: ignore[attr-defined]
    def test_a_command_alone(self, name: str) -> None:
        assert self.names(name, "more") == {name}

    @pytest.mark.parametrize("line", [[], ["list_"], ["evaluate"], ["--json", "run"], ["Why is the sky blue?"]])
    def test_all_for_other_lines(self, line: list[str]) -> None:
        assert len(self.names(*line)) == len(module.app.registered_commands) + len(module.app.registered_groups)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Reads a line as a shell does, and runs it; the commands only record how they are called."""
    calls: list[tuple[str, tuple[Any, ...]]] = []

    def recording(name: str) -> Callable[..., int]:
        def record(*arguments: Any, **options: Any) -> int:
            calls.append((name, (*arguments[1:], *options.values())))
            return 0

        return record

    for owner, name in ((run, "run"), (chat, "chat"), (list_models, "list_models"), (pull, "run"), (show, "show")):
        monkeypatch.setattr(owner, name, recording(owner.__name__.rpartition(".")[2]))
    monkeypatch.setattr(run_lines, "run_lines", recording("run"))
    monkeypatch.setattr(remove, "remove", recording("remove"))
    monkeypatch.setattr(module, "keep_libraries_quiet", lambda: None)
    monkeypatch.setattr("r1.settings.config_file", lambda: tmp_path / "config.toml")
    monkeypatch.setenv("R1_HOME", str(tmp_path))

    def begin(line: str, *, terminal: bool = True, watched: bool = False) -> Outcome:
        made = console(None if terminal else b"", stderr_is_terminal=watched, environ={"R1_HOME": str(tmp_path)})
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        monkeypatch.setattr(sys, "stdout", made.stdout)
        monkeypatch.setattr(sys, "stderr", made.stderr)
        monkeypatch.setattr(Console, "of_process", lambda *, quiet=False: made)
        calls.clear()
        status = run_app(app_for(module.app, sys.argv[1:]))
        command, arguments = calls[0] if calls else (None, ())
        return Outcome(command, arguments, int(status), written(made.stdout), written(made.stderr))

    return begin


class TestPrompts:
    """What is no command is a prompt, and goes to `run`."""

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ('r1 "What is 2+2?"', "What is 2+2?"),
            ("r1 What is it", "What is it"),
            ("r1 how many legs has a spider", "how many legs has a spider"),  # "how" is close to "show"
            ("r1 delete all files on Windows, how", "delete all files on Windows, how"),  # "delete" is `rm` elsewhere
            ("r1 help me with French", "help me with French"),
            ('r1 "list all primes"', "list all primes"),
            ("r1 -- list files", "list files"),
            ("r1 -- list", "list"),
            ('r1 -- "-5 + 3"', "-5 + 3"),
            ('r1 run -- "-5 + 3"', "-5 + 3"),
            ("r1 hello", "hello"),
            ("r1 tiny", "tiny"),
            ("r1 -", "-"),
            ("r1 2+2", "2+2"),
            ("r1 你好", "你好"),
            ('r1 -m tiny "hi"', "hi"),
            ('r1 "hi" -m tiny', "hi"),
            ("r1 --model=tiny --temp 0 hi there", "hi there"),
            ("r1 --temp 0 -- list", "list"),
            ("r1 -mtiny hi", "hi"),
            ("r1 -f notes.txt hi", "hi"),
            ("r1 -fnotes.txt hi", "hi"),
            ("r1 -f notes.txt describe", "describe"),  # beside a file it is no command of another program
            ("r1 what --no-stdin", "what"),  # close to "chat"
            ("r1 -m list hi", "hi"),  # "list" is the option's value
            ("r1 --seed -1 hi", None),  # a value may begin with a dash; it is not allowed for another reason
        ],
    )
    @pytest.mark.parametrize("terminal", [True, False])
    def test_reach_run(self, call: Call, line: str, words: str | None, terminal: bool) -> None:
        done = call(line, terminal=terminal)
        if words is None:
            assert (done.command, done.status) == (None, 2)
            return
        assert (done.command, done.stderr) == ("run", "")
        assert " ".join(done.of(PromptOptions).words) == words

    def test_take_the_options_of_run(self, call: Call) -> None:
        done = call("r1 -m qwen-7b --temp 0 --json -f a.txt -f b.txt --no-stdin --thinking only question")
        options, settings = done.of(PromptOptions), done.of(Settings)
        assert (options.words, options.files) == (("question",), (Path("a.txt"), Path("b.txt")))
        assert (settings.model, settings.temp, settings.thinking) == ("qwen-7b", 0.0, "only")
        assert not options.use_stdin
        assert done.arguments[-1] is True  # as_json

    @pytest.mark.parametrize("line", ["r1 -f notes.txt", "r1 --json", "r1 --jsonl", "r1 --no-stdin"])
    def test_options_that_only_run_has_need_no_words(self, call: Call, line: str) -> None:
        assert call(line).command == "run"


class TestChats:
    """Without a prompt, a person at a terminal chats; a pipe is a prompt."""

    @pytest.mark.parametrize("line", ["r1", "r1 -m tiny", "r1 --temp 0 --ctx 512", "r1 --thinking hide", "r1 --"])
    def test_without_a_prompt_stdin_decides(self, call: Call, line: str) -> None:
        assert call(line).command == "chat"
        assert call(line, terminal=False).command == "run"

    @pytest.mark.parametrize(
        ("line", "options"),
        [
            ("r1 -c", ChatOptions(resume_last=True)),
            ("r1 --continue", ChatOptions(resume_last=True)),
            ("r1 --chat 3", ChatOptions(session="3")),
            ("r1 --plain", ChatOptions(plain=True)),
            ("r1 -m tiny -c", ChatOptions(resume_last=True, model_given=True)),
            ("r1 chat tiny", ChatOptions(model_given=True)),
        ],
    )
    @pytest.mark.parametrize("terminal", [True, False])
    def test_options_that_only_a_chat_has(self, call: Call, line: str, options: ChatOptions, terminal: bool) -> None:
        done = call(line, terminal=terminal)
        assert (done.command, done.of(ChatOptions)) == ("chat", options)


class TestCommands:
    """The name of a command selects it, with options before or after it."""

    @pytest.mark.parametrize(
        ("line", "command"),
        [
            ("r1 list", "list_models"),
            ("r1 --json list", "list_models"),
            ("r1 pull tiny", "pull"),
            ("r1 --force pull tiny", "pull"),
            ("r1 -m tiny show", "show"),
            ("r1 -m tiny rm", "remove"),
            ("r1 -m tiny run x", "run"),
            ("r1 -m tiny chat", "chat"),
        ],
    )
    def test_options_before_it_move_behind_it(self, call: Call, line: str, command: str) -> None:
        done = call(line)
        assert (done.command, done.stderr) == (command, "")

    def test_the_option_nearest_to_the_end_wins(self, call: Call) -> None:
        assert call("r1 --temp 0 run --temp 1 x").of(Settings).temp == 1.0

    def test_options_move_behind_a_subcommand(self, call: Call) -> None:
        assert call("r1 --json history list").stdout == "[]\n"

    def test_an_option_without_its_command_is_its_own_error(self, call: Call) -> None:
        assert "see r1 show --help" in call("r1 --temp 0 show tiny").stderr


class TestOwnOptions:
    """`--help` and `--version` are those of `r1` itself where no command or prompt comes before them."""

    @pytest.mark.parametrize("line", ["r1 -V", "r1 --version", "r1 -m tiny -V", "r1 -V list", "r1 --bogus -V"])
    def test_the_version(self, call: Call, line: str) -> None:
        done = call(line)
        assert (done.status, done.stdout.split()[0], done.command) == (0, "r1", None)

    @pytest.mark.parametrize("line", ["r1 -h", "r1 --help", "r1 -m tiny --help"])
    def test_the_help(self, call: Call, line: str) -> None:
        assert call(line).stdout.startswith("Usage: r1 [OPTIONS] [COMMAND | PROMPT…]\n")

    @pytest.mark.parametrize("line", ["r1 question --help", "r1 run -h", "r1 --help run question"])
    def test_the_help_of_run(self, call: Call, line: str) -> None:
        usage = "Usage: r1 [" if line.startswith("r1 --help") else "Usage: r1 run "
        assert call(line).stdout.startswith(usage)


class TestMistakes:
    """Exit code 2, and one line that says what to type instead."""

    @pytest.mark.parametrize(
        ("line", "meant"),
        [
            ("r1 lst", "r1 list"),
            ("r1 List", "r1 list"),
            ("r1 shov tiny", "r1 show tiny"),
            ("r1 shwo qwen-7b:Q4_K_M", "r1 show qwen-7b:Q4_K_M"),
            ("r1 histroy show 3", "r1 history show 3"),
            ("r1 chatt qwen-7b", "r1 chat qwen-7b"),
            ('r1 rn "what is it"', "r1 run 'what is it'"),
            ("r1 quantise", "r1 quantize"),
            ("r1 ls", "r1 list"),
            ("r1 ps", "r1 list"),
            ("r1 models", "r1 list"),
            ("r1 delete qwen-7b", "r1 rm qwen-7b"),
            ("r1 download", "r1 pull"),
            ("r1 download deepseek-r1:7b", "r1 pull deepseek-r1:7b"),
            ("r1 update", "r1 pull --update"),
            ("r1 help", "r1 --help"),
            ("r1 help run", "r1 run --help"),
            ("r1 help history", "r1 history --help"),
            ("r1 version", "r1 --version"),
            ("r1 sessions", "r1 history"),
            ("r1 server", "r1 serve"),
            ("r1 search", "r1 history search"),
            ("r1 -m tiny lst", "r1 list"),
        ],
    )
    def test_a_word_that_is_meant_as_a_command(self, call: Call, line: str, meant: str) -> None:
        done = call(line)
        words = line.removeprefix("r1 ").removeprefix("-m tiny ").replace('"', "'")
        assert (done.command, done.status, done.stderr.count("\n")) == (None, 2, 1)
        assert f"did you mean `{meant}`? to ask the model: r1 run {words}\n" in done.stderr

    @pytest.mark.parametrize("line", ["r1 stop", "r1 stop tiny", "r1 signin", "r1 cp tiny mine:Q8_0 "])
    def test_a_command_of_ollama_that_has_no_counterpart(self, call: Call, line: str) -> None:
        done = call(line)
        assert (done.command, done.status, done.stderr.count("\n")) == (None, 2, 1)
        assert f"no such command {line.split()[1]!r}; `r1 --help` lists the commands; to ask the model: " in done.stderr

    def test_the_same_word_at_the_start_of_a_prompt(self, call: Call) -> None:
        assert call("r1 stop the clock").command == "run"

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("r1 --tmep 0", "no such option: --tmep; did you mean --temp? see r1 --help"),
            ('r1 "-5 + 3"', "no such option: -5; a prompt that begins with a dash goes after `--`; see r1 --help"),
            ("r1 -x", "no such option: -x; a prompt that begins with a dash goes after `--`; see r1 --help"),
            (
                'r1 run "-5 + 3"',
                "no such option: -5; a prompt that begins with a dash goes after `--`; see r1 run --help",
            ),
            (
                'r1 "-make a list"',  # not -m with the value "ake a list"
                "no such option: -make; a prompt that begins with a dash goes after `--`; see r1 --help",
            ),
            (
                'r1 run "-find it"',
                "no such option: -find; a prompt that begins with a dash goes after `--`; see r1 run --help",
            ),
            ("r1 run --kvtype f16", "no such option: --kvtype; did you mean --kv-type? see r1 run --help"),
            (
                "r1 list all primes",
                "too many arguments: all primes; a prompt that begins with a command's name goes after "
                "`--`; see r1 list --help",
            ),
            ("r1 history foo", "no such command 'foo'; see r1 history --help"),
            ("r1 serve a b", "too many arguments: b; see r1 serve --help"),
            (
                "r1 run --foo hi",
                "no such option: --foo; a prompt that begins with a dash goes after `--`; see r1 run --help",
            ),
            (
                "r1 eval --votes 3 x.jsonl",
                "no such option: --votes; -k K is the number of samples, and of votes, of each problem; "
                "see r1 eval --help",
            ),
            ("r1 eval --seeed 3 x.jsonl", "no such option: --seeed; did you mean --seed? see r1 eval --help"),
            ("r1 history serch x", "no such command 'serch'; did you mean 'search'? see r1 history --help"),
            ("r1 history show 1 2", "too many arguments: 2; see r1 history show --help"),
            (
                'r1 chat tiny "hi"',
                "too many arguments: hi; a prompt is for `r1 run`; see r1 chat --help",
            ),
            ('r1 -c "hi"', "-c is an option of `r1 chat`, and a prompt is for `r1 run`; leave one of them out"),
            (
                "r1 --chat 3 --json",
                "--chat is an option of `r1 chat`, and --json of `r1 run`; leave one of them out",
            ),
        ],
    )
    def test_of_options(self, call: Call, line: str, message: str) -> None:
        done = call(line)
        assert (done.command, done.status, done.stderr) == (None, 2, f"r1: {message}\n")

    @pytest.mark.parametrize(
        "line", ["r1 --json -x", "r1 --json lst", "r1 --jsonl -c", "r1 lst --json", "r1 --json show tiny x"]
    )
    def test_with_json_are_an_object_too(self, call: Call, line: str) -> None:
        done = call(line)
        answer = json.loads(done.stdout)
        assert (done.status, answer["exit_code"]) == (2, 2)
        assert done.stderr == f"r1: {answer['error']}\n"

    def test_a_value_attached_to_its_option_may_have_a_space_if_it_is_a_file(self, call: Call, tmp_path: Path) -> None:
        file = tmp_path / "my notes.txt"
        file.write_text("x", encoding="utf-8")
        assert call(f"r1 '-f{file}' hi").of(PromptOptions).files == (file,)


_SHARED = [HealthCheck.function_scoped_fixture]  # the fixture `call` forgets the calls before

TOKENS = st.one_of(
    st.sampled_from(
        [
            *("--", "-", "-m", "tiny", "-mtiny", "--temp", "0", "--temp=0", "--json", "--jsonl", "-f", "a.txt", "-c"),
            *("--chat", "3", "--chat=3", "-q", "-qc", "--no-stdin", "-h", "-V", "--bogus", "-x", "-5 + 3", "", " "),
            *(
                "list",
                "run",
                "chat",
                "history",
                "show",
                "help",
                "lst",
                "What is it?",
                "how",
                "many",
                "--thinking",
                "hide",
            ),
        ]
    ),
    st.text(max_size=8).filter(lambda text: "\0" not in text),
)


class TestAnyLine:
    """No line ends in anything but a command or one line about what is wrong."""

    @settings(max_examples=40, suppress_health_check=_SHARED)
    @given(st.lists(TOKENS, max_size=6), st.booleans())
    def test_is_a_command_or_a_usage_error(self, call: Call, words: list[str], terminal: bool) -> None:
        done = call(shlex.join(["r1", *words]), terminal=terminal)
        assert done.status in {0, 2, 4}
        assert "unexpected error" not in done.stderr
        if done.status:
            assert done.command is None
            assert done.stderr.startswith("r1: ")
            assert done.stderr.count("\n") == 1

    @settings(max_examples=20, suppress_health_check=_SHARED)
    @given(st.lists(TOKENS, max_size=6))
    def test_a_prompt_without_a_command_is_the_one_after_run(self, call: Call, words: list[str]) -> None:
        bare, named = (call(shlex.join([*command, "What is it?", *words])) for command in (["r1"], ["r1", "run"]))
        if bare.status == named.status == 0:
            assert (bare.command, bare.arguments, bare.stdout) == (named.command, named.arguments, named.stdout)
        else:
            assert bare.status == named.status or "leave one of them out" in bare.stderr


class TestModelsAndPrompts:
    """A model in the place of a prompt is noted, and a prompt in the place of a model refused."""

    @pytest.mark.parametrize(
        ("line", "command"),
        [
            ('r1 run tiny "What is it?"', "r1 run -m tiny 'What is it?'"),
            ('r1 tiny "What is it?"', "r1 run -m tiny 'What is it?'"),
            ("r1 run qwen-7b:Q4_K_M hi", "r1 run -m qwen-7b:Q4_K_M hi"),
            ("r1 run deepseek-r1:7b hi", "r1 run -m qwen-7b hi"),
            ("r1 run hf.co/unsloth/DeepSeek-R1-Distill-Llama-8B-GGUF:Q4_K_M hi", "r1 run -m llama-8b hi"),
            ("r1 tiny", "r1 chat tiny"),
        ],
    )
    def test_a_models_name_at_the_start_of_a_prompt_is_noted(self, call: Call, line: str, command: str) -> None:
        done = call(line, watched=True)
        name = line.removeprefix("r1 ").removeprefix("run ").split()[0]
        assert f"r1: {name} was taken as part of the prompt; to choose this model: {command}\n" in done.stderr
        assert done.of(PromptOptions).words[0] == name

    @pytest.mark.parametrize(
        ("line", "watched"),
        [
            ("r1 run tiny hi", False),  # a script
            ("r1 run -m qwen-7b tiny hi", True),
            ("r1 run 'tiny is small'", True),
            ("r1 run a tiny house", True),
            ("r1 run -f tiny", True),
        ],
    )
    def test_nothing_is_noted_otherwise(self, call: Call, line: str, watched: bool) -> None:
        done = call(line, watched=watched)
        assert (done.command, done.stderr) == ("run", "")

    @pytest.mark.parametrize(
        ("prompt", "shown"),
        [
            ("hello there", "'hello there'"),
            ("What is 1/2?", "'What is 1/2?'"),
            ("hello!", "'hello!'"),
            ("你好", "'你好'"),
            ("one\ntwo", "'one two'"),
            ("x " * 5000, f"'{'x ' * 20}…'"),
        ],
    )
    def test_a_prompt_is_no_model(self, call: Call, prompt: str, shown: str) -> None:
        done = call(shlex.join(["r1", "chat", prompt]))
        message = f"r1: no model is called {shown}; to ask one question: r1 run {shown}\n"
        assert (done.command, done.status, done.stderr) == (None, 4, message)

    @pytest.mark.parametrize("model", ["hello", "./gone.gguf", "gone@1.gguf", "https://host/x?y"])
    def test_what_may_be_a_model_is_looked_for(self, call: Call, model: str) -> None:
        assert call(f"r1 chat {model}").command == "chat"

    def test_a_file_may_have_any_name(self, call: Call, tmp_path: Path) -> None:
        (tmp_path / "my model.gguf").touch()
        assert call(shlex.join(["r1", "chat", str(tmp_path / "my model.gguf")])).command == "chat"


class TestCompletion:
    """Shell completion of lines without a command."""

    @pytest.mark.parametrize(
        ("line", "offered", "not_offered"),
        [
            ("r1 ", {"run", "chat", "list"}, set()),
            ("r1 --", {"--temp", "--json", "--continue", "--version"}, set()),
            ("r1 -m ", {"tiny:Q8_0"}, {"run"}),
            ("r1 -m tiny ", {"run", "chat"}, set()),
            ("r1 question --", {"--temp", "--json"}, {"--continue", "--version"}),
            ("r1 --json show ", {"tiny:Q8_0"}, {"run"}),
            ("r1 history ", {"search", "export"}, {"run"}),
        ],
    )
    def test_offers(
        self, call: Call, monkeypatch: pytest.MonkeyPatch, line: str, offered: set[str], not_offered: set[str]
    ) -> None:
        monkeypatch.setenv("_R1_COMPLETE", "bash")
        monkeypatch.setenv("_R1_LINE", line)
        found = set(call("r1").stdout.split())
        assert offered <= found
        assert not not_offered & found

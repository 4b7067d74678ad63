"""`r1.completion`: for each command only what it can take."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from r1.app import app
from r1.completion import FILES
from r1.history.history import History
from r1.shells import answer
from tests.fakes.chats import asked, say
from tests.fakes.homes import REPO, files_in, write_full_home

Complete = Callable[[str], list[str]]


@pytest.fixture
def own(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An R1_HOME with models, leftovers and a kept checkpoint."""
    folder = write_full_home(home, tmp_path / "own")
    monkeypatch.setenv("R1_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def complete(own: Path) -> Complete:
    """The values that are offered at the end of a command line."""
    command = typer.main.get_command(app)

    def read(line: str) -> list[str]:
        lines = answer(command, {"_R1_COMPLETE": "zsh", "_R1_LINE": line}).splitlines()
        return ["FILES" if line == FILES else line.partition("\t")[0] for line in lines]

    return read


MODELS = ["qwen-7b:Q4_K_M", "qwen-7b:Q8_0", "tiny:Q8_0"]
DISTILLS = ["qwen-1.5b", "qwen-7b", "qwen-14b", "qwen-32b", "llama-8b", "llama-70b"]


class TestModels:
    """Commands that run or read a model offer those on this machine; `pull` offers what it can get."""

    @pytest.mark.parametrize("command", ["chat", "bench", "show", "verify", "run -m", "chat -m", "show --model", "-m"])
    def test_on_this_machine(self, complete: Complete, command: str) -> None:
        assert complete(f"r1 {command} ") == MODELS
        assert complete(f"r1 {command} qwen-7b:q8") == ["qwen-7b:q8_0"]
        assert complete(f"r1 {command} qwen-14") == ["FILES"]

    def test_the_built_in_one_is_offered_before_it_is_made(self, complete: Complete, own: Path) -> None:
        shutil.rmtree(own / "models")
        assert complete("r1 run -m ") == ["tiny:Q8_0"]
        assert not (own / "models").exists()

    @pytest.mark.parametrize("command", ["pull", "pull -m", "pull --dry-run"])
    def test_to_pull(self, complete: Complete, command: str) -> None:
        assert complete(f"r1 {command} ") == DISTILLS
        assert complete(f"r1 {command} qwen-7b:Q") == [
            *(f"qwen-7b:{quant}" for quant in ("Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_S", "Q4_1", "Q4_0")),
            *(f"qwen-7b:{quant}" for quant in ("Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "Q2_K_S")),
        ]
        assert complete(f"r1 {command} nosuch:Q4") == []

    def test_sources_are_checkpoints_and_models_on_this_disk(self, complete: Complete, tmp_path: Path) -> None:
        assert complete("r1 quantize ") == ["qwen-7b", "tiny", *MODELS]
        (tmp_path / "cache" / "models--deepseek-ai--DeepSeek-R1-Distill-Qwen-14B" / "snapshots").mkdir(parents=True)
        assert complete("r1 quantize qwen-1") == ["qwen-14b"]

    def test_problems_are_in_a_file_or_built_in(self, complete: Complete) -> None:
        assert complete("r1 eval pro") == ["FILES"]
        assert complete("r1 eval --builtin ") == ["tiny"]
        assert complete("r1 eval --builtin tiny -m ") == MODELS

    def test_what_can_be_removed(self, complete: Complete) -> None:
        assert complete("r1 rm ") == [*MODELS, "llama-8b:Q6_K", REPO, "someone/Half"]
        assert complete("r1 rm tiny qw") == MODELS[:2]


class TestValues:
    """Options with known values offer those, in the case that was typed."""

    @pytest.mark.parametrize(
        ("line", "offered"),
        [
            ("r1 quantize x --type q4_k", ["q4_k_M", "q4_k_S"]),
            ("r1 quantize x -t Q4_K", ["Q4_K_M", "Q4_K_S"]),
            ("r1 quantize x -t CO", ["COPY"]),
            ("r1 quantize x --pretokenizer deepseek-r1", ["deepseek-r1-qwen"]),
            ("r1 pull x --pretokenizer llama-b", ["llama-bpe"]),
            ("r1 quantize x --type=Q8", ["--type=Q8_0"]),
            ("r1 run --kv-type q4", ["q4_1", "q4_0"]),
            ("r1 run --kv-type BF", ["BF16"]),
            ("r1 run --speculate L", ["Lookup"]),
            ("r1 serve --draft ti", ["tiny:Q8_0"]),
            ("r1 run --device ", ["auto", "cpu", "gpu"]),
            ("r1 chat --device G", ["Gpu"]),
            ("r1 run --thinking ", ["show", "hide", "only"]),
            ("r1 chat --thinking ", ["show", "hide"]),
            ("r1 run --effort ", ["none", "low", "medium", "high", "max"]),
            ("r1 chat --effort=M", ["--effort=Medium", "--effort=Max"]),
            ("r1 run --loop-guard o", ["on", "off"]),
            ("r1 --think-budget ", ["off"]),
            ("r1 --show-completion ", ["bash", "zsh", "fish", "powershell"]),
            ("r1 --install-completion z", ["zsh"]),
            ("r1 -V hist", ["history"]),
            ("r1 history s", ["search", "show"]),
            ("r1 history --json li", ["list"]),
        ],
    )
    def test_are_offered(self, complete: Complete, line: str, offered: list[str]) -> None:
        assert complete(line) == offered

    def test_names_of_devices_follow_where_no_word_fits(
        self, complete: Complete, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from r1.engine.devices import Device

        found = [Device("CPU", "cpu"), Device("CUDA0", "gpu"), Device("CUDA1", "gpu")]
        monkeypatch.setattr("r1.engine.devices.devices", lambda: found)
        assert complete("r1 run --device CU") == ["CUDA0", "CUDA1"]
        assert complete("r1 run --device cuda0,c") == ["cuda0,cPU", "cuda0,cUDA0", "cuda0,cUDA1"]
        assert complete("r1 run --device CUDA0,") == ["CUDA0,CPU", "CUDA0,CUDA1"]

    @pytest.mark.parametrize(
        "line",
        [
            *("r1 run -f no", "r1 quantize x --imatrix ", "r1 quantize x -o m", "r1 history export 1 ch"),
            *(
                "r1 run -m ./mod",
                "r1 quantize ./che",
                "r1 show ~/m",
                "r1 run --file=no",
                "r1 -f no",
                "r1 pull --imatrix ",
                "r1 run --schema per",
                "r1 --grammar per",
            ),
        ],
    )
    def test_a_file_is_left_to_the_shell(self, complete: Complete, line: str) -> None:
        assert complete(line) == ["FILES"]

    @pytest.mark.parametrize(
        "line",
        [
            *("r1 run --temp ", "r1 --seed ", "r1 run ", "r1 run Why", "r1 Why is", "r1 history search wo", "r1 list "),
            *("r1 pull ./", "r1 rm ./", "r1 quantize x --name ", "r1 bench -d ", "r1 history show x", "r1 --chat x"),
        ],
    )
    def test_nothing_is_offered_where_no_file_is_expected(self, complete: Complete, line: str) -> None:
        assert complete(line) == []

    def test_every_option_for_a_path_offers_files(self) -> None:
        root = typer.main.get_command(app)
        commands = [*root.commands.values(), *root.commands["history"].commands.values()]  # type: ignore[attr-defined]
        params = [
            param for command in commands for param in command.params if getattr(param.type, "name", "") == "path"
        ]
        assert {param.name for param in params} == {"api_key_file", "file", "grammar", "imatrix", "output", "resume"}
        for param in params:
            assert [item.help for item in param.shell_complete(typer.Context(root), "x")] == [FILES]


class TestChats:
    """Numbers of chats, with their titles."""

    @pytest.fixture
    def _chats(self, own: Path) -> None:
        with History.open(own / "history.db") as history:
            for number in range(1, 13):
                say(history, None, asked(f"question {number}"))

    @pytest.mark.usefixtures("_chats")
    @pytest.mark.parametrize(
        "command", ["chat --chat", "--chat", "history show", "history export", "history delete", "history delete 2"]
    )
    def test_are_offered_by_number(self, complete: Complete, command: str) -> None:
        assert complete(f"r1 {command} ") == [str(number) for number in range(12, 0, -1)]
        assert complete(f"r1 {command} 1") == ["12", "11", "10", "1"]

    @pytest.mark.usefixtures("_chats")
    def test_their_titles_are_shown_beside_them(self, own: Path) -> None:
        command = typer.main.get_command(app)
        for shell, line in (("fish", "3\tquestion 3\n"), ("bash", "3\n")):
            assert answer(command, {"_R1_COMPLETE": shell, "_R1_LINE": "r1 history show 3"}) == line

    @pytest.mark.usefixtures("_chats")
    def test_nothing_is_written(self, complete: Complete, own: Path) -> None:
        before = files_in(own)
        assert complete("r1 history show 3") == ["3"]
        with History.open(own / "history.db", must_exist=True):  # a chat is open, and so there is a log
            assert complete("r1 history show 3") == ["3"]
        assert files_in(own) == before

    def test_without_a_history_nothing_is_made(self, complete: Complete, own: Path) -> None:
        assert complete("r1 history show ") == []
        assert not (own / "history.db").exists()


class TestTrouble:
    """Whatever is wrong, nothing is printed: it would end in the command line."""

    @pytest.mark.parametrize(
        "line",
        [
            "r1 run -m ",
            "r1 pull ",
            "r1 quantize ",
            "r1 rm ",
            "r1 history show ",
            'r1 run "unclosed',
            "",
            "r1 --nosuch ",
        ],
    )
    @pytest.mark.parametrize("trouble", ["models.toml", "history.db", "home"])
    def test_prints_nothing(
        self, complete: Complete, own: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
        line: str, trouble: str,
    ) -> None:  # fmt: skip
        if trouble == "home":
            monkeypatch.setenv("R1_HOME", "~nosuchuser/x")
        else:
            (own / trouble).write_bytes(b"\xff damaged [")
        complete(line)
        assert capfd.readouterr() == ("", "")
        assert not Path("~nosuchuser").exists()

    def test_a_home_that_does_not_exist_is_not_made(self, complete: Complete, tmp_path: Path) -> None:
        os.environ["R1_HOME"] = str(tmp_path / "none")
        for line in ("r1 run -m ", "r1 pull ", "r1 quantize ", "r1 rm ", "r1 chat --chat "):
            complete(line)
        assert not (tmp_path / "none").exists()

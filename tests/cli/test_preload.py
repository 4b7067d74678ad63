"""`r1.preload`: which command lines begin to load a model before they are read in full, and that none fares worse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from r1.preload import Line, _value, is_run, preload, read
from tests.conftest import Run

QUESTION = "What is 17 + 25?"

if not hasattr(os, "RWF_NOWAIT"):
    pytest.skip("this system does not say what is cached", allow_module_level=True)


class TestLines:
    """In doubt, nothing is loaded."""

    @pytest.mark.parametrize(
        "line", [["run", "-m", "qwen-7b", "hi"], ["run"], ["Why is the sky blue?", "--votes", "3"]]
    )
    def test_a_prompt_begins_a_load(self, line: list[str]) -> None:
        assert is_run(line)

    @pytest.mark.parametrize(
        "line",
        [[], ["chat"], ["hello"], ["list", "run"], ["run", "--help"], ["run", "hi", "--rpc", "a:1"], ["--version"]],
    )
    def test_other_lines_begin_none(self, line: list[str]) -> None:
        assert not is_run(line)

    @pytest.mark.parametrize(
        ("line", "model"),
        [
            (["run", "-m", "a", "hi"], "a"),
            (["run", "--model=a", "hi"], "a"),
            (["run", "-m", "a", "--model", "b", "hi"], "b"),
            (["run", "hi", "--", "-m", "a"], None),
            (["run", "--max-tokens", "5"], None),
        ],
    )
    def test_the_model_is_the_one_that_the_command_will_see(self, line: list[str], model: str | None) -> None:
        assert _value(line) == model

    @pytest.mark.parametrize("line", [["run", "-ma"], ["run", "-qm", "a"], ["run", "--rpc=a:1"]])
    def test_where_that_is_in_doubt_there_is_none(self, line: list[str]) -> None:
        with pytest.raises(ValueError, match=r"^-"):
            _value(line)

    def test_what_is_wrong_is_left_to_the_command(self, tmp_path: Path) -> None:
        preload(["run", "-m", str(tmp_path / "none.gguf")], {"R1_HOME": str(tmp_path)})


class TestRead:
    """What a line says about the context."""

    @pytest.mark.parametrize(
        "line",
        [
            ["run", "-m", "tiny", "--ctx", "512", "--json", "How", "many?"],
            ["run", "--ctx=512", "How", "-q", "--model=tiny", "--", "many?"],
            ["How many?", "--ctx", "512", "-m", "tiny"],
        ],
    )
    def test_settings_and_prompt(self, line: list[str]) -> None:
        assert read([*line[:1], "--no-stdin", *line[1:]]) == Line({"model": "tiny", "ctx": "512"}, "How many?")

    @pytest.mark.parametrize("more", [["-f", "a.txt"], ["--file=a.txt"], ["--jsonl"], ["--force"], ["-"], ["--", "-"]])
    def test_where_there_may_be_more_it_says_nothing(self, more: list[str]) -> None:
        assert read(["run", "--no-stdin", *more]) is None

    def test_neither_do_lines_that_read_a_pipe(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def stat_of(path: str) -> None:
            status = Path(path).stat()
            monkeypatch.setattr(os, "fstat", lambda _: status)

        stat_of(os.devnull)
        assert read(["run", "hi"]) == Line({}, "hi")
        stat_of(str(tmp_path))
        assert read(["run", "hi"]) is None


class TestCommand:
    """The real program, with a model given by its path."""

    @pytest.fixture
    def broken(self, tiny_path: Path, tmp_path: Path) -> Path:
        path = tmp_path / "broken.gguf"
        path.write_bytes(tiny_path.read_bytes())
        return path

    def test_the_model_is_the_one_that_was_begun(self, environ: dict[str, str], tiny_path: Path) -> None:
        """A load in the command itself would call `read_ahead`, which here ends the process."""
        code = (
            "import sys; import r1.fit.weights as module; module.read_ahead = lambda *_: sys.exit(99); "
            "from r1.__main__ import main; main()"
        )
        command = [sys.executable, "-c", code, "run", "-m", str(tiny_path), "--temp", "0", QUESTION]
        done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"42" in done.stdout

    @pytest.mark.parametrize("options", [["--ctx", "512"], ["--max-tokens", "900"], []])
    def test_so_is_the_context(self, environ: dict[str, str], tiny_path: Path, options: list[str]) -> None:
        """Another one, created in the command itself, here ends the process."""
        code = (
            "import sys; import r1.fit.fitted_model as module; module.Context = lambda *_: sys.exit(99); "
            "from r1.__main__ import main; main()"
        )
        command = [sys.executable, "-c", code, "run", "-m", str(tiny_path), "--temp", "0", *options, QUESTION]
        done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"42" in done.stdout

    def test_the_same_seed_gives_the_same_bytes_as_without(self, r1: Run, tiny_path: Path) -> None:
        begun = r1("run", "-m", tiny_path, "--seed", "7", QUESTION)
        whole = r1("run", "-qm", tiny_path, "--seed", "7", QUESTION)  # such a line begins no load
        assert begun.returncode == 0
        assert begun.stdout == whole.stdout

    def test_two_tokens_with_the_same_text_are_named(self, r1: Run, broken: Path) -> None:
        old, new = b"\x08\0\0\0\0\0\0\0[PAD300]", b"\x08\0\0\0\0\0\0\0[PAD301]"
        broken.write_bytes(broken.read_bytes().replace(old, new))
        done = r1("run", "-m", broken, QUESTION)
        assert done.returncode == 7
        assert b"the tokens 300 and 301 have the same text" in done.stderr
        assert done.stderr.count(b"\n") == 1

    def test_a_file_that_is_cut_short_is_refused(self, r1: Run, broken: Path) -> None:
        broken.write_bytes(broken.read_bytes()[:1_000_000])
        done = r1("run", "-m", broken, "--json", QUESTION)
        assert done.returncode == 7
        assert done.stdout.startswith(b'{"error": ')
        assert b"cut short" in done.stderr

    def test_what_is_no_distill_is_refused(self, r1: Run, broken: Path) -> None:
        broken.write_bytes(broken.read_bytes().replace(b"\x07\0\0\0\0\0\0\0<think>", b"\x07\0\0\0\0\0\0\0<thinx>"))
        done = r1("run", "-m", broken, QUESTION)
        assert done.returncode == 7
        assert b"lacks <think>" in done.stderr

    @pytest.mark.parametrize(
        ("option", "reason"),
        [("--bogus", b"no such option"), ("--ctx=999999", b"too long"), ("--device=gpu", b"no GPU")],
    )
    def test_a_refusal_stays_one_line(self, r1: Run, tiny_path: Path, option: str, reason: bytes) -> None:
        done = r1("run", "-m", tiny_path, option, QUESTION)
        assert done.returncode == 2
        assert reason in done.stderr
        assert done.stderr.count(b"\n") == 1

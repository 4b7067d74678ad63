"""`r1.conversion`: where a result goes, and how it is reported."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from r1.conversion import QuantizeOptions, Result, convert, print_result
from r1.library import find_source, open_store
from r1.render.progress_line import Report
from r1_quantize.errors import UsageError
from tests.fakes.consoles import console, written


class TestConvert:
    """Into the store under the source's name, or into the file that was named."""

    def test_the_store_keeps_a_manifest_and_a_file_elsewhere_has_none(self, tmp_path: Path) -> None:
        made = console(environ={"R1_HOME": str(tmp_path / "home")})
        store = open_store(made.environ)
        source = find_source(store, "tiny")
        convert(made, store, source, "Q8_0", "nothing")
        convert(made, store, source, "Q8_0", "nothing", tmp_path / "out.gguf")
        assert store.path("tiny", "Q8_0").read_bytes() == (tmp_path / "out.gguf").read_bytes()
        assert store.manifest_path("tiny", "Q8_0").is_file()
        assert not list(tmp_path.glob("out*.json"))

    @pytest.mark.parametrize(
        ("output", "problem"),
        [
            ("", "a folder; -o takes the file to write"),
            ("pipe", "not a regular file"),
            ("home/models/x.gguf", "in the store"),
            ("none/x.gguf", "is not a folder; create it first"),
            ("-", "not a regular file; a model is not written front to back, so write a file and copy that"),
            ("/dev/null", "not a regular file"),
            ("/dev/full", "not a regular file"),
            ("/dev/stdout/x", "is not a folder"),
            ("loop", "a link that leads to itself"),
            ("x" * 300, "File name too long"),
            ("dangling/x.gguf", "is not a folder"),
        ],
    )
    def test_an_output_that_cannot_be_written_is_refused(self, tmp_path: Path, output: str, problem: str) -> None:
        (tmp_path / "home" / "models").mkdir(parents=True)
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "loop").symlink_to("loop")
        (tmp_path / "dangling").symlink_to("nowhere")
        made = console(environ={"R1_HOME": str(tmp_path / "home")})
        store = open_store(made.environ)
        with pytest.raises(UsageError, match=problem):
            convert(
                made,
                store,
                find_source(store, "tiny"),
                "Q8_0",
                "lines",
                Path("-") if output == "-" else tmp_path / output,
            )
        assert not list((tmp_path / "home" / "models").iterdir())

    def test_a_pipe_by_the_name_of_its_descriptor_is_refused(self, tmp_path: Path) -> None:
        """As in `r1 quantize -o /dev/stdout | …`: the link leads to a name that does not exist."""
        reading, writing = os.pipe()
        made = console(environ={"R1_HOME": str(tmp_path)})
        store = open_store(made.environ)
        try:
            with pytest.raises(UsageError, match="not a regular file"):
                convert(made, store, find_source(store, "tiny"), "Q8_0", "lines", Path(f"/dev/fd/{writing}"))
        finally:
            os.close(reading)
            os.close(writing)

    def test_a_relative_output_in_a_deleted_folder_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = console(environ={"R1_HOME": str(tmp_path / "home")})
        store = open_store(made.environ)
        source = find_source(store, "tiny")
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        with pytest.raises(UsageError, match="the current folder was deleted"):
            convert(made, store, source, "Q8_0", "lines", Path("x.gguf"))

    def test_an_unknown_pretokenizer_is_refused(self, tmp_path: Path) -> None:
        made = console(environ={"R1_HOME": str(tmp_path)})
        store = open_store(made.environ)
        options = QuantizeOptions(pretokenizer="nonsense")
        with pytest.raises(UsageError, match="nonsense"):
            convert(made, store, find_source(store, "tiny"), "Q8_0", "lines", options=options)


class TestPrintResult:
    """One result for people, scripts and JSON."""

    PATH = Path("/models/my model/Q8_0.gguf")

    def test_a_terminal_gets_the_command_that_runs_it(self) -> None:
        made = console(stdout_is_terminal=True)
        print_result(made, "lines", Result("my model:Q8_0", self.PATH, 2_709_408, seconds=245))
        assert written(made.stdout) == "my model:Q8_0: 2.71 MB in 4 min 5 s; r1 run -m 'my model:Q8_0'\n"

    def test_a_pipe_gets_three_columns(self) -> None:
        made = console()
        print_result(made, "lines", Result("tiny:Q8_0", self.PATH, 12, seconds=245))
        assert written(made.stdout) == f"tiny:Q8_0\t12\t{self.PATH}\n"

    def test_json_is_one_line(self) -> None:
        made = console()
        print_result(made, "json", Result("tiny:Q8_0", self.PATH, 12, event="present"))
        facts = {"event": "present", "reference": "tiny:Q8_0", "path": str(self.PATH), "bytes": 12}
        assert json.loads(written(made.stdout)) == {**facts, "missing_tokens": []}
        assert written(made.stdout).count("\n") == 1

    def test_quiet_keeps_the_result(self) -> None:
        made = console()
        print_result(made, "nothing", Result("tiny:Q8_0", self.PATH, 12))
        assert (written(made.stdout), written(made.stderr)) == (f"tiny:Q8_0\t12\t{self.PATH}\n", "")

    @pytest.mark.parametrize("report", ["lines", "json", "nothing"])
    def test_a_model_that_r1_cannot_run_is_announced_everywhere(self, report: Report) -> None:
        made = console(stdout_is_terminal=True)
        print_result(made, report, Result("other:Q8_0", self.PATH, 12, missing_tokens=("<think>", "</think>")))
        warning = "r1 cannot run it: it is no DeepSeek-R1 distill, as its vocabulary lacks <think>, </think>"
        assert written(made.stderr) == f"r1: other:Q8_0: {warning}\n"
        assert "r1 run" not in written(made.stdout)
        if report == "json":
            assert json.loads(written(made.stdout))["missing_tokens"] == ["<think>", "</think>"]

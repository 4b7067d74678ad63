"""`r1.commands.pull`: the built-in model, and options that do not go together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from r1_quantize.errors import ExitStatus, UsageError
from r1_quantize.hub.pull_options import PullOptions
from tests.cli.commands.pulls import Puller, puller


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Puller]:
    """An empty home, and a hub without anything."""
    (tmp_path / "served").mkdir()
    with puller(tmp_path / "served", tmp_path) as made:
        yield made
        assert not made.hub.requests


class TestBuiltIn:
    """The built-in model is made from the package; `pull` says so, and where it is."""

    def path(self, made: Puller, quant: str = "Q8_0") -> Path:
        return made.store.path("tiny", quant)

    def test_on_a_terminal(self, made: Puller) -> None:
        for _ in range(2):  # made, then here already
            assert made.run("tiny", terminal=True) == ExitStatus.OK
            assert (
                f"r1: tiny:Q8_0 is built in, so nothing is downloaded; its file is {self.path(made)}\n" in made.stderr
            )
            assert made.stdout.startswith("tiny:Q8_0: 2.71 MB")
        assert self.path(made).is_file()

    def test_in_a_pipe(self, made: Puller) -> None:
        for _ in range(2):
            made.run("tiny:q4-0")
            path = self.path(made, "Q4_0")
            assert made.stdout == f"tiny:Q4_0\t{path.stat().st_size}\t{path}\n"
        assert made.stderr == ""

    def test_for_scripts(self, made: Puller) -> None:
        for kind in ("finished", "present"):
            made.run("tiny", report="json")
            (event,) = made.events
            assert (event["event"], event["path"]) == (kind, str(self.path(made)))

    def test_a_dry_run(self, made: Puller) -> None:
        dry = PullOptions(dry_run=True)
        made.run("tiny", dry)
        assert made.stdout.splitlines()[0] == "tiny:Q8_0"
        assert f"{self.path(made)}, not made yet" in made.stdout
        made.run("tiny", dry, report="json")
        (event,) = made.events
        assert (event["event"], event["built_in"], event["bytes_to_fetch"]) == ("plan", True, 0)
        assert (event["path"], event["here"]) == (str(self.path(made)), False)
        assert not made.store.root.exists()


class TestRefusals:
    """Options that cannot have an effect are refused before anything is requested."""

    @pytest.mark.parametrize(
        ("reference", "options", "prebuilt", "said"),
        [
            ("tiny", PullOptions(), True, "tiny is built in, .*; leave --prebuilt out"),
            ("tiny", PullOptions(tensor_types=("a=F16",)), False, "tiny is built in .*; leave --tensor-type out"),
            ("qwen-7b", PullOptions(pretokenizer="qwen2"), True, "leave --prebuilt or --pretokenizer out"),
            ("hf:a/b/c-Q8_0.gguf", PullOptions(imatrix=Path("x")), False, "c-Q8_0.gguf is .*; leave --imatrix out"),
            ("qwen-7b", PullOptions(tensor_types=("a",)), False, "expected PATTERN=TYPE"),
            ("qwen-7b", PullOptions(pretokenizer="gpt9"), False, "unknown --pretokenizer 'gpt9'"),
            (None, PullOptions(), False, "no MODEL given"),
        ],
    )
    def test_usage(self, made: Puller, reference: str | None, options: PullOptions, prebuilt: bool, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            made.run(reference, options, prebuilt=prebuilt)

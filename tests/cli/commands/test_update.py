"""`r1.commands.update`: what `r1 pull --update` does to each model, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from r1_quantize.errors import ExitStatus, ModelNotFound, UsageError
from r1_quantize.hub.pull_options import PullOptions
from tests.cli.commands.pulls import LATER, PLAIN, REPO, Puller, puller
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape
from tests.fakes.hub import COMMIT, Fault
from tests.fakes.quantizer import write_imatrix

UPDATE = PullOptions(update=True, threads=1)
Q8, F16 = "qwen-1.5b:Q8_0", "qwen-1.5b:F16"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    checkpoints.write(root / REPO)
    return root


@pytest.fixture
def pulled(served: Path, tmp_path: Path) -> Iterator[Puller]:
    """Two types of a model have been pulled."""
    with puller(served, tmp_path) as made:
        for reference in (Q8, F16):
            made.run(reference, PullOptions(threads=1))
        yield made


def move_on(made: Puller) -> None:
    """The hub has a newer commit."""
    made.hub.snapshots, made.hub.main = {LATER: made.hub.root}, LATER


class TestEvents:
    """With --json each model has an event, and the last event sums up."""

    def test_up_to_date(self, pulled: Puller) -> None:
        assert pulled.run(None, UPDATE, report="json") == ExitStatus.OK
        *models, summary = pulled.events
        assert [(event["event"], event["reference"]) for event in models] == [("present", F16), ("present", Q8)]
        assert (summary["event"], summary["up_to_date"], summary["updated"]) == ("summary", [F16, Q8], [])

    def test_updated(self, pulled: Puller) -> None:
        move_on(pulled)
        assert pulled.run(None, UPDATE, report="json") == ExitStatus.OK
        updated = [event for event in pulled.events if event["event"] == "updated"]
        commits = {"from_commit": COMMIT, "to_commit": LATER}
        assert updated == [{"event": "updated", "reference": name, **commits} for name in (F16, Q8)]
        assert pulled.events[-1]["updated"] == [F16, Q8]
        assert {str(model.manifest and model.manifest.revision) for model in pulled.store.models()} == {LATER}

    def test_a_dry_run_changes_nothing(self, pulled: Puller) -> None:
        move_on(pulled)
        pulled.run(None, replace(UPDATE, dry_run=True), report="json")
        assert [event["event"] for event in pulled.events] == ["plan", "outdated", "plan", "outdated", "summary"]
        assert pulled.events[-1]["outdated"] == [F16, Q8]
        assert {str(model.manifest and model.manifest.revision) for model in pulled.store.models()} == {COMMIT}

    def test_a_failure_does_not_stop_the_others_and_the_worst_status_is_returned(self, pulled: Puller) -> None:
        move_on(pulled)
        path = pulled.store.manifest_path("qwen-1.5b", "F16")
        path.write_text(path.read_text().replace(REPO, "deepseek-ai/gone"))
        assert pulled.run(None, UPDATE, report="json") == 4
        failed, *_, summary = pulled.events
        assert (failed["event"], failed["reference"], failed["exit_code"]) == ("failed", F16, 4)
        assert "deepseek-ai/gone is not on the hub" in failed["error"]
        assert (summary["failed"], summary["updated"]) == ([F16], [Q8])
        pulled.hub.faults = [Fault("*", "status", -1, status=503)]
        assert pulled.run(None, UPDATE) == ExitStatus.NETWORK
        assert f"r1: {Q8}: the hub answered 503 (3 attempts); run it again to resume" in pulled.stderr

    def test_one_model_by_name(self, pulled: Puller) -> None:
        move_on(pulled)
        pulled.run(Q8, UPDATE, report="json")
        assert pulled.events[-1] == {
            "event": "updated",
            "reference": Q8,
            "from_commit": COMMIT,
            "to_commit": LATER,
        }


class TestOwnNames:
    """A model with a name of its own is pulled and updated by that name, as `r1 list` shows it."""

    def test_by_its_name(self, served: Path, tmp_path: Path) -> None:
        with puller(served, tmp_path) as made:
            made.run(f"hf:{REPO}:Q8_0", PullOptions(name="mine", threads=1))
            for reference in ("mine", "mine:q8_0"):
                made.run(reference, PLAIN, report="json")
                assert [(event["event"], event["reference"]) for event in made.events] == [("present", "mine:Q8_0")]
            made.run("mine:f16", PullOptions(threads=1))
            assert made.stdout.startswith("mine:F16\t")
            assert {str(model.manifest and model.manifest.source) for model in made.store.models()} == {REPO}
            move_on(made)
            made.run("mine:Q8_0", UPDATE, report="json")
            assert (made.events[-1]["event"], made.events[-1]["reference"]) == ("updated", "mine:Q8_0")

    def test_one_that_is_not_from_the_hub(self, served: Path, tmp_path: Path, tiny_path: Path) -> None:
        with puller(served, tmp_path) as made:
            path = made.store.path("mine", "Q8_0")
            path.parent.mkdir(parents=True)
            path.write_bytes(tiny_path.read_bytes())
            with pytest.raises(UsageError, match="mine:Q8_0 is here, but did not come from the hub"):
                made.run("mine", UPDATE)
            with pytest.raises(UsageError, match="mine:Q8_0 is here, but"):
                made.run("mine:F16", UPDATE)
            with pytest.raises(ModelNotFound, match="unknown model 'min'"):
                made.run("min", UPDATE)


class TestWords:
    """People read a line about each model and one that sums up; scripts get only the results and what is wrong."""

    def test_on_a_terminal(self, pulled: Puller) -> None:
        pulled.run(None, UPDATE, terminal=True)
        for name in (F16, Q8):
            assert f"r1: {name} is up to date" in pulled.stderr
        assert "r1: nothing to update: 2 up to date" in pulled.stderr
        move_on(pulled)
        pulled.run(Q8, UPDATE, terminal=True)
        assert f"r1: {Q8} is updated from commit {COMMIT[:12]} to {LATER[:12]}" in pulled.stderr
        pulled.run(None, UPDATE, terminal=True)
        assert "r1: 1 updated, 1 up to date" in pulled.stderr

    def test_in_a_pipe(self, pulled: Puller) -> None:
        pulled.run(None, UPDATE)
        assert pulled.stderr == ""
        lines = [line.split("\t") for line in pulled.stdout.splitlines()]
        assert [line[0] for line in lines] == [F16, Q8]
        assert all(Path(path).stat().st_size == int(size) for _, size, path in lines)

    def test_an_empty_store(self, served: Path, tmp_path: Path) -> None:
        with puller(served, tmp_path) as made:
            assert made.run(None, UPDATE, terminal=True) == ExitStatus.OK
            assert "r1: nothing to update: no model here came from the hub" in made.stderr
            made.run(None, UPDATE, report="json")
        assert made.events == [
            {"event": "summary", "updated": [], "outdated": [], "up_to_date": [], "skipped": [], "failed": []}
        ]


class TestOptions:
    """A model is made again as it was made; where that is impossible it is skipped, and the reason is said."""

    def test_types_of_tensors_are_used_again(self, served: Path, tmp_path: Path) -> None:
        with puller(served, tmp_path) as made:
            made.run(Q8, PullOptions(tensor_types=("ffn_down=F16",), threads=1))
            move_on(made)
            made.run(None, UPDATE, report="json")
        (model,) = made.store.models()
        assert model.manifest is not None
        assert (model.manifest.revision, model.manifest.tensor_types) == (LATER, ["ffn_down=F16"])

    def test_an_importance_matrix_is_not_kept(self, served: Path, tmp_path: Path) -> None:
        imatrix = write_imatrix(tmp_path / "some.imatrix", Shape())
        with puller(served, tmp_path) as made:
            made.run("qwen-1.5b:Q4_K_M", PullOptions(imatrix=imatrix, threads=1))
            move_on(made)
            assert made.run(None, UPDATE) == ExitStatus.OK
            advice = "which is not kept; update it with: r1 pull --update qwen-1.5b:Q4_K_M --imatrix FILE"
            reason = f"it was made with an importance matrix, {advice}"
            assert made.stderr == f"r1: qwen-1.5b:Q4_K_M is skipped: {reason}\n"
            made.run(None, UPDATE, report="json")
            assert made.events[0] == {"event": "skipped", "reference": "qwen-1.5b:Q4_K_M", "reason": reason}
            with pytest.raises(UsageError, match=advice):
                made.run("qwen-1.5b:Q4_K_M", UPDATE)
            made.run("qwen-1.5b:Q4_K_M", replace(UPDATE, imatrix=imatrix), report="json")
            assert made.events[-1]["event"] == "updated"

    @pytest.mark.parametrize(
        ("options", "name"),
        [
            (replace(UPDATE, tensor_types=("a=F16",)), "--tensor-type"),
            (replace(UPDATE, imatrix=Path("x")), "--imatrix"),
            (replace(UPDATE, pretokenizer="qwen2"), "--pretokenizer"),
            (replace(UPDATE, name="x"), "--name"),
        ],
    )
    def test_options_for_one_model(self, served: Path, tmp_path: Path, options: PullOptions, name: str) -> None:
        with (
            puller(served, tmp_path) as made,
            pytest.raises(UsageError, match=f"{name} is for one model; name the MODEL"),
        ):
            made.run(None, options)

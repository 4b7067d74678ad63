"""`r1_quantize.hub.pull_options`: which model was made with which options, and how to make it again."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from r1_quantize.errors import BadFile, UsageError
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.store.manifest import Manifest
from tests.fakes.checkpoints import Shape
from tests.fakes.quantizer import write_imatrix
from tests.quantize.store.test_manifest import MANIFEST


@pytest.fixture(scope="module")
def imatrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_imatrix(tmp_path_factory.mktemp("imatrix") / "some.imatrix", Shape())


def recorded(*, imatrix: Path | None = None, types: tuple[str, ...] = (), pretokenizer: str | None = None) -> Manifest:
    """The manifest of a model that was made with these options."""
    digest = sha256(imatrix.read_bytes()).hexdigest() if imatrix else None
    return replace(MANIFEST, imatrix_sha256=digest, tensor_types=list(types), pretokenizer=pretokenizer)


class TestCheck:
    """Bad options are refused before anything is downloaded."""

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (PullOptions(tensor_types=("ffn_down",)), "--tensor-type 'ffn_down': expected PATTERN=TYPE"),
            (PullOptions(tensor_types=("(=Q6_K",)), "not a regular expression"),
            (PullOptions(pretokenizer="gpt-9"), "unknown --pretokenizer 'gpt-9'"),
            (PullOptions(imatrix=Path("/gone")), "--imatrix /gone: No such file"),
        ],
    )
    def test_a_bad_one(self, options: PullOptions, said: str) -> None:
        with pytest.raises(UsageError) as caught:
            options.check()
        assert said in str(caught.value)

    def test_a_file_that_is_no_importance_matrix(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"nonsense" * 10)
        with pytest.raises(BadFile):
            PullOptions(imatrix=tmp_path / "x").check()

    def test_good_ones(self, imatrix: Path) -> None:
        options = PullOptions(imatrix=imatrix, tensor_types=("a=Q6_K", "b=F16"), pretokenizer="qwen2")
        options.check()
        assert options.for_quantizing == ["--imatrix", "--tensor-type", "--pretokenizer"]
        assert PullOptions(dry_run=True, threads=3, name="x").for_quantizing == []


class TestMade:
    """Whether a model was made with these options."""

    def test_without_options_any_model_will_do(self, imatrix: Path) -> None:
        for manifest in (None, MANIFEST, recorded(imatrix=imatrix, types=("a=F16",))):
            assert PullOptions().made(manifest)

    def test_but_not_for_an_update(self) -> None:
        assert PullOptions(update=True).made(MANIFEST)
        assert not PullOptions(update=True).made(recorded(types=("a=F16",)))

    def test_the_same_options(self, imatrix: Path) -> None:
        options = PullOptions(imatrix=imatrix, tensor_types=("ffn=q6_k",), pretokenizer="qwen2")
        manifest = recorded(imatrix=imatrix, types=("ffn=Q6_K",), pretokenizer="qwen2")
        assert options.made(manifest)
        assert not options.made(replace(manifest, pretokenizer=None))
        assert not options.made(replace(manifest, tensor_types=["ffn=Q6_K", "attn=Q6_K"]))
        assert not options.made(replace(manifest, imatrix_sha256="0" * 64))
        assert not options.made(None)


class TestLike:
    """An update makes a model again as it was made, unless other options are given."""

    def test_recorded_options_are_used_again(self) -> None:
        manifest = recorded(types=("ffn=Q6_K",), pretokenizer="qwen2")
        assert PullOptions(update=True).like(manifest).made(manifest)
        given = PullOptions(update=True, tensor_types=("a=F16",)).like(manifest)
        assert (given.tensor_types, given.pretokenizer) == (("a=F16",), "qwen2")

    def test_an_importance_matrix_must_be_given_again(self, imatrix: Path) -> None:
        manifest = recorded(imatrix=imatrix)
        with pytest.raises(UsageError, match=r"r1 pull --update qwen-7b:Q4_K_M --imatrix FILE$"):
            PullOptions(update=True).like(manifest)
        assert PullOptions(update=True, imatrix=imatrix).like(manifest).made(manifest)

    def test_a_model_without_a_record(self) -> None:
        assert PullOptions(update=True).like(None) == PullOptions(update=True)

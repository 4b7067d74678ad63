"""Which models there are, and which of them a client's name means."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from r1.library import look_up, open_store
from r1.serve.served_models import ServedModels
from r1_quantize.errors import BadGGUF, ModelNotFound, UsageError
from tests.fakes.homes import write_full_home


@pytest.fixture(scope="module")
def full(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny, and qwen-7b in two types."""
    return write_full_home(home, tmp_path_factory.mktemp("full") / "home")


@pytest.fixture
def environ(full: Path) -> dict[str, str]:
    return {"R1_HOME": str(full)}


@pytest.fixture
def models(environ: dict[str, str]) -> ServedModels:
    return ServedModels(environ, None)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "full_name"),
        [
            ("tiny", "tiny:Q8_0"),
            ("tiny:Q8_0", "tiny:Q8_0"),
            ("tiny:q8_0", "tiny:Q8_0"),
            ("tiny:latest", "tiny:Q8_0"),
            ("qwen-7b", "qwen-7b:Q4_K_M"),  # the catalogue's default type
            ("qwen-7b:latest", "qwen-7b:Q4_K_M"),
            ("qwen-7b:Q8_0", "qwen-7b:Q8_0"),
            ("qwen-7b:q4_k_m", "qwen-7b:Q4_K_M"),
            # https://ollama.com/library/deepseek-r1/tags
            ("deepseek-r1", "qwen-7b:Q4_K_M"),
            ("deepseek-r1:latest", "qwen-7b:Q4_K_M"),
            ("deepseek-r1:7b", "qwen-7b:Q4_K_M"),
            ("deepseek-r1:7b-qwen-distill-q4_K_M", "qwen-7b:Q4_K_M"),
            # https://huggingface.co/deepseek-ai
            ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "qwen-7b:Q4_K_M"),
            ("hf.co/unsloth/DeepSeek-R1-Distill-Qwen-7B-GGUF", "qwen-7b:Q4_K_M"),
        ],
    )
    def test_of_what_is_here(self, models: ServedModels, name: str, full_name: str) -> None:
        assert models.full_name(name) == full_name
        assert models.get(full_name).name == full_name

    @pytest.mark.parametrize("name", ["gpt-4o", "qwen", "Q8_0", ":", ":Q8_0", " "])
    def test_unknown_ones_are_told_what_is_here(self, models: ServedModels, name: str) -> None:
        with pytest.raises(ModelNotFound) as caught:
            models.full_name(name)
        for known in ("tiny:Q8_0", "qwen-7b:Q4_K_M", "qwen-7b:Q8_0"):
            assert known in str(caught.value)

    @pytest.mark.parametrize("name", ["qwen-1.5b", "qwen-7b:Q6_K", "tiny:Q4_K_M", "deepseek-r1:8b", "llama-8b"])
    def test_those_that_are_known_and_not_here(self, models: ServedModels, name: str) -> None:
        """Also where a pull was broken off."""
        with pytest.raises(ModelNotFound, match=r"r1 pull|tiny:Q8_0"):
            models.full_name(name)

    def test_no_path_is_a_name(self, models: ServedModels, full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client must not find out what is on the disk, let alone have it loaded."""
        path = full / "models" / "tiny" / "Q8_0.gguf"
        monkeypatch.chdir(path.parent)
        shutil.copy(path, full / "qwen-7b.gguf")
        there = [str(path), os.path.relpath(path), "Q8_0.gguf", "./Q8_0.gguf", "../tiny/Q8_0.gguf", f"file://{path}"]
        absent = [str(path.with_name("none.gguf")), "none.gguf", "/etc/passwd", "../../models.toml", "~/x.gguf"]
        problems = set()
        for name in (*there, *absent, "tiny/../tiny", "tiny:../tiny/Q8_0", "tiny:Q8_0/../Q8_0", "qwen-7b:Q8_0\0"):
            with pytest.raises((ModelNotFound, UsageError)) as caught:
                models.full_name(name)
            problems.add(str(caught.value).replace(repr(name), "NAME"))
        assert len({problem for problem in problems if problem.startswith("NAME")}) == 1, "it says what is on the disk"

    @pytest.mark.parametrize("name", ["x" * 100_000, "\x1b[31m", "a\nb", "\ud800", "名"])
    def test_strange_ones(self, models: ServedModels, name: str) -> None:
        with pytest.raises(ModelNotFound) as caught:
            models.full_name(name)
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()


class TestDefault:
    @pytest.mark.parametrize("name", [None, "", ":latest"])
    def test_the_one_of_the_settings(self, environ: dict[str, str], name: str | None) -> None:
        assert ServedModels(environ, "qwen-7b:Q8_0").full_name(name) == "qwen-7b:Q8_0"

    def test_without_one_the_model_that_was_made_last(self, models: ServedModels, full: Path) -> None:
        os.utime(full / "models" / "qwen-7b" / "Q8_0.gguf", (4e9, 4e9))
        assert models.full_name(None) == "qwen-7b:Q8_0"

    def test_with_nothing_else_the_built_in_one(self, home: Path) -> None:
        assert ServedModels({"R1_HOME": str(home)}, None).full_name(None) == "tiny:Q8_0"


class TestAll:
    def test_in_the_order_of_r1_list(self, models: ServedModels) -> None:
        assert [each.name for each in models.all()] == ["qwen-7b:Q4_K_M", "qwen-7b:Q8_0", "tiny:Q8_0"]

    def test_the_built_in_one_is_there_before_it_was_made(self, tmp_path: Path) -> None:
        models = ServedModels({"R1_HOME": str(tmp_path / "new")}, None)
        assert [each.name for each in models.all()] == ["tiny:Q8_0"]
        assert models.get("tiny:Q8_0").stored.path.is_file()

    def test_one_that_comes_is_there_and_one_that_goes_is_not(self, home: Path, tmp_path: Path) -> None:
        own = shutil.copytree(home, tmp_path / "own")
        models = ServedModels({"R1_HOME": str(own)}, None)
        (own / "models" / "twin").mkdir()
        twin = shutil.copy(own / "models" / "tiny" / "Q8_0.gguf", own / "models" / "twin" / "Q8_0.gguf")
        assert models.full_name("twin") == "twin:Q8_0"
        Path(twin).unlink()
        with pytest.raises(ModelNotFound):
            models.full_name("twin")
        with pytest.raises(ModelNotFound):
            models.get("twin:Q8_0")


class TestHeader:
    def test_what_it_tells(self, models: ServedModels) -> None:
        """As https://github.com/ggml-org/ggml/blob/master/docs/gguf.md names it."""
        tiny = models.get("tiny:Q8_0")
        assert tiny.header["general.architecture"] == "qwen2"
        assert tiny.facts.context_length == tiny.header["qwen2.context_length"] == 2048
        assert tiny.facts.parameters > 100_000
        assert tiny.checkpoint is not None
        assert tiny.checkpoint.name == "tiny"

    def test_of_a_damaged_file(self, home: Path, tmp_path: Path) -> None:
        own = shutil.copytree(home, tmp_path / "own")
        models = ServedModels({"R1_HOME": str(own)}, None)
        (own / "models" / "bad").mkdir()
        path = own / "models" / "bad" / "Q8_0.gguf"
        path.write_bytes(b"no GGUF at all")
        bad = models.get("bad:Q8_0")
        for read in ("header", "facts"):
            with pytest.raises(BadGGUF, match=r"^bad:Q8_0: "):
                getattr(bad, read)
        assert (bad.context_within(None), bad.context_within(512)) == (None, 512)
        shutil.copy(own / "models" / "tiny" / "Q8_0.gguf", path)
        assert models.get("bad:Q8_0").context_within(None) == 2048, "a file that was repaired is read again"


class TestPinned:
    @pytest.fixture
    def pinned(self, environ: dict[str, str]) -> ServedModels:
        return ServedModels(environ, "tiny", look_up(open_store(environ), "qwen-7b:Q8_0"))

    @pytest.mark.parametrize("name", [None, "", "qwen-7b:Q8_0", "tiny", "gpt-4o", "/etc/passwd", "x" * 1000])
    def test_whatever_a_client_names(self, pinned: ServedModels, name: str | None) -> None:
        assert pinned.full_name(name) == "qwen-7b:Q8_0"

    def test_it_alone_is_there(self, pinned: ServedModels) -> None:
        assert [each.name for each in pinned.all()] == ["qwen-7b:Q8_0"]
        assert pinned.get("qwen-7b:Q8_0").context_within(None) == 2048

    def test_the_catalogue_knows_it(self, pinned: ServedModels) -> None:
        checkpoint = pinned.get("qwen-7b:Q8_0").checkpoint
        assert checkpoint is not None
        assert checkpoint.licences

    def test_of_one_outside_the_store_the_name_and_not_the_path(self, environ: dict[str, str], tmp_path: Path) -> None:
        path = tmp_path / "private" / "My-Model-Q8_0.gguf"
        path.parent.mkdir()
        shutil.copy(Path(environ["R1_HOME"]) / "models" / "tiny" / "Q8_0.gguf", path)
        models = ServedModels(environ, None, look_up(open_store(environ), str(path)))
        name = models.full_name(None)
        assert "private" not in name
        assert "/" not in name
        assert models.get(name).context_within(None) == 2048

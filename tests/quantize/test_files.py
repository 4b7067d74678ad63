"""`r1_quantize.files`: small files are there whole or not at all."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from r1_quantize.errors import R1Error
from r1_quantize.files import remove_file, write_atomically
from tests.quantize.conftest import names_in
from tests.quantize.test_writer import at_most_bytes_a_file


class TestWrite:
    """The text is there under its name, and nothing beside it."""

    @pytest.mark.parametrize("text", ["", "a\n", "ä│模型\U0001f40b\n", "x" * 3_000_000])
    def test_is_what_was_written(self, tmp_path: Path, text: str) -> None:
        write_atomically(tmp_path / "a.json", text)
        assert (tmp_path / "a.json").read_bytes() == text.encode() or sys.platform == "win32"
        assert names_in(tmp_path) == ["a.json"]

    def test_takes_the_place_of_an_older_one(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("older and longer")
        write_atomically(tmp_path / "a.json", "new")
        assert (tmp_path / "a.json").read_text() == "new"

    def test_bytes_of_a_name_that_are_no_text_stay_json(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"mod\xffel")
        write_atomically(tmp_path / "a.json", json.dumps({"source": name}, ensure_ascii=False))
        assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"source": name}

    def test_what_an_interrupted_run_left_is_in_nobodys_way(self, tmp_path: Path) -> None:
        (tmp_path / "a.json.partial").write_text("half")
        write_atomically(tmp_path / "a.json", "new")
        assert names_in(tmp_path) == ["a.json"]

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    @pytest.mark.parametrize("name", ["a.json", "a.json.partial"])
    def test_a_link_that_leads_elsewhere_is_not_followed(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "victim").write_text("mine")
        (tmp_path / name).symlink_to(tmp_path / "victim")
        write_atomically(tmp_path / "a.json", "new")
        assert (tmp_path / "victim").read_text() == "mine"
        assert (tmp_path / "a.json").read_text() == "new"
        assert not (tmp_path / "a.json").is_symlink()


class TestTrouble:
    """What cannot be written leaves the older file as it was, and is one line with its name."""

    def failed(self, path: Path, text: str = "new") -> None:
        with pytest.raises(R1Error) as caught:
            write_atomically(path, text)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)

    def test_a_full_disk(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("older")
        with at_most_bytes_a_file(1000):
            self.failed(tmp_path / "a.json", "x" * 2000)
        assert (tmp_path / "a.json").read_text() == "older"

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        self.failed(tmp_path / "none" / "a.json")

    @pytest.mark.parametrize("name", ["a.json", "a.json.partial"])
    def test_a_folder_in_its_place(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).mkdir()
        self.failed(tmp_path / "a.json")


class TestRemove:
    """Afterwards it is not there."""

    def test_whether_it_was_or_not(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("x")
        for _ in range(2):
            remove_file(tmp_path / "a")
            assert names_in(tmp_path) == []

    def test_a_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        with pytest.raises(R1Error, match=r"/a: "):
            remove_file(tmp_path / "a")
        assert names_in(tmp_path) == ["a"]

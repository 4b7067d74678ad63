"""`r1 history` in pipes: exact text, tabs between columns, or JSON."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from r1.kv_store.kv_folder import KvFolder
from tests.conftest import Run, printed
from tests.fakes.in_process import run_here


class TestWithoutChats:
    """Before the first chat a person reads one line that says so, a script nothing, and nothing is created."""

    @pytest.mark.parametrize("arguments", [[], ["list"], ["search", "x"]], ids=repr)
    def test_there_is_nothing_to_list(self, history: Run, chats_home: Path, arguments: list[str]) -> None:
        done = history(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        done = history(*arguments, "--json")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"[]\n", b"")
        assert not chats_home.exists()

    @pytest.mark.parametrize("arguments", [[], ["list", "--json"], ["search", "x"], ["delete", "--all"]], ids=repr)
    def test_a_person_is_told(self, environ: dict[str, str], arguments: list[str]) -> None:
        said = "there are no chats to delete" if "delete" in arguments else "no chats yet; `r1` starts one"
        done = run_here("history", *arguments, environ=environ | {"TERM": "dumb"}, stderr_is_terminal=True)
        assert (done.returncode, done.stderr.decode()) == (0, f"r1: {said}\n")

    @pytest.mark.parametrize("arguments", [["show", "1"], ["delete", "1"], ["export", "1", "-"]], ids=repr)
    def test_there_is_nothing_to_show(self, history: Run, arguments: list[str]) -> None:
        done = history(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (4, b"", b"r1: no chats yet; `r1` starts one\n")

    def test_there_is_nothing_to_delete(self, history: Run, chats_home: Path) -> None:
        done = history("delete", "--all", "-y")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert not chats_home.exists()


@pytest.mark.usefixtures("chats")
class TestScripts:
    """The formats for scripts."""

    def test_the_list_is_newest_first(self, history: Run) -> None:
        lines = [line.split("\t") for line in printed(history()).splitlines()]
        assert [(line[0], *line[2:]) for line in lines] == [
            ("3", "1", "tiny:Q8_0", "草莓里有几个字母？"),
            ("2", "1", "qwen-7b:Q4_K_M", "Cut off?"),
            ("1", "2", "tiny:Q8_0", "Does wood float?"),
        ]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", line[1]) for line in lines)
        assert history("list").stdout == history().stdout

    def test_the_list_as_json(self, history: Run) -> None:
        newest, *others = json.loads(printed(history("list", "--json")))
        assert history("--json").stdout == history("list", "--json").stdout
        assert len(others) == 2
        assert {key: newest[key] for key in ("id", "turns", "model", "title")} == {
            "id": 3, "turns": 1, "model": "tiny:Q8_0", "title": "草莓里有几个字母？",
        }  # fmt: skip
        assert datetime.fromisoformat(newest["updated"]).tzinfo is not None

    def test_a_search_names_the_place_of_each_hit(self, history: Run) -> None:
        assert printed(history("search", "WOOD")) == "1\t1\tquestion\tDoes wood float?\n"
        assert printed(history("search", "几个")) == "3\t1\tquestion\t草莓里有几个字母？\n"
        assert printed(history("search", "duck")) == "1\t1\tfile\tnotes.txt A duck.\n"
        assert printed(history("search", "does", "yes")) == "1\t1\tanswer\tYes, it does.\n"
        assert printed(history("search", "it does")) == "1\t1\tanswer\tYes, it does.\n"
        assert printed(history("search", "does it")) == ""
        (hit,) = json.loads(printed(history("search", "--json", "wait")))
        assert (hit["id"], hit["number"], hit["where"], hit["spans"]) == (2, 1, "thinking", [[0, 4]])

    def test_a_chat_is_shown_exactly(self, history: Run) -> None:
        text = printed(history("show", "1"))
        assert re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d|\d\d:\d\d", "NOW", text) == (
            "Does wood float?\nchat 1 · NOW\n\n-- tiny:Q8_0 --\n\n"
            "[1] You, NOW\n[file: notes.txt]\nDoes wood float?\n\n[1] R1\nYes, it does.\n\n"
            "[2] You, NOW\nAnd \x1b[31mred\x1b[0m stone?\n\n[2] R1\nNo.\n\n```\n# not a heading\n```\n"
        )
        assert "[2] R1 thinking: thought for 2 s\nStone sinks.\n" in printed(history("show", "#1", "--thinking"))

    def test_a_chat_as_json_is_complete(self, history: Run) -> None:
        facts = json.loads(printed(history("show", "2", "--json", "--thinking")))
        (turn,) = facts["turns"]
        assert (turn["thinking"], turn["answer"], turn["finish_reason"], turn["usage"]) == ("Wait", "It w", None, None)
        assert (turn["model"], turn["seed"], turn["ctx"]) == ("qwen-7b:Q4_K_M", 4294967295, 2048)

    @pytest.mark.parametrize("command", ["show", "delete", "export"])
    def test_a_chat_that_does_not_exist(self, history: Run, command: str) -> None:
        done = history(command, "9", *(["-"] if command == "export" else []))
        assert (done.returncode, done.stdout) == (4, b"")
        assert done.stderr == b"r1: no chat 9; r1 history lists the chats\n"

    def test_wrong_use_names_the_right_help(self, history: Run) -> None:
        done = history("show")
        assert (done.returncode, done.stderr) == (2, b"r1: missing argument 'ID'; see r1 history show --help\n")

    def test_a_newer_file_is_refused(self, history: Run, chats: Path) -> None:
        content = bytearray(chats.read_bytes())
        content[60:64] = b"\0\0\0\x09"
        chats.write_bytes(content)
        done = history()
        assert (done.returncode, done.stdout) == (7, b"")
        assert done.stderr.endswith(b"written by a newer r1 (format 9, this one reads 2); update r1\n")


@pytest.mark.usefixtures("chats")
class TestExport:
    """A chat becomes a file; the suffix decides the format."""

    def test_markdown_and_json(self, history: Run, tmp_path: Path) -> None:
        printed(history("export", "1", tmp_path / "a.md"))
        text = (tmp_path / "a.md").read_text()
        assert text.startswith("# Does wood float?\n")
        assert "Stone sinks" not in text
        assert printed(history("export", "1", "-")) == text
        printed(history("export", "1", tmp_path / "a.JSON", "--with-thinking"))
        assert json.loads((tmp_path / "a.JSON").read_text())["turns"][1]["thinking"] == "Stone sinks."
        assert sorted(file.name for file in tmp_path.glob("a.*")) == ["a.JSON", "a.md"]

    def test_a_file_is_overwritten_only_with_force(self, history: Run, tmp_path: Path) -> None:
        target = tmp_path / "a.md"
        target.write_text("mine")
        done = history("export", "1", target)
        assert (done.returncode, target.read_text()) == (2, "mine")
        assert done.stderr.endswith(b"a.md already exists; choose another name or pass --force to overwrite it\n")
        printed(history("export", "1", target, "--force"))
        assert target.read_text().startswith("# Does")

    @pytest.mark.parametrize("name", ["a.txt", "a", "folder.md", "nowhere/a.md"])
    def test_a_target_that_cannot_be_written(self, history: Run, tmp_path: Path, name: str) -> None:
        (tmp_path / "folder.md").mkdir()
        done = history("export", "1", tmp_path / name, "--force")
        assert done.returncode in {1, 2}
        assert (done.stdout, done.stderr.count(b"\n")) == (b"", 1)

    def test_a_folder_that_does_not_exist_is_named(self, history: Run, tmp_path: Path) -> None:
        done = history("export", "1", tmp_path / "nowhere" / "a.md")
        assert (done.returncode, done.stderr.decode()) == (2, f"r1: there is no folder {tmp_path / 'nowhere'}\n")


class TestDelete:
    """Deleted chats are gone for good. In a pipe -y is required."""

    def test_only_the_named_chats_are_deleted(self, history: Run, chats: Path) -> None:
        assert printed(history("delete", "-y", "1", "#1", "3")) == "1\tDoes wood float?\n3\t草莓里有几个字母？\n"
        assert printed(history()).split("\t")[0] == "2"
        assert b"wood" not in chats.read_bytes()
        assert [file.name for file in chats.parent.iterdir()] == [chats.name]

    def test_what_was_kept_of_their_kv_caches_goes_too(self, history: Run, chats: Path) -> None:
        folder = KvFolder(chats.parent / "kv-cache", 10**6, min_free=0)
        for owner in ("", "chat 1", "chat 2", "chat 12"):
            with folder.new_file(owner, "model", 10) as path:
                path.write_text(owner)
        history("delete", "-y", "1", "3")
        assert sorted(file.path.read_text() for file in folder.files()) == ["", "chat 12", "chat 2"]
        history("delete", "-y", "--all")
        assert sorted(file.path.read_text() for file in folder.files()) == ["", "chat 12"]

    def test_a_kv_cache_that_cannot_be_removed_is_named(
        self, history: Run, chats: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = KvFolder(chats.parent / "kv-cache", 10**6, min_free=0)
        with folder.new_file("chat 1", "model", 10) as path:
            path.write_text("secret")
        (file,) = folder.files()
        monkeypatch.setattr(KvFolder, "remove", lambda *_: None)
        done = history("delete", "-y", "1")
        assert (done.returncode, done.stdout) == (2, b"1\tDoes wood float?\n")
        assert done.stderr.startswith(f"r1: cannot remove {file.path}, the KV cache of a deleted chat".encode())

    def test_what_was_deleted_as_json(self, history: Run, chats: Path) -> None:
        assert json.loads(printed(history("delete", "-y", "1", "--json"))) == [{"id": 1, "title": "Does wood float?"}]
        assert [entry["id"] for entry in json.loads(printed(history("delete", "-y", "--all", "--json")))] == [3, 2]
        assert history("delete", "-y", "--all", "--json").stdout == b"[]\n"

    def test_all_chats_are_deleted_only_with_y(self, history: Run, chats: Path) -> None:
        done = history("delete", "--all")
        assert done.returncode == 2
        assert b"Delete chat 3, " in done.stderr
        assert b"not a terminal; pass -y to confirm" in done.stderr
        assert len(printed(history("delete", "--all", "-y")).splitlines()) == 3
        assert printed(history()) == ""

    @pytest.mark.parametrize("arguments", [[], ["--all", "1"], ["1", "9"], ["x"]], ids=repr)
    def test_unclear_arguments_delete_nothing(self, history: Run, chats: Path, arguments: list[str]) -> None:
        before = chats.read_bytes()
        assert history("delete", "-y", *arguments).returncode == (4 if "9" in arguments else 2)
        assert chats.read_bytes() == before

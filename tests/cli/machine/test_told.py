"""`r1.hints`: what is said once."""

from __future__ import annotations

from pathlib import Path

from r1.hints import is_told, tell


def once(home: Path, what: str) -> bool:
    """Whether it is said now; if so, that is remembered."""
    if is_told(home, what):
        return False
    tell(home, what)
    return True


class TestOnce:
    """A person hears it, and is left in peace."""

    def test_is_once_for_each_thing(self, tmp_path: Path) -> None:
        home = tmp_path / "not" / "yet"
        assert [once(home, what) for what in ("gpu", "gpu", "disk", "gpu", "disk")] == [True, False, True, False, False]

    def test_a_part_of_a_name_is_another_thing(self, tmp_path: Path) -> None:
        assert once(tmp_path, "gpu NVIDIA")
        assert once(tmp_path, "gpu")

    def test_where_nothing_can_be_remembered_it_is_said_each_time(self, tmp_path: Path) -> None:
        home = tmp_path / "file"
        home.touch()  # no folder can be where a file is
        assert once(home, "gpu")
        assert once(home, "gpu")

    def test_a_file_of_nonsense_is_survived(self, tmp_path: Path) -> None:
        (tmp_path / "told").write_bytes(b"\xff\x00" * 100 + b"\n")
        assert once(tmp_path, "gpu")
        assert not once(tmp_path, "gpu")

"""`r1.machine.disk`: room where models lie."""

from __future__ import annotations

import importlib.util
import runpy
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from r1.machine.disk import Disk, disk, hub_cache

GB = 1_000_000_000


class TestDisk:
    """Free and total bytes."""

    def test_are_psutils(self, tmp_path: Path) -> None:
        found = disk(tmp_path)
        assert found is not None
        assert found.total == psutil.disk_usage(str(tmp_path)).total
        assert found.device == tmp_path.stat().st_dev

    def test_of_a_folder_that_is_not_there_yet_are_its_parents(self, tmp_path: Path) -> None:
        there, to_come = disk(tmp_path), disk(tmp_path / "a" / "b")
        assert there is not None
        assert to_come is not None
        assert (to_come.total, to_come.device) == (there.total, there.device)
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize(
        ("free", "total", "nearly_full"),
        [(4.9, 20, True), (5.1, 100, False), (40, 1000, True), (60, 1000, False)],  # 5 GB, or 5 %
    )
    def test_are_few_below_five_gigabytes_or_five_percent(self, free: float, total: float, nearly_full: bool) -> None:
        assert Disk(Path("x"), int(free * GB), int(total * GB), 0).is_nearly_full is nearly_full

    def test_are_labelled_as_people_write_paths(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        assert Disk(tmp_path / "data" / "r1", 1, 1, 0).label == str(Path("~/data/r1"))
        assert Disk(Path("/srv/r1"), 1, 1, 0).label == str(Path("/srv/r1"))


class TestHubCache:
    """Where huggingface_hub has it, without importing that."""

    @pytest.mark.parametrize(
        "said",
        [
            {},
            {"HF_HOME": "/data/hf"},
            {"HF_HOME": "~/hf"},
            {"HF_HOME": "$HOME/of/$USER", "USER": "me"},
            {"XDG_CACHE_HOME": "/var/cache"},
            {"HF_HUB_CACHE": "/data/hub", "HF_HOME": "/data/hf"},
            {"HUGGINGFACE_HUB_CACHE": "/old/hub"},
        ],
        ids=str,
    )
    def test_is_where_huggingface_hub_looks(
        self, said: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), **said}.items():
            monkeypatch.setenv(name, value)
        package = importlib.util.find_spec("huggingface_hub")
        assert package is not None
        assert package.origin is not None
        theirs = runpy.run_path(str(Path(package.origin).with_name("constants.py")))
        assert hub_cache(said) == Path(theirs["HF_HUB_CACHE"])

"""`r1.machine.disk`: free space where models are stored."""

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
    """Free and total bytes, and labels."""

    def test_equals_what_psutil_reports(self, tmp_path: Path) -> None:
        found = disk(tmp_path)
        assert found is not None
        assert found.total == psutil.disk_usage(str(tmp_path)).total
        assert found.device == tmp_path.stat().st_dev

    def test_a_folder_that_does_not_exist_yet_is_on_its_parents_disk(self, tmp_path: Path) -> None:
        existing, future = disk(tmp_path), disk(tmp_path / "a" / "b")
        assert existing is not None
        assert future is not None
        assert (future.total, future.device) == (existing.total, existing.device)
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize(
        ("free", "total", "nearly_full"),
        [(4.9, 20, True), (5.1, 100, False), (40, 1000, True), (60, 1000, False)],  # 5 GB, or 5 %
    )
    def test_is_nearly_full_below_five_gigabytes_or_five_percent(
        self, free: float, total: float, nearly_full: bool
    ) -> None:
        assert Disk(Path("x"), int(free * GB), int(total * GB), 0).is_nearly_full is nearly_full

    def test_its_label_abbreviates_the_home_folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        assert Disk(tmp_path / "data" / "r1", 1, 1, 0).label == str(Path("~/data/r1"))
        assert Disk(Path("/srv/r1"), 1, 1, 0).label == str(Path("/srv/r1"))


class TestHubCache:
    """The same folder as huggingface_hub's, without importing it."""

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

"""`r1_quantize.hub.disk_space`: does a pull fit, and if not, what would?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.errors import NotEnoughRoom
from r1_quantize.events import FilePlan, PullPlan
from r1_quantize.hub.disk_space import at_once_and_peak, check_room
from r1_quantize.store.store import Store

GB = 1_000_000_000
FILES = [FilePlan("a", 8 * GB, 0), FilePlan("b", 9 * GB, 0), FilePlan("c", 7 * GB, 0)]
KNOWN = catalog.load()
PLAN = PullPlan("qwen-7b:Q4_K_M", "x/y", "0" * 40, (), int(4.68 * GB), int(19.9 * GB), 0, 2, 0)


class TestAtOnce:
    """Two shards where there is room for the result and the two largest, else one; all where all are kept."""

    @pytest.mark.parametrize(
        ("free", "at_once", "peak"), [(30, 2, 22), (22.1, 2, 22), (21.9, 1, 14), (14.1, 1, 14), (3, 1, 14)]
    )
    def test_as_many_as_fit(self, free: float, at_once: int, peak: int) -> None:
        assert at_once_and_peak(FILES, 5 * GB, int(free * GB), keep=False) == (at_once, peak * GB)

    def test_what_is_here_already_takes_no_more(self) -> None:
        here = [replace(FILES[0], here=8 * GB), replace(FILES[1], here=4 * GB), FILES[2]]
        assert at_once_and_peak(here, 5 * GB, 100 * GB, keep=False) == (2, (5 + 5 + 7) * GB)

    def test_all_that_are_kept(self) -> None:
        assert at_once_and_peak(FILES, 5 * GB, GB, keep=True) == (3, (5 + 24) * GB)


class TestRefusal:
    """What does not fit is refused with how much is missing, and what would fit."""

    def refused(self, tmp_path: Path, free: float, *, made: bool = True, known: str = "qwen-7b") -> str:
        plan = replace(PLAN, free=int(free * GB))
        with pytest.raises(NotEnoughRoom) as caught:
            check_room(plan, KNOWN.get(known), Store(tmp_path, KNOWN), made=made)
        return str(caught.value)

    def test_what_fits_is_not(self, tmp_path: Path) -> None:
        check_room(replace(PLAN, free=20 * GB), KNOWN["qwen-7b"], Store(tmp_path, KNOWN), made=True)

    def test_how_much_is_missing(self, tmp_path: Path) -> None:
        said = self.refused(tmp_path, 19)
        assert said.startswith("qwen-7b:Q4_K_M takes 19.9 GB of the disk while it is made, 19 GB are free in ")
        assert " 901 MB are missing; " in said

    @pytest.mark.parametrize(
        ("free", "advice"),
        [
            # beside the result lie 15.22 GB; llama.cpp's own sizes of the 7B: Q3_K_M 3.81, Q2_K 3.02 GB
            (19.1, "qwen-7b:Q3_K_M would fit"),
            (18.3, "qwen-7b:Q2_K would fit"),
            (18, "--prebuilt would fit, which takes a GGUF that others made"),
            (4.6, "qwen-1.5b:"),
            (3, "no checkpoint of the catalogue would fit"),
        ],
    )
    def test_what_would_fit(self, tmp_path: Path, free: float, advice: str) -> None:
        assert self.refused(tmp_path, free).partition("; ")[2].startswith(advice)

    def test_a_gguf_that_others_made_is_no_advice_where_it_is_one(self, tmp_path: Path) -> None:
        assert "--prebuilt" not in self.refused(tmp_path, 18, made=False)

    def test_of_what_the_catalogue_does_not_know_too(self, tmp_path: Path) -> None:
        assert "would fit" in self.refused(tmp_path, 6, known="somebody-elses")

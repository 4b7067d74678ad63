"""`r1_quantize.hub.disk_space`: how much disk a pull needs, and what is suggested if there is too little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.errors import NotEnoughSpace
from r1_quantize.events import FilePlan, PullPlan
from r1_quantize.hub.disk_space import check_disk_space, shards_and_peak
from r1_quantize.store.store import Store

GB = 1_000_000_000
FILES = [FilePlan("a", 8 * GB, 0), FilePlan("b", 9 * GB, 0), FilePlan("c", 7 * GB, 0)]
KNOWN = catalog.load()
PLAN = PullPlan(
    reference="qwen-7b:Q4_K_M",
    repo="x/y",
    commit="0" * 40,
    files=(),
    result=int(4.68 * GB),
    peak=int(19.9 * GB),
    free=0,
    shards_at_once=2,
    tensors=(),
)


class TestAtOnce:
    """Two shards if there is space for the result and the two largest, else one; all of them if they are kept."""

    @pytest.mark.parametrize(
        ("free", "at_once", "peak"), [(30, 2, 22), (22.1, 2, 22), (21.9, 1, 14), (14.1, 1, 14), (3, 1, 14)]
    )
    def test_as_many_as_fit(self, free: float, at_once: int, peak: int) -> None:
        assert shards_and_peak(FILES, 5 * GB, int(free * GB), keep=False) == (at_once, peak * GB)

    def test_bytes_on_the_disk_already_do_not_count_again(self) -> None:
        here = [replace(FILES[0], here=8 * GB), replace(FILES[1], here=4 * GB), FILES[2]]
        assert shards_and_peak(here, 5 * GB, 100 * GB, keep=False) == (2, (5 + 5 + 7) * GB)

    def test_all_shards_count_if_they_are_kept(self) -> None:
        assert shards_and_peak(FILES, 5 * GB, GB, keep=True) == (3, (5 + 24) * GB)


class TestRefusal:
    """A pull that does not fit is refused, with how much is missing and what would fit."""

    def refused(self, tmp_path: Path, free: float, *, quantizing: bool = True, known: str = "qwen-7b") -> str:
        plan = replace(PLAN, free=int(free * GB))
        with pytest.raises(NotEnoughSpace) as caught:
            check_disk_space(plan, KNOWN.get(known), Store(tmp_path, KNOWN), quantizing=quantizing)
        return str(caught.value)

    def test_a_pull_that_fits_is_not_refused(self, tmp_path: Path) -> None:
        check_disk_space(replace(PLAN, free=20 * GB), KNOWN["qwen-7b"], Store(tmp_path, KNOWN), quantizing=True)

    def test_the_message_says_how_much_is_missing(self, tmp_path: Path) -> None:
        message = self.refused(tmp_path, 19)
        assert message.startswith("qwen-7b:Q4_K_M needs 19.9 GB of disk space while it is made, 19 GB are free in ")
        assert ", 901 MB are missing; " in message

    @pytest.mark.parametrize(
        ("free", "advice"),
        [
            # 15.22 GB are needed besides the result; llama.cpp's own sizes of the 7B: Q3_K_M 3.81, Q2_K 3.02 GB
            (19.1, "qwen-7b:Q3_K_M would fit"),
            (18.3, "qwen-7b:Q2_K would fit"),
            (18, "r1 pull qwen-7b --prebuilt, which downloads a ready-made GGUF, would fit"),
            (4.6, "qwen-1.5b:"),
            (3, "no checkpoint of the catalogue would fit"),
        ],
    )
    def test_a_suggestion_that_fits(self, tmp_path: Path, free: float, advice: str) -> None:
        assert self.refused(tmp_path, free).partition("; ")[2].startswith(advice)

    def test_prebuilt_is_not_suggested_for_a_ready_made_gguf(self, tmp_path: Path) -> None:
        assert "--prebuilt" not in self.refused(tmp_path, 18, quantizing=False)

    def test_a_model_outside_the_catalogue_gets_a_suggestion_too(self, tmp_path: Path) -> None:
        assert "would fit" in self.refused(tmp_path, 6, known="somebody-elses")

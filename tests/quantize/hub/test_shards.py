"""`r1_quantize.hub.shards`: large files are fetched ahead, as many as there is room for, and deleted after use."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from r1_quantize.errors import BadFile, NetworkError
from r1_quantize.events import Arrived, Examined, Fetched, Fetching, FilePlan, PipelineEvent, Rejected
from r1_quantize.files import SourceFile
from r1_quantize.hub import hub
from r1_quantize.hub.repository import Repository
from r1_quantize.hub.shards import Shard, Shards
from r1_quantize.journal import FileRecord
from tests.fakes.hub import Fault, Hub
from tests.quantize.conftest import Serve, names_in

REPO = "some-owner/some-model"
NAMES = [f"model-0000{number}-of-00004.safetensors" for number in range(1, 5)]
SIZE, HEADER = 300_000, 1000
DATA = {name: random.Random(name).randbytes(SIZE) for name in NAMES}
LONG = 60.0  # seconds after which what has not happened never will


class Supplied:
    """A hub with four shards, and the folder they come to."""

    def __init__(self, served: Hub, folder: Path) -> None:
        self.hub = served
        self.repository: Repository = hub.look_up(REPO)
        self.folder = folder
        for name in NAMES:
            (folder / f"{name}.header").write_bytes(DATA[name][:HEADER])
            (folder / f"{name}.partial").write_bytes(DATA[name][:HEADER])

    def shards(
        self,
        names: Sequence[str] = NAMES,
        *,
        keep: bool = False,
        cached: Path | None = None,
        in_cache: Sequence[str] = NAMES,
    ) -> Shards:
        """A supply of them, that nobody has entered yet; those `in_cache` are in the folder `cached`."""
        found = [
            Shard(
                self.repository.files[name],
                self.folder / f"{name}.header",
                cached / name if cached and name in in_cache else None,
            )
            for name in names
        ]
        return Shards(self.repository, self.folder, found, keep=keep)

    def whole(self) -> set[str]:
        """The shards that lie in the folder."""
        return {name for name in names_in(self.folder) if name in NAMES}

    def has_come(self, *names: str) -> None:
        """Waits until these lie in the folder, and nothing comes after them."""
        until(lambda: self.whole() == set(names))
        asked = self.hub.requests.total()
        time.sleep(0.3)
        assert (self.whole(), self.hub.requests.total()) == (set(names), asked)


def until(holds: Callable[[], bool]) -> None:
    """Waits for it."""
    end = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def take(supply: Shards, file: SourceFile) -> tuple[Path, list[PipelineEvent]]:
    """Where a file is, when it is there, and what was said until then."""
    where: list[Path] = []

    def taken() -> Iterator[PipelineEvent]:
        where.append((yield from supply.take(file)))

    said = list(taken())
    return where[0], said


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The repository's folder on the hub."""
    folder = tmp_path / "hub" / REPO
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(DATA[name])
    return folder


@pytest.fixture
def supplied(serve: Serve, there: Path, tmp_path: Path) -> Supplied:
    """The hub, started."""
    (tmp_path / "here").mkdir()
    return Supplied(serve(), tmp_path / "here")


class TestFiles:
    """What is coming is known before it comes."""

    def test_are_where_they_will_be_with_what_the_hub_says(self, supplied: Supplied) -> None:
        with supplied.shards() as supply:
            assert list(supply.files) == NAMES
            for name, file in supply.files.items():
                digest = hashlib.sha256(DATA[name]).hexdigest()
                assert (file.path, file.size, file.sha256) == (supplied.folder / name, SIZE, digest)
                assert (file.stamp, file.header) == (None, supplied.folder / f"{name}.header")

    def test_what_was_only_looked_at_is_still_to_come(self, supplied: Supplied) -> None:
        (supplied.folder / NAMES[1]).write_bytes(DATA[NAMES[1]])
        (supplied.folder / f"{NAMES[2]}.partial").write_bytes(DATA[NAMES[2]][:2000])
        (supplied.folder / f"{NAMES[3]}.partial").unlink()
        with supplied.shards() as supply:
            here = [0, SIZE, 0, 0]
            assert list(supply.file_plans({})) == [FilePlan(name, SIZE, n) for name, n in zip(NAMES, here, strict=True)]

    def test_what_an_earlier_run_has_read_is_not_to_come_again(self, supplied: Supplied) -> None:
        done = FileRecord((SIZE, 0, 0), hashlib.sha256(DATA[NAMES[0]]).hexdigest())
        other = FileRecord((SIZE, 0, 0), "0" * 64)
        with supplied.shards() as supply:
            plans = supply.file_plans({NAMES[0]: done, NAMES[1]: other, "elsewhere": done})
            assert [plan.here for plan in plans] == [SIZE, 0, 0, 0]

    def test_nothing_comes_before_it_is_wanted(self, supplied: Supplied) -> None:
        with supplied.shards():
            supplied.has_come()


class TestAhead:
    """One is fetched while another is taken; never more lie on the disk than are allowed."""

    @pytest.mark.parametrize("at_once", [1, 2, 3])
    def test_as_many_lie_there_as_are_allowed(self, supplied: Supplied, at_once: int) -> None:
        with supplied.shards() as supply:
            supply.at_once = at_once
            order = supply.start(list(supply.files.values()))
            for number, file in enumerate(order):
                supplied.has_come(*NAMES[number : number + at_once])
                path, _ = take(supply, file)
                assert path.read_bytes() == DATA[path.name]
                supply.release(file)
        assert supplied.whole() == set()
        assert supplied.hub.sent == dict.fromkeys(NAMES, SIZE - HEADER)

    def test_with_what_is_kept_nobody_waits_for_room(self, supplied: Supplied) -> None:
        with supplied.shards(keep=True) as supply:
            order = supply.start(list(supply.files.values()))
            supplied.has_come(*NAMES)
            for file in order:
                take(supply, file)
                supply.release(file)
        assert supplied.whole() == set(NAMES)
        assert all((supplied.folder / name).read_bytes() == DATA[name] for name in NAMES)

    def test_only_what_is_wanted_comes(self, supplied: Supplied) -> None:
        with supplied.shards() as supply:
            wanted = [supply.files[name] for name in NAMES[1:3]]
            supply.release(supply.files[NAMES[0]])  # that is done already
            for file in supply.start(wanted):
                take(supply, file)
                supply.release(file)
        assert set(supplied.hub.sent) == set(NAMES[1:3])

    def test_what_is_here_comes_first_then_what_is_here_in_part(self, supplied: Supplied, there: Path) -> None:
        small = b"small"
        (there / NAMES[3]).write_bytes(small)
        supplied.repository = hub.look_up(REPO)
        (supplied.folder / NAMES[3]).write_bytes(small)
        (supplied.folder / f"{NAMES[3]}.header").write_bytes(small)
        (supplied.folder / f"{NAMES[2]}.partial").write_bytes(DATA[NAMES[2]][:200_000])
        with supplied.shards() as supply:
            order = [file.path.name for file in supply.start(list(supply.files.values()))]
        assert order == [NAMES[3], NAMES[2], NAMES[0], NAMES[1]]

    def test_news_are_handed_on_without_waiting(self, supplied: Supplied) -> None:
        with supplied.shards() as supply:
            assert list(supply.news()) == []
            (first, *_) = supply.start(list(supply.files.values()))
            supplied.has_come(NAMES[0])
            said = list(supply.news())
            assert said[:2] == [Examined(HEADER), Fetching(NAMES[0], SIZE, HEADER)]
            assert said[-1] == Arrived(NAMES[0], SIZE)
            assert sum(event.bytes for event in said if isinstance(event, Fetched)) == SIZE - HEADER
            assert take(supply, first) == (supplied.folder / NAMES[0], [])  # it was in the news


class TestHere:
    """What is on this disk is not fetched; what is Hugging Face's is read where it is, and left alone."""

    def cached(self) -> Path:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(REPO))

    def test_left_by_an_earlier_run(self, supplied: Supplied) -> None:
        (supplied.folder / NAMES[0]).write_bytes(DATA[NAMES[0]])
        with supplied.shards(names=NAMES[:1]) as supply:
            (file,) = supply.start(list(supply.files.values()))
            path, said = take(supply, file)
            assert (path, said) == (supplied.folder / NAMES[0], [Arrived(NAMES[0], SIZE)])
            supply.release(file)
        assert supplied.hub.sent.total() == 0
        assert supplied.whole() == set()

    def test_in_the_cache(self, supplied: Supplied) -> None:
        cache = self.cached()
        before = supplied.hub.requests.total()
        with supplied.shards(cached=cache) as supply:
            assert [plan.here for plan in supply.file_plans({})] == [SIZE] * 4
            for file in supply.start(list(supply.files.values())):
                path, _ = take(supply, file)
                assert path == cache / file.path.name
                supply.release(file)
        assert all((cache / name).read_bytes() == DATA[name] for name in NAMES)
        assert supplied.hub.requests.total() == before

    def test_what_is_damaged_in_the_cache_is_fetched_and_left_as_it_is(self, supplied: Supplied) -> None:
        cache = self.cached()
        (cache / NAMES[0]).resolve().write_bytes(bytes(SIZE))
        before = supplied.hub.sent[NAMES[0]]
        with supplied.shards(cached=cache, names=NAMES[:1]) as supply:
            (file,) = supply.start(list(supply.files.values()))
            path, said = take(supply, file)
            assert path.read_bytes() == DATA[NAMES[0]]
            rejected = Rejected(NAMES[0], SIZE, f"{cache / NAMES[0]} is damaged, and left as it is")
            assert [event for event in said if isinstance(event, Rejected)] == [rejected]
        assert (cache / NAMES[0]).read_bytes() == bytes(SIZE)
        assert supplied.hub.sent[NAMES[0]] - before == SIZE - HEADER

    def test_room_is_not_made_by_what_takes_none(self, supplied: Supplied) -> None:
        cache = self.cached()
        for name in NAMES[2:]:
            (cache / name).resolve().unlink()
        with supplied.shards(cached=cache, in_cache=NAMES[:2]) as supply:
            order = supply.start(list(supply.files.values()))
            supplied.has_come(NAMES[2])
            for file in order[:2]:
                take(supply, file)
                supply.release(file)
            supplied.has_come(NAMES[2])


class TestRejected:
    """What is not what the hub says comes again, once, and out of turn."""

    def test_comes_again_although_there_is_no_room(self, supplied: Supplied) -> None:
        with supplied.shards() as supply:
            first, second, *_ = supply.start(list(supply.files.values()))
            path, _ = take(supply, first)
            path.write_bytes(bytes(SIZE))
            supply.reject(first)
            path, said = take(supply, first)
            assert path.read_bytes() == DATA[NAMES[0]]
            assert Arrived(NAMES[0], SIZE) in said
            supplied.has_come(NAMES[0])
            supply.release(first)
            assert take(supply, second)[0].read_bytes() == DATA[NAMES[1]]

    def test_twice_it_is_the_disk(self, supplied: Supplied) -> None:
        with supplied.shards(names=NAMES[:1]) as supply:
            (file,) = supply.start(list(supply.files.values()))
            take(supply, file)
            supply.reject(file)
            take(supply, file)
            with pytest.raises(BadFile, match="is not what was fetched, for the second time; check the disk"):
                supply.reject(file)

    def test_the_caches_is_left_where_it_is(self, supplied: Supplied) -> None:
        from huggingface_hub import snapshot_download

        cache = Path(snapshot_download(REPO))
        with supplied.shards(cached=cache, names=NAMES[:2]) as supply:
            first, second = supply.start(list(supply.files.values()))
            take(supply, first)
            supply.reject(first)
            assert take(supply, first)[0] == supplied.folder / NAMES[0]
            supply.release(first)
            assert take(supply, second)[0] == cache / NAMES[1]
        assert (cache / NAMES[0]).exists()
        assert supplied.whole() == set()

    def test_makes_no_more_room_than_there_was(self, supplied: Supplied) -> None:
        from huggingface_hub import snapshot_download

        cache = Path(snapshot_download(REPO))
        with supplied.shards(cached=cache, in_cache=NAMES[:1]) as supply:
            first, *_ = supply.start(list(supply.files.values()))
            take(supply, first)
            supplied.has_come(NAMES[1])
            supply.reject(first)
            take(supply, first)
            supply.release(first)
            supplied.has_come(NAMES[1])


class TestTrouble:
    """What a thread meets is raised to whoever waits, and ends with them."""

    def test_a_hub_that_refuses(self, supplied: Supplied) -> None:
        supplied.hub.faults = [Fault(f"*/{NAMES[1]}", "status", status=410, times=-1)]
        with supplied.shards() as supply:
            first, second, *_ = supply.start(list(supply.files.values()))
            take(supply, first)
            supply.release(first)
            for _ in range(2):
                with pytest.raises(NetworkError, match="the hub answered 410"):
                    take(supply, second)

    def test_a_beginning_that_came_damaged(self, supplied: Supplied) -> None:
        (supplied.folder / f"{NAMES[0]}.header").write_bytes(bytes(HEADER))
        with supplied.shards(names=NAMES[:1]) as supply:
            (file,) = supply.start(list(supply.files.values()))
            with pytest.raises(NetworkError, match=f"{REPO}: the beginning of {NAMES[0]} came damaged; run it again"):
                take(supply, file)
        assert not (supplied.folder / f"{NAMES[0]}.header").exists()

    def test_leaving_ends_what_goes_on(self, supplied: Supplied) -> None:
        supplied.hub.faults = [Fault(f"*/{NAMES[0]}", "drip", seconds=0.01, piece=1000)]
        with supplied.shards() as supply:
            supply.start(list(supply.files.values()))
            until(lambda: (supplied.folder / f"{NAMES[0]}.partial").stat().st_size > 2 * HEADER)
        until(lambda: not [thread for thread in threading.enumerate() if thread.name == "fetching"])
        here = (supplied.folder / f"{NAMES[0]}.partial").read_bytes()
        assert here == DATA[NAMES[0]][: len(here)]
        assert len(here) < SIZE

    def test_leaving_ends_waiting_for_room(self, supplied: Supplied) -> None:
        with supplied.shards() as supply:
            supply.start(list(supply.files.values()))
            supplied.has_come(NAMES[0])
        until(lambda: not [thread for thread in threading.enumerate() if thread.name == "fetching"])
        assert supplied.whole() == {NAMES[0]}  # for the next run

"""`r1_quantize.hub.shards`: large files are downloaded ahead, as many as may be on the disk, and deleted after use."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from r1_quantize.errors import BadFile, NetworkError
from r1_quantize.events import Arrived, Fetched, Fetching, FilePlan, Hashed, PipelineEvent, Rejected
from r1_quantize.files import SourceFile
from r1_quantize.hub import hub
from r1_quantize.hub.repository import Repository
from r1_quantize.hub.shards import Shard, ShardProvider
from r1_quantize.journal import FileRecord
from tests.fakes.hub import Fault, Hub
from tests.quantize.conftest import Serve, names_in

REPO = "some-owner/some-model"
NAMES = [f"model-0000{number}-of-00004.safetensors" for number in range(1, 5)]
SIZE, HEADER = 300_000, 1000
DATA = {name: random.Random(name).randbytes(SIZE) for name in NAMES}
TIMEOUT_S = 60.0
QUIET_S = 0.3  # without a request: no other download starts


class Setup:
    """A hub with four shards, and the staging folder."""

    def __init__(self, served: Hub, folder: Path) -> None:
        self.hub = served
        self.repository: Repository = hub.look_up(REPO)
        self.folder = folder
        for name in NAMES:
            (folder / f"{name}.header").write_bytes(DATA[name][:HEADER])
            (folder / f"{name}.partial").write_bytes(DATA[name][:HEADER])

    def provider(
        self,
        names: Sequence[str] = NAMES,
        *,
        keep: bool = False,
        cached: Path | None = None,
        in_cache: Sequence[str] = NAMES,
    ) -> ShardProvider:
        """A provider of these shards, not entered yet; those `in_cache` are in the folder `cached`."""
        shards = [
            Shard(
                self.repository.files[name],
                self.folder / f"{name}.header",
                cached / name if cached and name in in_cache else None,
            )
            for name in names
        ]
        return ShardProvider(self.repository, self.folder, shards, keep=keep)

    def complete(self) -> set[str]:
        """The complete shards in the folder."""
        return {name for name in names_in(self.folder) if name in NAMES}

    def wait_for(self, *names: str) -> None:
        """Wait until exactly these are in the folder, and check that no other is requested."""
        wait_until(lambda: self.complete() == set(names))
        asked = self.hub.requests.total()
        time.sleep(QUIET_S)
        assert (self.complete(), self.hub.requests.total()) == (set(names), asked)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)


def take(provider: ShardProvider, file: SourceFile) -> tuple[Path, list[PipelineEvent]]:
    """Wait for a file; returns its path and the events until then."""
    paths: list[Path] = []

    def events() -> Iterator[PipelineEvent]:
        paths.append((yield from provider.take(file)))

    recorded = list(events())
    return paths[0], recorded


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """The repository's folder on the hub."""
    folder = tmp_path / "hub" / REPO
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(DATA[name])
    return folder


@pytest.fixture
def setup(serve: Serve, origin: Path, tmp_path: Path) -> Setup:
    (tmp_path / "here").mkdir()
    return Setup(serve(), tmp_path / "here")


class TestFiles:
    """The files are known before they are downloaded."""

    def test_have_their_future_path_and_published_digest(self, setup: Setup) -> None:
        with setup.provider() as provider:
            assert list(provider.files) == NAMES
            for name, file in provider.files.items():
                digest = hashlib.sha256(DATA[name]).hexdigest()
                assert (file.path, file.size, file.sha256) == (setup.folder / name, SIZE, digest)
                assert (file.stamp, file.header) == (None, setup.folder / f"{name}.header")

    def test_a_prefix_does_not_count_as_downloaded(self, setup: Setup) -> None:
        (setup.folder / NAMES[1]).write_bytes(DATA[NAMES[1]])
        (setup.folder / f"{NAMES[2]}.partial").write_bytes(DATA[NAMES[2]][:2000])
        (setup.folder / f"{NAMES[3]}.partial").unlink()
        with setup.provider() as provider:
            here = [0, SIZE, 0, 0]
            assert list(provider.file_plans({})) == [
                FilePlan(name, SIZE, n) for name, n in zip(NAMES, here, strict=True)
            ]

    def test_files_that_an_earlier_run_has_read_count_as_downloaded(self, setup: Setup) -> None:
        done = FileRecord((SIZE, 0, 0), hashlib.sha256(DATA[NAMES[0]]).hexdigest())
        other = FileRecord((SIZE, 0, 0), "0" * 64)
        with setup.provider() as provider:
            plans = provider.file_plans({NAMES[0]: done, NAMES[1]: other, "elsewhere": done})
            assert [plan.here for plan in plans] == [SIZE, 0, 0, 0]

    def test_nothing_is_downloaded_before_start(self, setup: Setup) -> None:
        with setup.provider():
            setup.wait_for()


class TestAhead:
    """Shards are downloaded while another is in use; never more are on the disk than allowed."""

    @pytest.mark.parametrize("at_once", [1, 2, 3])
    def test_as_many_are_on_the_disk_as_allowed(self, setup: Setup, at_once: int) -> None:
        with setup.provider() as provider:
            provider.shards_at_once = at_once
            order = provider.start(list(provider.files.values()))
            for number, file in enumerate(order):
                setup.wait_for(*NAMES[number : number + at_once])
                path, _ = take(provider, file)
                assert path.read_bytes() == DATA[path.name]
                provider.release(file)
        assert setup.complete() == set()
        assert setup.hub.sent == dict.fromkeys(NAMES, SIZE - HEADER)

    def test_shards_to_keep_do_not_wait(self, setup: Setup) -> None:
        with setup.provider(keep=True) as provider:
            order = provider.start(list(provider.files.values()))
            setup.wait_for(*NAMES)
            for file in order:
                take(provider, file)
                provider.release(file)
        assert setup.complete() == set(NAMES)
        assert all((setup.folder / name).read_bytes() == DATA[name] for name in NAMES)

    def test_only_wanted_shards_are_downloaded(self, setup: Setup) -> None:
        with setup.provider() as provider:
            wanted = [provider.files[name] for name in NAMES[1:3]]
            provider.release(provider.files[NAMES[0]])  # an earlier run has finished with it
            for file in provider.start(wanted):
                take(provider, file)
                provider.release(file)
        assert set(setup.hub.sent) == set(NAMES[1:3])

    def test_complete_files_come_first_then_partial_ones(self, setup: Setup, origin: Path) -> None:
        small = b"small"
        (origin / NAMES[3]).write_bytes(small)
        setup.repository = hub.look_up(REPO)
        (setup.folder / NAMES[3]).write_bytes(small)
        (setup.folder / f"{NAMES[3]}.header").write_bytes(small)
        (setup.folder / f"{NAMES[2]}.partial").write_bytes(DATA[NAMES[2]][:200_000])
        with setup.provider() as provider:
            order = [file.path.name for file in provider.start(list(provider.files.values()))]
        assert order == [NAMES[3], NAMES[2], NAMES[0], NAMES[1]]

    def test_poll_does_not_wait(self, setup: Setup) -> None:
        with setup.provider() as provider:
            assert list(provider.poll()) == []
            (first, *_) = provider.start(list(provider.files.values()))
            setup.wait_for(NAMES[0])
            events = list(provider.poll())
            assert events[:2] == [Hashed(HEADER), Fetching(NAMES[0], SIZE, HEADER)]
            assert events[-1] == Arrived(NAMES[0], SIZE)
            assert sum(event.bytes for event in events if isinstance(event, Fetched)) == SIZE - HEADER
            assert take(provider, first) == (setup.folder / NAMES[0], [])  # its event came from poll


class TestLocal:
    """Shards on this disk are not downloaded; those in the Hugging Face cache are read there and not changed."""

    def cached(self) -> Path:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(REPO))

    def test_left_by_an_earlier_run(self, setup: Setup) -> None:
        (setup.folder / NAMES[0]).write_bytes(DATA[NAMES[0]])
        with setup.provider(names=NAMES[:1]) as provider:
            (file,) = provider.start(list(provider.files.values()))
            path, events = take(provider, file)
            assert (path, events) == (setup.folder / NAMES[0], [Arrived(NAMES[0], SIZE)])
            provider.release(file)
        assert setup.hub.sent.total() == 0
        assert setup.complete() == set()

    def test_in_the_cache(self, setup: Setup) -> None:
        cache = self.cached()
        before = setup.hub.requests.total()
        with setup.provider(cached=cache) as provider:
            assert [plan.here for plan in provider.file_plans({})] == [SIZE] * 4
            for file in provider.start(list(provider.files.values())):
                path, _ = take(provider, file)
                assert path == cache / file.path.name
                provider.release(file)
        assert all((cache / name).read_bytes() == DATA[name] for name in NAMES)
        assert setup.hub.requests.total() == before

    def test_a_shard_damaged_in_the_cache_is_downloaded_and_the_cache_not_changed(self, setup: Setup) -> None:
        cache = self.cached()
        (cache / NAMES[0]).resolve().write_bytes(bytes(SIZE))
        before = setup.hub.sent[NAMES[0]]
        with setup.provider(cached=cache, names=NAMES[:1]) as provider:
            (file,) = provider.start(list(provider.files.values()))
            path, events = take(provider, file)
            assert path.read_bytes() == DATA[NAMES[0]]
            rejected = Rejected(NAMES[0], SIZE, f"{cache / NAMES[0]} is damaged; it was not changed")
            assert [event for event in events if isinstance(event, Rejected)] == [rejected]
        assert (cache / NAMES[0]).read_bytes() == bytes(SIZE)
        assert setup.hub.sent[NAMES[0]] - before == SIZE - HEADER

    def test_releasing_a_cached_shard_frees_no_slot(self, setup: Setup) -> None:
        cache = self.cached()
        for name in NAMES[2:]:
            (cache / name).resolve().unlink()
        with setup.provider(cached=cache, in_cache=NAMES[:2]) as provider:
            order = provider.start(list(provider.files.values()))
            setup.wait_for(NAMES[2])
            for file in order[:2]:
                take(provider, file)
                provider.release(file)
            setup.wait_for(NAMES[2])


class TestRejected:
    """A rejected shard is downloaded again, once, without waiting for a slot."""

    def test_it_is_downloaded_again_without_a_slot(self, setup: Setup) -> None:
        with setup.provider() as provider:
            first, second, *_ = provider.start(list(provider.files.values()))
            path, _ = take(provider, first)
            path.write_bytes(bytes(SIZE))
            provider.reject(first)
            path, events = take(provider, first)
            assert path.read_bytes() == DATA[NAMES[0]]
            assert Arrived(NAMES[0], SIZE) in events
            setup.wait_for(NAMES[0])
            provider.release(first)
            assert take(provider, second)[0].read_bytes() == DATA[NAMES[1]]

    def test_a_second_time_it_is_an_error(self, setup: Setup) -> None:
        with setup.provider(names=NAMES[:1]) as provider:
            (file,) = provider.start(list(provider.files.values()))
            take(provider, file)
            provider.reject(file)
            take(provider, file)
            with pytest.raises(BadFile, match="changed on the disk a second time; check the disk"):
                provider.reject(file)

    def test_a_file_of_the_cache_stays_there(self, setup: Setup) -> None:
        from huggingface_hub import snapshot_download

        cache = Path(snapshot_download(REPO))
        with setup.provider(cached=cache, names=NAMES[:2]) as provider:
            first, second = provider.start(list(provider.files.values()))
            take(provider, first)
            provider.reject(first)
            assert take(provider, first)[0] == setup.folder / NAMES[0]
            provider.release(first)
            assert take(provider, second)[0] == cache / NAMES[1]
        assert (cache / NAMES[0]).exists()
        assert setup.complete() == set()

    def test_it_frees_no_slot_it_did_not_take(self, setup: Setup) -> None:
        from huggingface_hub import snapshot_download

        cache = Path(snapshot_download(REPO))
        with setup.provider(cached=cache, in_cache=NAMES[:1]) as provider:
            first, *_ = provider.start(list(provider.files.values()))
            take(provider, first)
            setup.wait_for(NAMES[1])
            provider.reject(first)
            take(provider, first)
            provider.release(first)
            setup.wait_for(NAMES[1])


class TestFailure:
    """An error in the thread is raised where the shard is taken; leaving the context stops the thread."""

    def test_a_hub_that_refuses(self, setup: Setup) -> None:
        setup.hub.faults = [Fault(f"*/{NAMES[1]}", "status", status=410, times=-1)]
        with setup.provider() as provider:
            first, second, *_ = provider.start(list(provider.files.values()))
            take(provider, first)
            provider.release(first)
            for _ in range(2):
                with pytest.raises(NetworkError, match="the hub answered 410"):
                    take(provider, second)

    def test_a_header_that_arrived_damaged(self, setup: Setup) -> None:
        (setup.folder / f"{NAMES[0]}.header").write_bytes(bytes(HEADER))
        with setup.provider(names=NAMES[:1]) as provider:
            (file,) = provider.start(list(provider.files.values()))
            with pytest.raises(NetworkError, match=f"{REPO}: the header of {NAMES[0]} arrived damaged; run it again"):
                take(provider, file)
        assert not (setup.folder / f"{NAMES[0]}.header").exists()

    def test_leaving_stops_a_download(self, setup: Setup) -> None:
        setup.hub.faults = [Fault(f"*/{NAMES[0]}", "drip", seconds=0.01, piece=1000)]
        with setup.provider() as provider:
            provider.start(list(provider.files.values()))
            wait_until(lambda: (setup.folder / f"{NAMES[0]}.partial").stat().st_size > 2 * HEADER)
        wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "fetching"])
        here = (setup.folder / f"{NAMES[0]}.partial").read_bytes()
        assert here == DATA[NAMES[0]][: len(here)]
        assert len(here) < SIZE

    def test_leaving_stops_the_wait_for_a_slot(self, setup: Setup) -> None:
        with setup.provider() as provider:
            provider.start(list(provider.files.values()))
            setup.wait_for(NAMES[0])
        wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "fetching"])
        assert setup.complete() == {NAMES[0]}  # for the next run

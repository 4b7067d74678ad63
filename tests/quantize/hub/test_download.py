"""`r1_quantize.hub.download`: a file is accepted only with the hub's digest, however the bytes arrive."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.errors import NetworkError, NotEnoughSpace, R1Error
from r1_quantize.events import Fetched, Fetching, Hashed, Noted, PipelineEvent, Rejected, Waiting
from r1_quantize.hub import hub
from r1_quantize.hub.download import Connection, Stopped, fetch, fetch_prefix, fetch_range, partial_of, run_in_thread
from r1_quantize.hub.hub import TransientError
from r1_quantize.hub.repository import RemoteFile
from tests.fakes.connections import NeverWaits, Recorded
from tests.fakes.hub import Fault, Hub
from tests.quantize.conftest import Serve, names_in
from tests.quantize.test_writer import at_most_bytes_a_file

REPO = "some-owner/some-model"
NAME = "model.safetensors"
SIZE = 3_000_000
DATA = random.Random(2).randbytes(SIZE)
CONFIG = b'{"a": 1}\n'
MATCH = f"*/{NAME}"


class Remote:
    """A hub with one repository, its listing, and a folder to download into."""

    def __init__(self, served: Hub, folder: Path) -> None:
        self.hub = served
        self.repository = hub.look_up(REPO)
        self.file = self.repository.files[NAME]
        self.target = folder / NAME
        self.partial = folder / f"{NAME}.partial"

    def fetch(self, recorded: Recorded | None = None) -> Recorded:
        """Download the large file; returns the recorded events."""
        recorded = recorded or Recorded()
        fetch(self.repository, self.file, self.target, recorded.connection)
        return recorded

    def sent(self) -> int:
        """The bytes of the large file that the hub sent."""
        return self.hub.sent[NAME]


StartHub = Callable[..., Remote]


@pytest.fixture
def start_hub(serve: Serve, tmp_path: Path) -> StartHub:
    """Starts the hub."""
    folder = tmp_path / "hub" / REPO
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(DATA)
    (folder / "config.json").write_bytes(CONFIG)
    (tmp_path / "here").mkdir()
    return lambda **options: Remote(serve(**options), tmp_path / "here")


@pytest.fixture
def remote(start_hub: StartHub) -> Remote:
    """A hub without options."""
    return start_hub()


class TestFetch:
    """The target has the hub's bytes, and nothing else is in the folder."""

    @pytest.mark.parametrize("cdn", [False, True])
    def test_a_large_file(self, start_hub: StartHub, cdn: bool) -> None:
        remote = start_hub(cdn=cdn)
        recorded = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert names_in(remote.target.parent) == [NAME]
        assert recorded.of(Fetching) == [Fetching(NAME, SIZE, 0)]
        assert sum(event.bytes for event in recorded.of(Fetched)) == SIZE == remote.sent()

    def test_a_small_file_by_its_git_sha1(self, remote: Remote) -> None:
        target = remote.target.with_name("config.json")
        fetch(remote.repository, remote.repository.files["config.json"], target, Recorded().connection)
        assert target.read_bytes() == CONFIG

    def test_an_empty_file_costs_no_request(self, remote: Remote) -> None:
        before = remote.hub.requests.total()
        empty = RemoteFile("empty", 0, hashlib.sha256().hexdigest(), None)
        fetch(remote.repository, empty, remote.target, Recorded().connection)
        assert remote.target.read_bytes() == b""
        assert remote.hub.requests.total() == before

    def test_an_older_file_is_replaced(self, remote: Remote) -> None:
        remote.target.write_bytes(b"older")
        remote.fetch()
        assert remote.target.read_bytes() == DATA

    def test_through_xet(self, start_hub: StartHub) -> None:
        remote = start_hub(xet=True)
        remote.partial.write_bytes(DATA[:1_000_000])
        remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert remote.sent() == 0


class TestResume:
    """The bytes that an earlier run left are hashed, not downloaded again."""

    @pytest.mark.parametrize("here", [1, 1_000_000, SIZE - 1, SIZE])
    def test_only_the_rest_is_downloaded(self, remote: Remote, here: int) -> None:
        remote.partial.write_bytes(DATA[:here])
        recorded = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert remote.sent() == SIZE - here
        assert sum(event.bytes for event in recorded.of(Hashed)) == here
        assert recorded.of(Fetching) == [Fetching(NAME, SIZE, here)]

    def test_a_partial_file_that_is_too_long_is_discarded(self, remote: Remote) -> None:
        remote.partial.write_bytes(DATA + b"x")
        remote.fetch()
        assert remote.target.read_bytes() == DATA

    @pytest.mark.parametrize("here", [1000, SIZE])
    def test_damaged_bytes_are_downloaded_again(self, remote: Remote, here: int) -> None:
        remote.partial.write_bytes(b"?" + DATA[1:here])
        recorded = remote.fetch()
        assert remote.target.read_bytes() == DATA
        rejected = recorded.of(Rejected)
        assert [(event.file, event.size) for event in rejected] == [(NAME, SIZE)]
        assert f"the hub lists {hashlib.sha256(DATA).hexdigest()[:12]}" in rejected[0].reason

    def test_a_hub_without_ranges_sends_them_again_and_they_are_skipped(self, remote: Remote) -> None:
        remote.partial.write_bytes(DATA[:2_000_000])
        remote.hub.faults = [Fault(MATCH, "no_ranges", times=-1)]
        recorded = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert sum(event.bytes for event in recorded.of(Fetched) if event.file) == 1_000_000
        assert remote.sent() == SIZE

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    @pytest.mark.parametrize("content", [b"", b"precious"])
    def test_a_symbolic_link_is_not_followed(self, remote: Remote, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "victim").write_bytes(content)
        remote.partial.symlink_to(tmp_path / "victim")
        with pytest.raises(R1Error, match=r"model\.safetensors\.partial: "):
            remote.fetch()
        assert (tmp_path / "victim").read_bytes() == content

    def test_a_folder_in_its_place(self, remote: Remote) -> None:
        remote.partial.mkdir()
        with pytest.raises(R1Error, match=r"model\.safetensors\.partial: "):
            remote.fetch()


class TestBadConnections:
    """A broken download continues where it broke, as long as some bytes arrive."""

    @pytest.mark.parametrize(
        ("fault", "waits"),
        [
            (Fault(MATCH, "cut", after=1_500_000), 1),
            (Fault(MATCH, "cut", after=-1), 1),
            (Fault(MATCH, "reset", after=1_500_000), 1),
            (Fault(MATCH, "cut", times=10, after=280_000), 10),
            (Fault(MATCH, "shorter"), 1),
            (Fault(MATCH, "shorter", times=5), 5),
            (Fault(MATCH, "longer"), 0),
            (Fault(MATCH, "empty"), 1),
            (Fault(MATCH, "drip", piece=100_000), 0),
            (Fault(MATCH, "loop", times=21), 1),
            (Fault(MATCH, "status", times=7, status=503), 7),
            (Fault(MATCH, "status", status=429, headers={"Retry-After": "60"}), 1),
        ],
        ids=lambda value: f"{value.kind}-{value.times}" if isinstance(value, Fault) else "",
    )
    @pytest.mark.parametrize("here", [0, 1_000])
    def test_the_file_is_complete_in_the_end(self, remote: Remote, fault: Fault, waits: int, here: int) -> None:
        remote.hub.faults = [replace(fault)]  # a copy, with its own count
        remote.partial.write_bytes(DATA[:here])
        recorded = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert len(recorded.of(Waiting)) == waits
        assert not recorded.of(Rejected)
        assert sum(event.bytes for event in recorded.of(Fetched) if event.file) == SIZE - here

    def test_no_byte_is_requested_twice(self, remote: Remote) -> None:
        remote.hub.faults = [Fault(MATCH, "cut", after=after) for after in (1_000_000, 500_000, 1)]
        remote.fetch()
        assert remote.sent() == SIZE

    def test_bytes_of_another_range_are_not_used(self, remote: Remote) -> None:
        remote.partial.write_bytes(DATA[:1000])
        remote.hub.faults = [Fault(MATCH, "garbage_range", range_only=True)]
        recorded = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert not recorded.of(Rejected)

    def test_a_hub_without_ranges_that_always_breaks_at_the_same_place(self, remote: Remote) -> None:
        remote.partial.write_bytes(DATA[:2_000_000])
        remote.hub.faults = [Fault(MATCH, "status", times=-1, status=200, body=DATA[:1_000_000])]
        with pytest.raises(NetworkError, match=r"the connection ended early \(3 attempts\); run it again to resume"):
            remote.fetch(Recorded(attempts=3))
        assert remote.partial.read_bytes() == DATA[:2_000_000]

    def test_after_several_failures_without_a_byte_it_gives_up(self, remote: Remote) -> None:
        remote.hub.faults = [Fault(MATCH, "status", times=-1, status=503)]
        recorded = Recorded(attempts=4)
        with pytest.raises(NetworkError, match=r"the hub answered 503 \(4 attempts\); run it again to resume"):
            remote.fetch(recorded)
        assert [event.seconds for event in recorded.of(Waiting)] == [1, 2, 4]
        assert names_in(remote.target.parent) == [f"{NAME}.partial"]

    def test_a_byte_in_between_resets_the_count_of_failures(self, remote: Remote) -> None:
        down = [Fault(MATCH, "status", times=2, status=503) for _ in range(3)]
        cut = [Fault(MATCH, "cut", after=1000) for _ in range(2)]
        remote.hub.faults = [down[0], cut[0], down[1], cut[1], down[2]]
        recorded = remote.fetch(Recorded(attempts=4))
        assert remote.target.read_bytes() == DATA
        assert [event.seconds for event in recorded.of(Waiting)] == [1, 2, 1, 2, 4, 1, 2, 4]

    def test_waits_between_attempts_grow_up_to_a_minute(self) -> None:
        recorded = Recorded(attempts=20)
        for failures in range(1, 20):
            recorded.connection.back_off(TransientError("no"), failures)
        assert [event.seconds for event in recorded.of(Waiting)] == [1, 2, 4, 8, 16, 32, *[60] * 13]

    @pytest.mark.parametrize("seconds", [0, 7, 900])
    def test_the_wait_that_the_hub_asks_for(self, seconds: float) -> None:
        recorded = Recorded()
        recorded.connection.back_off(TransientError("no", seconds), 1)
        assert recorded.events == [Waiting(seconds, "no")]

    def test_a_wait_of_hours_is_refused(self) -> None:
        recorded = Recorded()
        with pytest.raises(NetworkError, match="no and asks for 86,400 seconds; run it again after that to resume"):
            recorded.connection.back_off(TransientError("no", 86_400), 1)
        assert recorded.events == []


class TestWrongBytes:
    """A file without the hub's digest is discarded and downloaded once more."""

    def test_once(self, remote: Remote) -> None:
        remote.hub.faults = [Fault(MATCH, "flip", after=2_000_000)]
        recorded = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert len(recorded.of(Rejected)) == 1
        assert remote.sent() == 2 * SIZE

    def test_twice_is_an_error(self, remote: Remote) -> None:
        remote.hub.faults = [Fault(MATCH, "flip", times=-1, after=0)]
        recorded = Recorded()
        with pytest.raises(
            NetworkError, match="2 times, so it was discarded; try again later, or from another"
        ) as caught:
            remote.fetch(recorded)
        assert f"{REPO}/{NAME}" in str(caught.value)
        assert names_in(remote.target.parent) == []
        assert len(recorded.of(Rejected)) == 2

    def test_a_listing_with_the_wrong_digest(self, remote: Remote) -> None:
        remote.file = replace(remote.file, sha256="0" * 64)
        with pytest.raises(NetworkError, match="but the hub lists 000000000000…, 2 times"):
            remote.fetch()
        assert names_in(remote.target.parent) == []

    def test_a_listing_with_too_small_a_size(self, remote: Remote) -> None:
        remote.file = replace(remote.file, size=SIZE - 1000)
        with pytest.raises(NetworkError, match="2 times"):
            remote.fetch()
        assert remote.sent() <= 2 * SIZE

    def test_a_listing_with_too_large_a_size(self, remote: Remote) -> None:
        remote.file = replace(remote.file, size=SIZE + 1)
        with pytest.raises(NetworkError):
            remote.fetch(Recorded(attempts=2))
        assert not remote.target.exists()

    @pytest.mark.parametrize("damage", ["empty", "lost", "flipped"])
    def test_a_damaged_xet_store(self, start_hub: StartHub, damage: Any) -> None:
        remote = start_hub(xet=True)
        remote.hub.xet_damage = damage
        recorded = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert remote.sent() <= SIZE  # by plain HTTP
        if damage == "flipped":  # which has the right length, and no error
            assert len(recorded.of(Rejected)) == 1

    def test_a_xet_store_that_cannot_be_opened(self, start_hub: StartHub) -> None:
        remote = start_hub(xet=True)
        remote.hub.xet_broken = True
        recorded = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert recorded.of(Noted) == [Noted("the hub's Xet storage failed; using plain HTTP")]
        assert not recorded.of(Waiting)


class TestPrefix:
    """A prefix of a file is the first part of its download."""

    @pytest.mark.parametrize("count", [1, 131_072, SIZE, SIZE + 1, 1 << 60])
    def test_only_the_prefix_is_downloaded(self, remote: Remote, count: int) -> None:
        fetch_prefix(remote.repository, remote.file, remote.partial, count, Recorded().connection)
        assert remote.partial.read_bytes() == DATA[:count]
        assert remote.sent() == min(count, SIZE)
        remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert remote.sent() == SIZE

    def test_nothing_is_downloaded_if_it_is_on_the_disk(self, remote: Remote) -> None:
        remote.partial.write_bytes(DATA[:5000])
        fetch_prefix(remote.repository, remote.file, remote.partial, 5000, Recorded().connection)
        assert remote.partial.read_bytes() == DATA[:5000]
        assert remote.sent() == 0

    def test_it_never_comes_through_xet(self, start_hub: StartHub) -> None:
        remote = start_hub(xet=True)
        fetch_prefix(remote.repository, remote.file, remote.partial, 5000, Recorded().connection)
        assert remote.partial.read_bytes() == DATA[:5000]
        assert remote.sent() == 5000


class TestRange:
    """Bytes of any part of a file, in order."""

    @pytest.mark.parametrize(("start", "end"), [(0, SIZE), (5, 6), (1_000_000, 2_999_999), (7, 7), (SIZE, SIZE)])
    @pytest.mark.parametrize("kind", [None, "no_ranges", "longer", "shorter"])
    def test_from_any_hub(self, remote: Remote, start: int, end: int, kind: Any) -> None:
        if kind:
            remote.hub.faults = [Fault(MATCH, kind, times=3)]
        parts: list[bytes] = []
        fetch_range(
            remote.repository, remote.file, start, end, lambda piece: parts.append(bytes(piece)), Recorded().connection
        )
        assert b"".join(parts) == DATA[start:end]


class TestFullDisk:
    """The message says how much is needed, and the bytes so far stay for the next run."""

    def test_during_the_download(self, remote: Remote) -> None:
        message = r"model\.safetensors\.partial: .*: 2 MB needed, .* free; free some space and run it again"
        with at_most_bytes_a_file(1_000_000), pytest.raises(NotEnoughSpace, match=message):
            remote.fetch()
        assert remote.partial.read_bytes() == DATA[:1_000_000]
        remote.fetch()
        assert remote.target.read_bytes() == DATA

    def test_a_missing_folder(self, remote: Remote) -> None:
        remote.target = remote.target.parent / "none" / NAME
        with pytest.raises(R1Error, match="No such file"):
            remote.fetch()


class TestStop:
    """A stopped download ends soon, and the bytes so far stay."""

    def test_during_a_transfer(self, remote: Remote) -> None:
        recorded = Recorded()

        def stop(event: PipelineEvent) -> None:
            if isinstance(event, Fetched):
                recorded.connection.stop.set()

        recorded.connection = Connection(stop, recorded.connection.stop)
        remote.hub.faults = [Fault(MATCH, "drip", piece=10_000, seconds=0.02)]  # six seconds of it
        with pytest.raises(Stopped):
            remote.fetch(recorded)
        here = remote.partial.read_bytes()
        assert here == DATA[: len(here)]
        assert 0 < len(here) < SIZE

    def test_while_hashing(self, remote: Remote) -> None:
        remote.partial.write_bytes(DATA[:-1])
        recorded = Recorded()
        recorded.connection.stop.set()
        with pytest.raises(Stopped):
            remote.fetch(recorded)
        assert remote.partial.read_bytes() == DATA[:-1]

    def test_between_two_attempts(self, remote: Remote) -> None:
        stop = threading.Event()
        connection = Connection(lambda event: stop.set() if isinstance(event, Waiting) else None, stop)
        remote.hub.faults = [Fault(MATCH, "status", status=503, headers={"Retry-After": "900"})]
        with pytest.raises(Stopped):
            fetch(remote.repository, remote.file, remote.target, connection)


class TestRunInThread:
    """The task's events, result and exception arrive in the calling thread."""

    def test_the_result_is_returned(self) -> None:
        def task(connection: Connection) -> int:
            for number in range(3):
                connection.report(Noted(str(number)))
            return 7

        results: list[int] = []

        def events() -> Generator[PipelineEvent, None, None]:
            results.append((yield from run_in_thread(task)))

        assert [*events(), *results] == [Noted("0"), Noted("1"), Noted("2"), 7]

    @pytest.mark.parametrize("error", [NetworkError, KeyError, KeyboardInterrupt])
    def test_an_exception_is_raised_after_the_events(self, error: type[BaseException]) -> None:
        def task(connection: Connection) -> None:
            connection.report(Noted("first"))
            raise error("then")

        events = run_in_thread(task)
        assert next(events) == Noted("first")
        with pytest.raises(error, match="then"):
            next(events)

    def test_closing_the_iterator_stops_the_task(self) -> None:
        ended = threading.Event()

        def task(connection: Connection) -> None:
            connection.report(Noted("first"))
            connection.stop.wait()
            ended.set()

        events = run_in_thread(task)
        next(events)
        events.close()
        assert ended.wait(300)


class TestCall:
    """A request is repeated while it fails transiently."""

    def test_it_is_repeated_until_it_succeeds(self) -> None:
        answers = iter([TransientError("no", 0), TransientError("not yet", 0), None])

        def request() -> str:
            if failure := next(answers):
                raise failure
            return "yes"

        recorded = Recorded()
        assert recorded.connection.call(request) == "yes"
        assert recorded.events == [Waiting(0, "no"), Waiting(0, "not yet")]

    def test_it_gives_up_after_the_last_attempt(self) -> None:
        def request() -> None:
            raise TransientError("no", 0)

        with pytest.raises(NetworkError, match=r"^no \(3 attempts\); run it again to resume$"):
            Recorded(attempts=3).connection.call(request)
        with pytest.raises(NetworkError, match=r"^no; run it again to resume$"):
            Connection(print, NeverWaits(), attempts=1).call(request)


def test_a_partial_file_is_beside_its_target() -> None:
    assert partial_of(Path("a/b.gguf")) == Path("a/b.gguf.partial")

"""`r1_quantize.hub.download`: a file is whole when its digest says so, however the bytes come."""

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

from r1_quantize.errors import NetworkError, NotEnoughRoom, R1Error
from r1_quantize.events import Examined, Fetched, Fetching, Noted, PipelineEvent, Rejected, Waiting
from r1_quantize.hub import hub
from r1_quantize.hub.download import Line, Stopped, attended, fetch, fetch_beginning, fetch_range, partial_of
from r1_quantize.hub.hub import TryAgain
from r1_quantize.hub.repository import RemoteFile
from tests.fakes.hub import Fault, Hub
from tests.fakes.lines import Impatient, Recorded
from tests.quantize.conftest import Serve, names_in
from tests.quantize.test_writer import at_most_bytes_a_file

REPO = "some-owner/some-model"
NAME = "model.safetensors"
SIZE = 3_000_000
DATA = random.Random(2).randbytes(SIZE)
CONFIG = b'{"a": 1}\n'
MATCH = f"*/{NAME}"


class Remote:
    """A hub with one repository, what it says of it, and a folder to put its files into."""

    def __init__(self, served: Hub, folder: Path) -> None:
        self.hub = served
        self.repository = hub.look_up(REPO)
        self.file = self.repository.files[NAME]
        self.target = folder / NAME
        self.partial = folder / f"{NAME}.partial"

    def fetch(self, said: Recorded | None = None) -> Recorded:
        """The large file, whole; what was said meanwhile."""
        said = said or Recorded()
        fetch(self.repository, self.file, self.target, said.line)
        return said

    def sent(self) -> int:
        """The bytes of the large file that left the hub."""
        return self.hub.sent[NAME]


Begin = Callable[..., Remote]


@pytest.fixture
def begin(serve: Serve, tmp_path: Path) -> Begin:
    """Starts the hub."""
    folder = tmp_path / "hub" / REPO
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(DATA)
    (folder / "config.json").write_bytes(CONFIG)
    (tmp_path / "here").mkdir()
    return lambda **options: Remote(serve(**options), tmp_path / "here")


@pytest.fixture
def remote(begin: Begin) -> Remote:
    """The hub, started."""
    return begin()


class TestFetch:
    """The file is there with the bytes that the hub says, and nothing beside it."""

    @pytest.mark.parametrize("cdn", [False, True])
    def test_a_large_file(self, begin: Begin, cdn: bool) -> None:
        remote = begin(cdn=cdn)
        said = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert names_in(remote.target.parent) == [NAME]
        assert said.of(Fetching) == [Fetching(NAME, SIZE, 0)]
        assert sum(event.bytes for event in said.of(Fetched)) == SIZE == remote.sent()

    def test_a_small_file_by_gits_name_for_it(self, remote: Remote) -> None:
        target = remote.target.with_name("config.json")
        fetch(remote.repository, remote.repository.files["config.json"], target, Recorded().line)
        assert target.read_bytes() == CONFIG

    def test_an_empty_file_costs_no_request(self, remote: Remote) -> None:
        before = remote.hub.requests.total()
        empty = RemoteFile("empty", 0, hashlib.sha256().hexdigest(), None)
        fetch(remote.repository, empty, remote.target, Recorded().line)
        assert remote.target.read_bytes() == b""
        assert remote.hub.requests.total() == before

    def test_takes_the_place_of_an_older_one(self, remote: Remote) -> None:
        remote.target.write_bytes(b"older")
        remote.fetch()
        assert remote.target.read_bytes() == DATA

    def test_by_way_of_xet(self, begin: Begin) -> None:
        remote = begin(xet=True)
        remote.partial.write_bytes(DATA[:1_000_000])
        remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert remote.sent() == 0


class TestTakenUp:
    """What an earlier run got is not fetched again, but it is read, for its digest."""

    @pytest.mark.parametrize("here", [1, 1_000_000, SIZE - 1, SIZE])
    def test_only_the_rest_comes(self, remote: Remote, here: int) -> None:
        remote.partial.write_bytes(DATA[:here])
        said = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert remote.sent() == SIZE - here
        assert sum(event.bytes for event in said.of(Examined)) == here
        assert said.of(Fetching) == [Fetching(NAME, SIZE, here)]

    def test_more_than_there_is_is_of_no_use(self, remote: Remote) -> None:
        remote.partial.write_bytes(DATA + b"x")
        remote.fetch()
        assert remote.target.read_bytes() == DATA

    @pytest.mark.parametrize("here", [1000, SIZE])
    def test_what_was_damaged_meanwhile_comes_again(self, remote: Remote, here: int) -> None:
        remote.partial.write_bytes(b"?" + DATA[1:here])
        said = remote.fetch()
        assert remote.target.read_bytes() == DATA
        rejected = said.of(Rejected)
        assert [(event.file, event.size) for event in rejected] == [(NAME, SIZE)]
        assert f"the hub says {hashlib.sha256(DATA).hexdigest()[:12]}" in rejected[0].reason

    def test_from_a_hub_without_ranges_what_is_here_is_passed_over(self, remote: Remote) -> None:
        remote.partial.write_bytes(DATA[:2_000_000])
        remote.hub.faults = [Fault(MATCH, "no_ranges", times=-1)]
        said = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert sum(event.bytes for event in said.of(Fetched) if event.file) == 1_000_000
        assert remote.sent() == SIZE

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    @pytest.mark.parametrize("content", [b"", b"mine"])
    def test_a_link_that_leads_elsewhere_is_not_followed(self, remote: Remote, tmp_path: Path, content: bytes) -> None:
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
    """A connection that breaks goes on where it broke, as long as something comes."""

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
    def test_the_file_is_whole_in_the_end(self, remote: Remote, fault: Fault, waits: int, here: int) -> None:
        remote.hub.faults = [replace(fault)]  # which has not happened yet
        remote.partial.write_bytes(DATA[:here])
        said = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert len(said.of(Waiting)) == waits
        assert not said.of(Rejected)
        assert sum(event.bytes for event in said.of(Fetched) if event.file) == SIZE - here

    def test_nothing_that_came_is_asked_for_again(self, remote: Remote) -> None:
        remote.hub.faults = [Fault(MATCH, "cut", after=after) for after in (1_000_000, 500_000, 1)]
        remote.fetch()
        assert remote.sent() == SIZE

    def test_bytes_of_another_place_are_not_taken(self, remote: Remote) -> None:
        remote.partial.write_bytes(DATA[:1000])
        remote.hub.faults = [Fault(MATCH, "garbage_range", range_only=True)]
        said = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert not said.of(Rejected)

    def test_a_hub_without_ranges_that_breaks_at_the_same_place_is_given_up(self, remote: Remote) -> None:
        remote.partial.write_bytes(DATA[:2_000_000])
        remote.hub.faults = [Fault(MATCH, "status", times=-1, status=200, body=DATA[:1_000_000])]
        with pytest.raises(
            NetworkError, match="the connection ended early, 3 times in a row; running it again resumes"
        ):
            remote.fetch(Recorded(patience=3))
        assert remote.partial.read_bytes() == DATA[:2_000_000]

    def test_without_a_byte_for_long_it_is_given_up(self, remote: Remote) -> None:
        remote.hub.faults = [Fault(MATCH, "status", times=-1, status=503)]
        said = Recorded(patience=4)
        with pytest.raises(NetworkError, match="the hub answered 503, 4 times in a row; running it again resumes"):
            remote.fetch(said)
        assert [event.seconds for event in said.of(Waiting)] == [1, 2, 4]
        assert names_in(remote.target.parent) == [f"{NAME}.partial"]

    def test_a_byte_in_between_gives_it_new_patience(self, remote: Remote) -> None:
        down = [Fault(MATCH, "status", times=2, status=503) for _ in range(3)]
        cut = [Fault(MATCH, "cut", after=1000) for _ in range(2)]
        remote.hub.faults = [down[0], cut[0], down[1], cut[1], down[2]]
        said = remote.fetch(Recorded(patience=4))
        assert remote.target.read_bytes() == DATA
        assert [event.seconds for event in said.of(Waiting)] == [1, 2, 1, 2, 4, 1, 2, 4]

    def test_longer_than_a_minute_nobody_waits_unasked(self) -> None:
        said = Recorded(patience=20)
        for failures in range(1, 20):
            said.line.wait(TryAgain("no"), failures)
        assert [event.seconds for event in said.of(Waiting)] == [1, 2, 4, 8, 16, 32, *[60] * 13]

    @pytest.mark.parametrize("seconds", [0, 7, 900])
    def test_what_the_hub_asks_for_is_waited(self, seconds: float) -> None:
        said = Recorded()
        said.line.wait(TryAgain("no", seconds), 1)
        assert said.events == [Waiting(seconds, "no")]

    def test_but_not_for_hours(self) -> None:
        said = Recorded()
        with pytest.raises(NetworkError, match="no and asks for 86,400 seconds; running it again then resumes"):
            said.line.wait(TryAgain("no", 86_400), 1)
        assert said.events == []


class TestWrongBytes:
    """What does not have the digest that the hub says is not used, and fetched once more."""

    def test_once_is_an_accident(self, remote: Remote) -> None:
        remote.hub.faults = [Fault(MATCH, "flip", after=2_000_000)]
        said = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert len(said.of(Rejected)) == 1
        assert remote.sent() == 2 * SIZE

    def test_twice_is_not(self, remote: Remote) -> None:
        remote.hub.faults = [Fault(MATCH, "flip", times=-1, after=0)]
        said = Recorded()
        with pytest.raises(
            NetworkError, match=r"2 times; nothing of it was used\. Try again later, or from another"
        ) as caught:
            remote.fetch(said)
        assert f"{REPO}/{NAME}" in str(caught.value)
        assert names_in(remote.target.parent) == []
        assert len(said.of(Rejected)) == 2

    def test_a_hub_that_says_the_wrong_digest(self, remote: Remote) -> None:
        remote.file = replace(remote.file, sha256="0" * 64)
        with pytest.raises(NetworkError, match="and the hub says 000000000000…, 2 times"):
            remote.fetch()
        assert names_in(remote.target.parent) == []

    def test_a_file_that_is_longer_than_the_hub_says(self, remote: Remote) -> None:
        remote.file = replace(remote.file, size=SIZE - 1000)
        with pytest.raises(NetworkError, match="2 times"):
            remote.fetch()
        assert remote.sent() <= 2 * SIZE

    def test_a_file_that_is_shorter_than_the_hub_says(self, remote: Remote) -> None:
        remote.file = replace(remote.file, size=SIZE + 1)
        with pytest.raises(NetworkError):
            remote.fetch(Recorded(patience=2))
        assert not remote.target.exists()

    @pytest.mark.parametrize("damage", ["empty", "lost", "flipped"])
    def test_a_xet_store_that_is_damaged(self, begin: Begin, damage: Any) -> None:
        remote = begin(xet=True)
        remote.hub.xet_damage = damage
        said = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert remote.sent() <= SIZE  # the plain way
        if damage == "flipped":  # which came with the right length, and no error
            assert len(said.of(Rejected)) == 1

    def test_a_xet_store_that_cannot_be_opened(self, begin: Begin) -> None:
        remote = begin(xet=True)
        remote.hub.xet_broken = True
        said = remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert said.of(Noted) == [Noted("the hub's Xet storage failed; taking the plain way")]
        assert not said.of(Waiting)


class TestBeginning:
    """The first bytes of a file are the first part of its download."""

    @pytest.mark.parametrize("count", [1, 131_072, SIZE, SIZE + 1, 1 << 60])
    def test_comes_alone(self, remote: Remote, count: int) -> None:
        fetch_beginning(remote.repository, remote.file, remote.partial, count, Recorded().line)
        assert remote.partial.read_bytes() == DATA[:count]
        assert remote.sent() == min(count, SIZE)
        remote.fetch()
        assert remote.target.read_bytes() == DATA
        assert remote.sent() == SIZE

    def test_is_not_fetched_when_it_is_here(self, remote: Remote) -> None:
        remote.partial.write_bytes(DATA[:5000])
        fetch_beginning(remote.repository, remote.file, remote.partial, 5000, Recorded().line)
        assert remote.partial.read_bytes() == DATA[:5000]
        assert remote.sent() == 0

    def test_never_comes_by_way_of_xet(self, begin: Begin) -> None:
        remote = begin(xet=True)
        fetch_beginning(remote.repository, remote.file, remote.partial, 5000, Recorded().line)
        assert remote.partial.read_bytes() == DATA[:5000]
        assert remote.sent() == 5000


class TestRange:
    """Bytes from the middle of a file, in order."""

    @pytest.mark.parametrize(("start", "end"), [(0, SIZE), (5, 6), (1_000_000, 2_999_999), (7, 7), (SIZE, SIZE)])
    @pytest.mark.parametrize("kind", [None, "no_ranges", "longer", "shorter"])
    def test_of_any_hub(self, remote: Remote, start: int, end: int, kind: Any) -> None:
        if kind:
            remote.hub.faults = [Fault(MATCH, kind, times=3)]
        parts: list[bytes] = []
        fetch_range(
            remote.repository, remote.file, start, end, lambda piece: parts.append(bytes(piece)), Recorded().line
        )
        assert b"".join(parts) == DATA[start:end]


class TestFullDisk:
    """It is met with a line that says what is needed; what is here stays for the next run."""

    def test_is_met_on_the_way(self, remote: Remote) -> None:
        said = r"model\.safetensors\.partial: .*: 2 MB are needed, .* are free; make room and run it again"
        with at_most_bytes_a_file(1_000_000), pytest.raises(NotEnoughRoom, match=said):
            remote.fetch()
        assert remote.partial.read_bytes() == DATA[:1_000_000]
        remote.fetch()
        assert remote.target.read_bytes() == DATA

    def test_a_folder_that_is_not_there(self, remote: Remote) -> None:
        remote.target = remote.target.parent / "none" / NAME
        with pytest.raises(R1Error, match="No such file"):
            remote.fetch()


class TestStopped:
    """Whoever wants no more gets no more, soon, and what is here stays."""

    def test_while_bytes_come(self, remote: Remote) -> None:
        said = Recorded()

        def stop(event: PipelineEvent) -> None:
            if isinstance(event, Fetched):
                said.line.stop.set()

        said.line = Line(stop, said.line.stop)
        remote.hub.faults = [Fault(MATCH, "drip", piece=10_000, seconds=0.02)]  # six seconds of it
        with pytest.raises(Stopped):
            remote.fetch(said)
        here = remote.partial.read_bytes()
        assert here == DATA[: len(here)]
        assert 0 < len(here) < SIZE

    def test_while_it_is_looked_at(self, remote: Remote) -> None:
        remote.partial.write_bytes(DATA[:-1])
        said = Recorded()
        said.line.stop.set()
        with pytest.raises(Stopped):
            remote.fetch(said)
        assert remote.partial.read_bytes() == DATA[:-1]

    def test_while_the_hub_is_waited_for(self, remote: Remote) -> None:
        stop = threading.Event()
        line = Line(lambda event: stop.set() if isinstance(event, Waiting) else None, stop)
        remote.hub.faults = [Fault(MATCH, "status", status=503, headers={"Retry-After": "900"})]
        with pytest.raises(Stopped):
            fetch(remote.repository, remote.file, remote.target, line)


class TestAttended:
    """An errand has a thread of its own; its events come here, and so does what it ends with."""

    def test_gives_what_it_returns(self) -> None:
        def errand(line: Line) -> int:
            for number in range(3):
                line.report(Noted(str(number)))
            return 7

        said: list[PipelineEvent] = []

        def ended() -> Generator[PipelineEvent, None, None]:
            returned = yield from attended(errand)
            said.append(Noted(f"returned {returned}"))

        assert [*ended(), *said] == [Noted("0"), Noted("1"), Noted("2"), Noted("returned 7")]

    @pytest.mark.parametrize("error", [NetworkError, KeyError, KeyboardInterrupt])
    def test_raises_what_it_raises_after_its_events(self, error: type[BaseException]) -> None:
        def errand(line: Line) -> None:
            line.report(Noted("first"))
            raise error("then")

        events = attended(errand)
        assert next(events) == Noted("first")
        with pytest.raises(error, match="then"):
            next(events)

    def test_ends_when_nobody_listens_any_more(self) -> None:
        ended = threading.Event()

        def errand(line: Line) -> None:
            line.report(Noted("first"))
            line.stop.wait()
            ended.set()

        events = attended(errand)
        next(events)
        events.close()
        assert ended.wait(60)

    def test_asks_again_until_it_is_answered(self) -> None:
        answers = iter([TryAgain("no", 0), TryAgain("not yet", 0), None])

        def question() -> str:
            if failure := next(answers):
                raise failure
            return "yes"

        said = Recorded()
        assert said.line.ask(question) == "yes"
        assert said.events == [Waiting(0, "no"), Waiting(0, "not yet")]

    def test_gives_up_asking(self) -> None:
        def question() -> None:
            raise TryAgain("no", 0)

        with pytest.raises(NetworkError, match="no, 3 times in a row"):
            Recorded(patience=3).line.ask(question)
        with pytest.raises(NetworkError, match=r"^no; running it again resumes$"):
            Line(print, Impatient(), patience=1).ask(question)


def test_what_is_on_its_way_lies_beside_its_place() -> None:
    assert partial_of(Path("a/b.gguf")) == Path("a/b.gguf.partial")

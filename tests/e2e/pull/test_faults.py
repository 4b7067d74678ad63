"""`r1 pull` from a hub that fails, for a moment or for good."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import pytest

from tests.e2e.pull.person import (
    AT_THIRD,
    NAMES,
    PREFIX,
    REPO,
    SMALL,
    THIRD,
    Change,
    Person,
    Undisturbed,
    changed_file,
    error_line,
    transient,
)
from tests.fakes.hub import Fault, Hub

IN_HEADER = 1000  # an offset in a shard that is certainly in its header, of some 2,000 bytes
ALWAYS = {-1, 1000}  # `times` of faults that may happen any number of times


@dataclass(frozen=True)
class Case:
    """Faults of the third shard, whose size they depend on."""

    faults: Callable[[int], list[Fault]]
    cdn: bool = False
    max_wait_s: float = 0.01
    variables: dict[str, str] = field(default_factory=dict)


SOON_TIMED_OUT = {"HF_HUB_DOWNLOAD_TIMEOUT": "1"}

# A shard is requested twice: first a prefix, then the rest. A fault for the rest happens twice; the first time it does
# no harm, because it comes after the end of the prefix.
PASSING: dict[str, Case] = {
    "the body is cut at its first byte": Case(lambda _: [Fault(AT_THIRD, "cut")]),
    "the body is cut in the middle": Case(lambda _: [Fault(AT_THIRD, "cut", 2, after=900_000)], max_wait_s=60),
    "the body is cut one byte before its end": Case(lambda size: [Fault(AT_THIRD, "cut", 2, after=size - PREFIX - 1)]),
    "the body is cut at several places in a row": Case(
        lambda _: [Fault(AT_THIRD, "cut", after=after) for after in (0, 1, 7, 100_000, 0, 200_000, 1, 0, 0)]
    ),
    "every body is cut, over and over": Case(lambda _: [Fault("*", "cut", 1000, after=300_000)]),
    "a small file is cut": Case(lambda _: [Fault("*/tokenizer.json", "cut", after=100)]),
    "the connection is reset before the headers": Case(lambda _: [Fault(AT_THIRD, "reset", after=-1)]),
    "the connection is reset in the middle": Case(lambda _: [Fault(AT_THIRD, "reset", 2, after=900_000)]),
    "the hub stalls before the headers": Case(
        lambda _: [Fault(AT_THIRD, "stall", after=-1, seconds=30)], variables=SOON_TIMED_OUT
    ),
    "the hub stalls in the middle": Case(
        lambda _: [Fault(AT_THIRD, "stall", 2, after=900_000, seconds=30)], variables=SOON_TIMED_OUT
    ),
    "the bytes drip": Case(lambda _: [Fault(AT_THIRD, "drip", -1, piece=10_000, seconds=0.003)]),
    "500 once": Case(lambda _: [transient(AT_THIRD, status=500, times=1)]),
    "502 three times in a row": Case(lambda _: [transient(AT_THIRD, status=502, times=3)]),
    "503 seven times in a row": Case(lambda _: [transient(AT_THIRD, status=503, times=7)]),
    "the listing fails twice": Case(lambda _: [transient("api/*", times=2)]),
    "each file fails once": Case(lambda _: [transient(f"*/{name}") for name in (REPO, *SMALL, *NAMES)]),
    "the login page of a network instead of a small file": Case(
        lambda _: [Fault("*/tokenizer.json", "status", status=200)]
    ),
    "a hub without ranges": Case(lambda _: [Fault(AT_THIRD, "no_ranges", -1)]),
    "a hub that stops serving ranges in the middle": Case(
        lambda _: [Fault(AT_THIRD, "cut", 2, after=900_000), Fault(AT_THIRD, "no_ranges", -1)]
    ),
    "more bytes than listed": Case(lambda _: [Fault("*.safetensors", "longer", -1)]),
    "fewer bytes than requested": Case(lambda _: [Fault(AT_THIRD, "shorter", 4)]),
    "an empty body without an error": Case(lambda _: [Fault(AT_THIRD, "empty", 3)]),
    "another range than requested": Case(lambda _: [Fault(AT_THIRD, "garbage_range")]),
    "a flipped bit in the middle": Case(lambda _: [Fault(AT_THIRD, "flip", after=1_000_000)]),
    "a flipped bit in the last byte": Case(lambda size: [Fault(AT_THIRD, "flip", after=size - 1)]),
    "a flipped bit in a small file": Case(lambda _: [Fault("*/tokenizer.json", "flip", after=100)]),
    "the CDN cuts the body": Case(lambda _: [Fault(f"cdn{AT_THIRD}", "cut", 2, after=900_000)], cdn=True),
    "the CDN flips a bit": Case(lambda _: [Fault(f"cdn{AT_THIRD}", "flip", after=1_000_000)], cdn=True),
    "the CDN answers 503": Case(lambda _: [transient(f"cdn{AT_THIRD}", times=2)], cdn=True),
}


class TestPassingFaults:
    """Whatever happens on the way: one run, the same bytes as without faults, at most one shard more from the hub."""

    @pytest.mark.parametrize("name", PASSING)
    def test_the_result_is_the_same(self, hub: Hub, person: Person, undisturbed: Undisturbed, name: str) -> None:
        case = PASSING[name]
        hub.cdn = case.cdn
        hub.faults = case.faults(undisturbed.third)
        person.variables = case.variables
        person.max_wait_s = case.max_wait_s
        done = person.pull()
        assert done.returncode == 0, done.stderr.decode()
        assert all(fault.used == fault.times or (fault.used and fault.times in ALWAYS) for fault in hub.faults)
        assert person.digest == undisturbed.digest
        assert person.sent - undisturbed.sent <= undisturbed.shard
        if "flip" in {fault.kind for fault in hub.faults}:  # that file is downloaded twice, and no other
            (file,) = (file for file in (*NAMES, *SMALL) if fnmatchcase(f"cdn/{file}", hub.faults[0].match))
            assert f"{file}: it arrived with the digest" in done.stderr.decode()
            size = (hub.root / REPO / file).stat().st_size
            assert (hub.sent[file], person.sent - undisturbed.sent) == (2 * size, size)


UNVERIFIED: dict[str, tuple[int, list[Fault], Change | None]] = {
    "a flipped bit in the header's length": (0, [Fault(AT_THIRD, "flip", after=0)], None),
    "an endless header": (0, [Fault(AT_THIRD, "flip", after=7)], None),
    "a flipped bit in the header": (0, [Fault(AT_THIRD, "flip", after=IN_HEADER)], None),
    "a flipped bit in the first tensor": (0, [Fault(AT_THIRD, "flip", after=PREFIX - 1)], None),
    "the login page of a network instead of a shard": (
        0,
        [Fault(AT_THIRD, "status", status=200, body=b"<html>Log in</html>")],
        None,
    ),
    "a listing with the wrong size of a shard": (7, [], changed_file(THIRD, size=1_000_000)),
}


class TestUnverifiedHeaders:
    """Headers are used for planning before they can be verified; a damaged one is downloaded again."""

    @pytest.mark.parametrize("name", UNVERIFIED)
    def test_damage_is_found_in_time(self, hub: Hub, person: Person, undisturbed: Undisturbed, name: str) -> None:
        status, hub.faults, hub.info_overrides = UNVERIFIED[name]
        done = person.pull()
        assert done.returncode == status
        if status:
            assert "damaged" in error_line(done)
            assert person.has_no_model()
            hub.faults, hub.info_overrides = [], None
            assert person.pull().returncode == 0
        assert person.digest == undisturbed.digest
        assert person.sent - undisturbed.sent <= undisturbed.shard + len(NAMES) * PREFIX


class TestWaits:
    """Requests are repeated after the wait that the hub asks for, and any request may fail."""

    def test_as_long_as_the_hub_asks(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        times: list[float] = []
        hub.before = lambda request: times.append(time.monotonic()) if THIRD in request else None
        headers = {"Retry-After": "1"}, {"ratelimit": '"resolvers";r=0;t=1'}
        hub.faults = [Fault(AT_THIRD, "status", status=429, headers=header) for header in headers]
        assert person.pull().returncode == 0
        assert times[1] - times[0] >= 1
        assert times[2] - times[1] >= 1
        assert (person.digest, person.sent) == (undisturbed.digest, undisturbed.sent)

    def test_every_other_request_fails(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        failed = [True]

        def fail(request: str) -> None:
            failed.append(not failed[-1])
            if failed[-1]:
                hub.faults = [transient("*")]

        hub.before = fail
        assert person.pull().returncode == 0
        assert (person.digest, person.sent) == (undisturbed.digest, undisturbed.sent)
        assert sum(failed) == len(failed) // 2 > 10


LASTING: dict[str, tuple[str, list[Fault], Change | None]] = {
    "every answer is 503": ("the hub answered 503", [transient("*", times=-1)], None),
    "every answer for a shard is 503": ("the hub answered 503", [transient(AT_THIRD, times=-1)], None),
    "every body is cut at its first byte": ("the connection broke", [Fault("*.safetensors", "cut", -1)], None),
    "the listing is cut at its first byte": ("the connection broke", [Fault("api/*", "cut", -1)], None),
    "every shard is empty": ("the connection ended early", [Fault("*.safetensors", "empty", -1)], None),
    "a shard always arrives damaged": ("so it was discarded", [Fault(AT_THIRD, "flip", -1, after=999_999)], None),
    "a redirect to itself": ("redirects in a loop", [Fault(AT_THIRD, "loop", -1)], None),
    "the hub asks to wait an hour": (
        "asks for 3,600 seconds",
        [Fault(AT_THIRD, "status", -1, status=429, headers={"Retry-After": "3600"})],
        None,
    ),
    "the hub asks to wait for ever": (
        "answered 429",
        [Fault(AT_THIRD, "status", -1, status=429, headers={"ratelimit": f'"api";r=0;t={"9" * 400}'})],
        None,
    ),
    "the CDN denies access": ("the hub answered 403", [Fault(AT_THIRD, "status", -1, status=403)], None),
    "a listing with the wrong digest of a shard": ("so it was discarded", [], changed_file(THIRD, sha256="0" * 64)),
    "a listing with the wrong digest of a small file": (
        "so it was discarded",
        [],
        changed_file("tokenizer.json", blobId="0" * 40),
    ),
}


class TestLastingFaults:
    """One line and exit 6, and no model; once the hub works again, the next run makes the same model."""

    @pytest.mark.parametrize("name", LASTING)
    def test_the_next_run_succeeds(self, hub: Hub, person: Person, undisturbed: Undisturbed, name: str) -> None:
        message, hub.faults, hub.info_overrides = LASTING[name]
        done = person.pull()
        line = error_line(done)
        assert (done.returncode, message in line) == (6, True), done.stderr.decode()
        assert any(advice in line for advice in ("run it again", "try again later")), line
        assert person.has_no_model()
        hub.faults, hub.info_overrides = [], None
        healed = person.pull()
        assert healed.returncode == 0, healed.stderr.decode()
        assert person.digest == undisturbed.digest
        if name != "a listing with the wrong digest of a shard":  # nothing made from that listing is used
            assert person.sent - undisturbed.sent <= 2 * undisturbed.shard  # of a shard that came damaged twice

    def test_no_byte_is_downloaded_twice(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        hub.before = lambda _: hub.faults.append(transient("*", times=-1)) if hub.sent[THIRD] > PREFIX else None
        assert error_line(person.pull())
        hub.faults, hub.before = [], None
        person.pull()
        assert person.exits == [6, 0]
        assert (person.digest, person.sent) == (undisturbed.digest, undisturbed.sent)

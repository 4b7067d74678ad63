"""`r1 pull` against a hub that fails in every way it can: the same bytes in the end, and hardly more of them fetched.

Each case is compared with a pull that nothing disturbs. With `pytest -s` a table at the end says what each one took.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest

from r1_quantize.store.manifest import Manifest
from tests.conftest import R1
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape
from tests.fakes.hub import COMMIT, SIGNATURE, Fault, Hub

REPO = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
MODEL = "qwen-1.5b:Q4_K_M"
SHAPE = Shape(layers=5)
NAMES = [f"model-{number:05}-of-00005.safetensors" for number in range(1, 6)]
SMALL = [
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    "model.safetensors.index.json",
]
THIRD = NAMES[2]
LATER = "f" * 40  # another commit
TOKEN = "hf_ThisIsASecretThatNobodyElseMayEverSee"
BEGINNING = 1 << 17  # bytes of a shard that are looked at before anything is planned; a request of its own
HEADER = 1000  # bytes of a shard that are certainly its header, which is some 2,000 long
IMPATIENT_R1 = (
    *(sys.executable, "-c"),
    "from r1_quantize import download; download._LONGEST_WAIT = 0.01; from r1.__main__ import main; exit(main())",
)
"""The program, but for the waits between attempts that no hub asks for, which come to two minutes."""

ALWAYS = {-1, 1000}  # `times` of faults that may happen as often as they can

FIGURES: list[str] = []

Done = subprocess.CompletedProcess[bytes]
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module", autouse=True)
def _figures() -> Iterator[None]:
    """What each case took, for whoever runs this with -s."""
    FIGURES.clear()
    yield
    print(f"\n{'bytes sent':>12} {'more':>12} {'runs':>4} {'s':>5}  exits, case", *FIGURES, sep="\n")


@dataclass
class Person:
    """Somebody with an empty home and an empty cache, who runs `r1 pull` at that hub until it is done."""

    hub: Hub
    folder: Path
    program: tuple[str, ...] = R1
    variables: dict[str, str] = field(default_factory=dict)
    exits: list[int] = field(default_factory=list)
    remark: str = ""

    @property
    def home(self) -> Path:
        return self.folder / "own"

    @property
    def gguf(self) -> Path:
        return self.home / "models" / "qwen-1.5b" / "Q4_K_M.gguf"

    @property
    def digest(self) -> str:
        """SHA-256 of what was pulled."""
        return sha256(self.gguf.read_bytes()).hexdigest()

    @property
    def manifest(self) -> Manifest:
        """What the program knows of it."""
        found = Manifest.beside(self.gguf)
        assert found is not None
        return found

    @property
    def sent(self) -> int:
        """Bytes of files that the hub has sent."""
        return self.hub.sent.total()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The program under way; whoever starts it ends it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("R1_", "XDG_", "HF_"))}
        own = {"HF_ENDPOINT": self.hub.endpoint, "HF_HOME": str(self.folder / "hf"), "R1_HOME": str(self.home)}
        own |= {"HOME": str(self.folder), "R1_THREADS": "1"}
        if not self.hub.xet:
            own["HF_HUB_DISABLE_XET"] = "1"
        return subprocess.Popen(
            [*self.program, "pull", *(arguments or (MODEL,))],
            env={**kept, **own, **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def end(self, process: subprocess.Popen[bytes]) -> Done:
        """How it went."""
        try:
            said = process.communicate(timeout=60)
        finally:
            process.kill()
        self.exits.append(process.returncode)
        return subprocess.CompletedProcess(process.args, process.returncode, *said)

    def pull(self, *arguments: str) -> Done:
        """One run, to its end."""
        return self.end(self.start(*arguments))

    def hold_no_model(self) -> bool:
        """Whether nothing in the home looks whole."""
        return not [*self.home.rglob("*.gguf"), *self.home.glob("models/**/*.json")]


SLOWLY = Fault("*.safetensors", "drip", -1, piece=25_000, seconds=0.004)  # what took an instant takes a second


@dataclass(frozen=True)
class Undisturbed:
    """What a pull makes and takes when nothing happens."""

    digest: str
    sent: int
    shard: int  # bytes of the largest
    third: int  # bytes of the third


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub's root, with a checkpoint of five shards and some megabyte each. Nobody changes it."""
    root = tmp_path_factory.mktemp("served")
    checkpoints.write(root / REPO, SHAPE, shards=len(NAMES))
    return root


@pytest.fixture(scope="module")
def undisturbed(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    with Hub(served) as hub:
        person = Person(hub, tmp_path_factory.mktemp("undisturbed"))
        began = time.monotonic()
        assert person.pull().returncode == 0
        seconds = time.monotonic() - began
        sizes = [(served / REPO / name).stat().st_size for name in NAMES]
        FIGURES.append(f"{person.sent:12,} {0:12,} {1:4} {seconds:5.1f}  0, undisturbed")
        return Undisturbed(person.digest, person.sent, max(sizes), sizes[2])


@pytest.fixture
def hub(served: Path) -> Iterator[Hub]:
    with Hub(served) as started:
        yield started


@pytest.fixture
def person(request: pytest.FixtureRequest, hub: Hub, undisturbed: Undisturbed, tmp_path: Path) -> Iterator[Person]:
    (tmp_path / "person").mkdir()
    who = Person(hub, tmp_path / "person")
    began = time.monotonic()
    yield who
    note(request.node.name, who, undisturbed, time.monotonic() - began)


def note(case: str, who: Person, undisturbed: Undisturbed, seconds: float) -> None:
    """A line of the table."""
    name = case.removeprefix("test_").replace("_", " ")
    exits = " ".join(map(str, who.exits))
    more = who.sent - undisturbed.sent
    FIGURES.append(f"{who.sent:12,} {more:12,} {len(who.exits):4} {seconds:5.1f}  {exits}, {name}{who.remark}")


Attempt = Callable[[str, Person, Undisturbed], None]


class Together:
    """Cases of a table, some at a time: most of each is waiting, or the program's start. A test waits for its own."""

    def __init__(self, served: Path, undisturbed: Undisturbed, folder: Path, selected: set[str]) -> None:
        self._served = served
        self._undisturbed = undisturbed
        self._folder = folder
        self._selected = selected
        self._pool = ThreadPoolExecutor(3)
        self._futures: dict[tuple[str, str], Future[None]] = {}

    def stop(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, attempt: Attempt, table: Iterable[str], case: str) -> None:
        """Raises what the attempt at this case has raised."""
        key = attempt.__qualname__, case
        if key not in self._futures:
            for name in [name for name in table if name in self._selected]:
                folder = self._folder / str(len(self._futures))
                folder.mkdir()
                future = self._pool.submit(self._attempt, attempt, name, folder)
                self._futures[attempt.__qualname__, name] = future
        self._futures[key].result()

    def _attempt(self, attempt: Attempt, case: str, folder: Path) -> None:
        with Hub(self._served) as hub:
            who = Person(hub, folder)
            began = time.monotonic()
            try:
                attempt(case, who, self._undisturbed)
            finally:
                note(case, who, self._undisturbed, time.monotonic() - began)


@pytest.fixture(scope="module")
def together(
    request: pytest.FixtureRequest, served: Path, undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Together]:
    calls = [
        item.callspec
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    ]
    selected = {str(call.params.get("case")) for call in calls}
    started = Together(served, undisturbed, tmp_path_factory.mktemp("together"), selected)
    yield started
    started.stop()


def error_line(done: Done) -> str:
    """The one line that says what went wrong: the last on stderr; before it there are only lines about waiting."""
    *before, last = done.stderr.decode().splitlines()
    assert last.startswith("r1: "), last
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    about = [line for line in before if line.startswith("r1: ")]
    usual = re.compile(rf"r1: ({MODEL}|.*; retrying in \d+ s|.*; downloading it again)")
    assert all(usual.fullmatch(line) for line in about), about
    return last


def again(status: int = 503, **options: Any) -> partial[Fault]:
    """An error that passes; without an answer to how long, the program would wait a second and more."""
    return partial(Fault, kind="status", status=status, headers={"Retry-After": "0"}, **options)


@dataclass(frozen=True)
class Case:
    """Faults of the third shard, made for its size."""

    faults: Callable[[int], list[Fault]]
    cdn: bool = False
    patient: bool = False  # it waits as long as people would
    variables: dict[str, str] = field(default_factory=dict)


AT_THIRD = f"*/{THIRD}"
SOON_SILENT = {"HF_HUB_DOWNLOAD_TIMEOUT": "1"}

# A shard is asked for twice: its beginning, then the rest. A fault that is to meet the rest happens twice, and the
# first time does no harm, because it comes after the beginning's end.
PASSING: dict[str, Case] = {
    "the body is cut at its first byte": Case(lambda _: [Fault(AT_THIRD, "cut")]),
    "the body is cut in the middle": Case(lambda _: [Fault(AT_THIRD, "cut", 2, after=900_000)], patient=True),
    "the body is cut one byte before its end": Case(
        lambda size: [Fault(AT_THIRD, "cut", 2, after=size - BEGINNING - 1)]
    ),
    "the body is cut at several places in a row": Case(
        lambda _: [Fault(AT_THIRD, "cut", after=after) for after in (0, 1, 7, 100_000, 0, 200_000, 1, 0, 0)]
    ),
    "every body is cut, over and over": Case(lambda _: [Fault("*", "cut", 1000, after=300_000)]),
    "a small file is cut": Case(lambda _: [Fault("*/tokenizer.json", "cut", after=100)]),
    "the connection is reset before the headers": Case(lambda _: [Fault(AT_THIRD, "reset", after=-1)]),
    "the connection is reset in the middle": Case(lambda _: [Fault(AT_THIRD, "reset", 2, after=900_000)]),
    "the hub falls silent before the headers": Case(
        lambda _: [Fault(AT_THIRD, "stall", after=-1, seconds=30)], variables=SOON_SILENT
    ),
    "the hub falls silent in the middle": Case(
        lambda _: [Fault(AT_THIRD, "stall", 2, after=900_000, seconds=30)], variables=SOON_SILENT
    ),
    "the bytes come drop by drop": Case(lambda _: [Fault(AT_THIRD, "drip", -1, piece=10_000, seconds=0.003)]),
    **{
        f"{status} {times} times in a row": Case(
            lambda _, status=status, times=times: [again(status)(AT_THIRD, times=times)]
        )
        for status, times in ((500, 1), (502, 3), (503, 7))
    },
    "the look-up fails twice": Case(lambda _: [again()("api/*", times=2)]),
    "each file fails once": Case(lambda _: [again()(f"*/{name}") for name in (REPO, *SMALL, *NAMES)]),
    "a page of a network that wants a login comes instead of a small file": Case(
        lambda _: [Fault("*/tokenizer.json", "status", status=200)]
    ),
    "a hub without ranges": Case(lambda _: [Fault(AT_THIRD, "no_ranges", -1)]),
    "a hub that forgets ranges in the middle": Case(
        lambda _: [Fault(AT_THIRD, "cut", 2, after=900_000), Fault(AT_THIRD, "no_ranges", -1)]
    ),
    "more than the hub said": Case(lambda _: [Fault("*.safetensors", "longer", -1)]),
    "less than was asked for": Case(lambda _: [Fault(AT_THIRD, "shorter", 4)]),
    "nothing, and no error": Case(lambda _: [Fault(AT_THIRD, "empty", 3)]),
    "another range than was asked for": Case(lambda _: [Fault(AT_THIRD, "garbage_range")]),
    "a flipped bit in the middle": Case(lambda _: [Fault(AT_THIRD, "flip", after=1_000_000)]),
    "a flipped bit in the last byte": Case(lambda size: [Fault(AT_THIRD, "flip", after=size - 1)]),
    "a flipped bit in a small file": Case(lambda _: [Fault("*/tokenizer.json", "flip", after=100)]),
    "the CDN cuts the body": Case(lambda _: [Fault(f"cdn{AT_THIRD}", "cut", 2, after=900_000)], cdn=True),
    "the CDN flips a bit": Case(lambda _: [Fault(f"cdn{AT_THIRD}", "flip", after=1_000_000)], cdn=True),
    "the CDN answers 503": Case(lambda _: [again()(f"cdn{AT_THIRD}", times=2)], cdn=True),
}


class TestFaultsThatPass:
    """Whatever happens on the way: one run, the same bytes as without it, and at most a shard more from the hub."""

    @pytest.mark.parametrize("case", PASSING)
    def test_the_result_is_the_same(self, together: Together, case: str) -> None:
        together.run(self.attempt, PASSING, case)

    @staticmethod
    def attempt(name: str, person: Person, undisturbed: Undisturbed) -> None:
        case, hub = PASSING[name], person.hub
        hub.cdn = case.cdn
        hub.faults = case.faults(undisturbed.third)
        person.variables = case.variables
        if not case.patient:
            person.program = IMPATIENT_R1
        done = person.pull()
        assert done.returncode == 0, done.stderr.decode()
        assert all(fault.used == fault.times or (fault.used and fault.times in ALWAYS) for fault in hub.faults)
        assert person.digest == undisturbed.digest
        assert person.sent - undisturbed.sent <= undisturbed.shard
        if "flip" in {fault.kind for fault in hub.faults}:  # that file twice, and only that
            (name,) = (name for name in (*NAMES, *SMALL) if fnmatchcase(f"cdn/{name}", hub.faults[0].match))
            assert f"{name}: it came with the digest" in done.stderr.decode()
            size = (hub.root / REPO / name).stat().st_size
            assert (hub.sent[name], person.sent - undisturbed.sent) == (2 * size, size)


def lie(name: str, **lies: object) -> Change:
    """A listing that says something else of one file."""

    def change(info: dict[str, Any]) -> dict[str, Any]:
        for sibling in info["siblings"]:
            if sibling["rfilename"] == name:
                sibling |= {key: value for key, value in lies.items() if key in {"rfilename", "blobId", "size", "lfs"}}
                if isinstance(sibling.get("lfs"), dict):
                    sibling["lfs"] |= {key: value for key, value in lies.items() if key in {"sha256", "size"}}
        return info

    return change


UNSEEN: dict[str, tuple[int, list[Fault], Change | None]] = {
    "a flipped bit in the header's length": (0, [Fault(AT_THIRD, "flip", after=0)], None),
    "a header that is said to be endless": (0, [Fault(AT_THIRD, "flip", after=7)], None),
    "a flipped bit in the header": (0, [Fault(AT_THIRD, "flip", after=HEADER)], None),
    "a flipped bit in the first tensor": (0, [Fault(AT_THIRD, "flip", after=BEGINNING - 1)], None),
    "a page of a network that wants a login comes instead of a shard": (
        0,
        [Fault(AT_THIRD, "status", status=200, body=b"<html>Log in</html>")],
        None,
    ),
    "the listing lies about a shard's size": (7, [], lie(THIRD, size=1_000_000)),
}


class TestDamageWhereNobodyLooksYet:
    """What a shard begins with is planned with before anybody can check it; damage there is looked at a second time."""

    @pytest.mark.parametrize("case", UNSEEN)
    def test_it_never_costs_a_model(self, together: Together, case: str) -> None:
        together.run(self.attempt, UNSEEN, case)

    @staticmethod
    def attempt(name: str, person: Person, undisturbed: Undisturbed) -> None:
        hub = person.hub
        status, hub.faults, hub.info_overrides = UNSEEN[name]
        person.program = IMPATIENT_R1
        done = person.pull()
        assert done.returncode == status
        if status:
            assert "damaged" in error_line(done)
            assert person.hold_no_model()
            hub.faults, hub.info_overrides = [], None
            assert person.pull().returncode == 0
        assert person.digest == undisturbed.digest
        assert person.sent - undisturbed.sent <= undisturbed.shard + len(NAMES) * BEGINNING


class TestWaits:
    """The hub is asked again when it says, and every request may fail."""

    def test_as_long_as_the_hub_asks(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        times: list[float] = []
        hub.before = lambda request: times.append(time.monotonic()) if THIRD in request else None
        headers = {"Retry-After": "1"}, {"ratelimit": '"resolvers";r=0;t=1'}
        hub.faults = [Fault(AT_THIRD, "status", status=429, headers=header) for header in headers]
        person.program = IMPATIENT_R1
        assert person.pull().returncode == 0
        assert times[1] - times[0] >= 1
        assert times[2] - times[1] >= 1
        assert (person.digest, person.sent) == (undisturbed.digest, undisturbed.sent)

    def test_every_other_request_fails(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        failed = [True]

        def fail(request: str) -> None:
            failed.append(not failed[-1])
            if failed[-1]:
                hub.faults = [again()("*")]

        hub.before = fail
        assert person.pull().returncode == 0
        assert (person.digest, person.sent) == (undisturbed.digest, undisturbed.sent)
        assert sum(failed) == len(failed) // 2 > 10


LASTING: dict[str, tuple[str, list[Fault], Change | None]] = {
    "every answer is 503": ("the hub answered 503", [again()("*", times=-1)], None),
    "a shard's answer is always 503": ("the hub answered 503", [again()(AT_THIRD, times=-1)], None),
    "every body is cut at its first byte": ("the connection broke", [Fault("*.safetensors", "cut", -1)], None),
    "the look-up is cut at its first byte": ("the connection broke", [Fault("api/*", "cut", -1)], None),
    "every shard is nothing": ("the connection ended early", [Fault("*.safetensors", "empty", -1)], None),
    "every byte of a shard comes wrong": ("nothing of it was used", [Fault(AT_THIRD, "flip", -1, after=999_999)], None),
    "a redirect to itself": ("sends from one address to the next", [Fault(AT_THIRD, "loop", -1)], None),
    "the hub wants to be left alone for an hour": (
        "asks for 3,600 seconds",
        [Fault(AT_THIRD, "status", -1, status=429, headers={"Retry-After": "3600"})],
        None,
    ),
    "the hub wants to be left alone for ever": (
        "answered 429",
        [Fault(AT_THIRD, "status", -1, status=429, headers={"ratelimit": f'"api";r=0;t={"9" * 400}'})],
        None,
    ),
    "the CDN does not let us in": ("the hub answered 403", [Fault(AT_THIRD, "status", -1, status=403)], None),
    "the listing lies about a shard's digest": ("nothing of it was used", [], lie(THIRD, sha256="0" * 64)),
    "the listing lies about a small file's digest": (
        "nothing of it was used",
        [],
        lie("tokenizer.json", blobId="0" * 40),
    ),
}


class TestFaultsThatDoNotPass:
    """One line and exit 6, nothing that looks whole; and when the hub is well again, a plain run makes the same."""

    @pytest.mark.parametrize("case", LASTING)
    def test_the_next_run_makes_it_good(self, together: Together, case: str) -> None:
        together.run(self.attempt, LASTING, case)

    @staticmethod
    def attempt(name: str, person: Person, undisturbed: Undisturbed) -> None:
        hub = person.hub
        says, hub.faults, hub.info_overrides = LASTING[name]
        person.program = IMPATIENT_R1
        done = person.pull()
        line = error_line(done)
        assert (done.returncode, says in line) == (6, True), done.stderr.decode()
        assert any(advice in line for advice in ("running it again", "run it again", "Try again later")), line
        assert person.hold_no_model()
        hub.faults, hub.info_overrides = [], None
        healed = person.pull()
        assert healed.returncode == 0, healed.stderr.decode()
        assert person.digest == undisturbed.digest
        if name != "the listing lies about a shard's digest":  # nothing that was made under a lie is believed
            assert person.sent - undisturbed.sent <= 2 * undisturbed.shard  # of a shard that came wrong twice

    def test_what_came_before_the_end_is_not_fetched_again(
        self, hub: Hub, person: Person, undisturbed: Undisturbed
    ) -> None:
        hub.before = lambda _: hub.faults.append(again()("*", times=-1)) if hub.sent[THIRD] > BEGINNING else None
        assert error_line(person.pull())
        hub.faults, hub.before = [], None
        person.pull()
        assert person.exits == [6, 0]
        assert (person.digest, person.sent) == (undisturbed.digest, undisturbed.sent)


class TestSecrets:
    """The token goes to the hub and nowhere else; whoever needs one is told so, in one line."""

    @pytest.mark.parametrize("ends", ["well", "badly"])
    def test_the_token_reaches_the_hub_alone(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, ends: str
    ) -> None:
        hub.cdn, hub.token, hub.private = True, TOKEN, {REPO}
        person.variables = {"HF_TOKEN": TOKEN, "R1_DEBUG": "1"}
        person.program = IMPATIENT_R1
        hub.faults = [Fault(f"cdn{AT_THIRD}", "cut", 1 if ends == "well" else -1, after=0)]
        done = person.pull()
        assert done.returncode == (0 if ends == "well" else 6), done.stderr.decode()
        seen = {(server, header) for server, path, header in hub.authorizations if REPO in path}
        assert seen == {("hub", f"Bearer {TOKEN}"), ("cdn", None)}
        written = [path.read_bytes() for path in person.home.rglob("*") if path.is_file()]
        for text in (done.stdout, done.stderr, *written):
            assert TOKEN.encode() not in text
            assert SIGNATURE.encode() not in text
        assert ends == "badly" or person.digest == undisturbed.digest

    @pytest.mark.parametrize("gated_info", [False, True])
    def test_a_gated_repository(self, hub: Hub, person: Person, undisturbed: Undisturbed, gated_info: bool) -> None:
        hub.token, hub.gated, hub.gated_info = TOKEN, {REPO}, gated_info
        line = error_line(person.pull())
        assert "asks for consent" in line
        assert "HF_TOKEN" in line
        person.variables = {"HF_TOKEN": "hf_another"}
        assert "with the account of your token" in error_line(person.pull())
        person.variables = {"HF_TOKEN": TOKEN}
        person.pull()
        assert (person.exits, person.digest) == ([6, 6, 0], undisturbed.digest)

    def test_a_private_repository(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        hub.token, hub.private = TOKEN, {REPO}
        line = error_line(person.pull())
        assert "is not on the hub" in line
        assert "HF_TOKEN" in line
        person.variables = {"HF_TOKEN": "hf_another"}
        assert "your token does not open it" in error_line(person.pull())
        person.variables = {"HF_TOKEN": TOKEN}
        person.pull()
        assert (person.exits, person.digest) == ([4, 4, 0], undisturbed.digest)

    def test_a_token_that_the_hub_does_not_know(self, hub: Hub, person: Person) -> None:
        said = {"X-Error-Message": "Invalid credentials in Authorization header"}
        hub.faults = [Fault("*", "status", -1, status=401, headers=said)]
        person.variables = {"HF_TOKEN": TOKEN}
        done = person.pull()
        assert (done.returncode, done.stderr.count(b"\n")) == (6, 1)
        assert "does not accept your token" in error_line(done)
        assert TOKEN.encode() not in done.stderr


def another(served: Path, root: Path, names: list[str]) -> Path:
    """A hub's root with a checkpoint that differs in these shards; the rest is the same."""
    (root / REPO).mkdir(parents=True)
    for path in (served / REPO).iterdir():
        if path.name in names:
            data = bytearray(path.read_bytes())
            data[-100_000:] = bytes(byte ^ 0x80 if at % 2 else byte for at, byte in enumerate(data[-100_000:]))
            (root / REPO / path.name).write_bytes(data)  # the last weights with the other sign
        else:
            os.link(path, root / REPO / path.name)
    return root


@pytest.fixture(scope="module")
def later(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The next commit's root: the third shard is another."""
    return another(served, tmp_path_factory.mktemp("later"), [THIRD])


@pytest.fixture(scope="module")
def digest_later(later: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What an undisturbed pull makes of that."""
    with Hub(later) as hub:
        person = Person(hub, tmp_path_factory.mktemp("digest-later"))
        assert person.pull().returncode == 0
        return person.digest


class TestCommits:
    """A pull is of one commit, the one it began with, as long as there is such a commit."""

    def test_the_branch_moves_in_the_middle(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, later: Path
    ) -> None:
        hub.snapshots[LATER] = later
        hub.before = lambda request: setattr(hub, "main", LATER) if NAMES[0] in request else None
        assert person.pull().returncode == 0
        assert (hub.main, person.manifest.revision) == (LATER, COMMIT)
        assert (person.digest, person.sent) == (undisturbed.digest, undisturbed.sent)

    def test_the_branch_moves_between_two_runs(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, later: Path
    ) -> None:
        hub.snapshots[LATER] = later
        hub.before = lambda _: hub.faults.append(again()("*", times=-1)) if hub.sent[THIRD] > BEGINNING else None
        assert person.pull().returncode == 6
        hub.main, hub.faults, hub.before = LATER, [], None
        assert person.pull().returncode == 0
        assert person.manifest.revision == COMMIT
        assert (person.digest, person.sent) == (undisturbed.digest, undisturbed.sent)

    @pytest.mark.parametrize("changed", ["nothing", "a shard"])
    def test_the_commit_goes_in_the_middle(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, later: Path, digest_later: str, changed: str
    ) -> None:
        hub.snapshots[LATER] = later if changed == "a shard" else hub.root
        asked: list[str] = []

        def forget(request: str) -> None:
            asked.append(request)
            if sum(THIRD in request for request in asked) == 2:  # when two shards are here
                hub.snapshots.pop(COMMIT, None)
                hub.main = LATER

        hub.before = forget
        done = person.pull()
        assert (done.returncode, b"takes its place" in done.stderr) == (0, True), done.stderr
        assert person.manifest.revision == LATER
        if changed == "a shard":  # and so nothing that was made of the others is believed
            assert person.digest == digest_later
        else:
            assert person.digest == undisturbed.digest
            assert (
                sum(hub.sent[name] for name in NAMES) == undisturbed.sent - sum(hub.sent[name] for name in SMALL) // 2
            )

    @pytest.mark.parametrize("changed", ["nothing", "a shard"])
    def test_the_commit_goes_between_two_runs(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, later: Path, digest_later: str, changed: str
    ) -> None:
        hub.faults = [Fault(f"*/{NAMES[4]}", "drip", -1, piece=10_000, seconds=0.05)]
        process = person.start()
        wait_until(lambda: hub.sent[NAMES[4]] > BEGINNING + 100_000, process)
        process.kill()
        person.end(process)
        root = later if changed == "a shard" else hub.root
        hub.snapshots, hub.main, hub.faults = {LATER: root}, LATER, []
        assert person.pull().returncode == 0
        assert person.manifest.revision == LATER
        if changed == "a shard":
            assert person.digest == digest_later
        else:
            assert person.digest == undisturbed.digest
            assert person.sent - undisturbed.sent <= undisturbed.shard

    def test_an_update_with_nothing_new_fetches_nothing(
        self, hub: Hub, person: Person, undisturbed: Undisturbed
    ) -> None:
        person.pull()
        asked = hub.requests.total()
        done = person.pull("--update", MODEL)
        assert (done.returncode, done.stdout.split(b"\t")[0].decode()) == (0, MODEL)
        assert (hub.requests.total(), person.sent) == (asked + 1, undisturbed.sent)

    def test_an_update_takes_what_is_new(self, hub: Hub, person: Person, later: Path, digest_later: str) -> None:
        person.pull()
        hub.snapshots[LATER], hub.main = later, LATER
        person.pull()
        assert person.manifest.revision == COMMIT
        person.pull("--update", MODEL)
        assert (person.exits, person.digest, person.manifest.revision) == ([0, 0, 0], digest_later, LATER)

    def test_an_update_that_fails_leaves_what_was_there(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, later: Path, digest_later: str
    ) -> None:
        person.pull()
        hub.snapshots[LATER], hub.main = later, LATER
        hub.faults = [again()(AT_THIRD, times=8)]
        assert person.pull("--update", MODEL).returncode == 6
        assert (person.digest, person.manifest.revision) == (undisturbed.digest, COMMIT)
        assert person.pull("--update", MODEL).returncode == 0
        assert (person.digest, person.manifest.revision) == (digest_later, LATER)


def wait_until(true: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Look until it is, as long as the process runs."""
    while not true():
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.002)


def with_info(**changes: object) -> Change:
    return lambda info: {**info, **changes}


HOSTILE_LISTINGS: dict[str, Change] = {
    **{
        f"a file called {name!r}": lie(THIRD, rfilename=name)
        for name in (
            *("../x.safetensors", "a/../../x.safetensors", "/etc/x.safetensors", "a\0.safetensors"),
            *("..\\x.safetensors", "C:\\x.safetensors", "", None, ["a"]),
        )
    },
    **{f"a shard of {str(size)[:30]!r} bytes": lie(THIRD, size=size) for size in (-1, 1 << 60, "1971961", 1.5, None)},
    **{f"a shard that hashes to {digest!r}": lie(THIRD, sha256=digest) for digest in ("0" * 63, "X" * 64, 5)},
    "a shard that hashes to nothing": lie(THIRD, lfs=None),
    "a config.json of 40 MB": lie("config.json", size=40_000_000),
    "a file that is listed twice": lambda info: {**info, "siblings": info["siblings"] + info["siblings"][-1:]},
    **{f"a commit that is {sha!r}": with_info(sha=sha) for sha in ("main", "../" * 14, None, 5)},
    **{f"siblings that are {value!r}": with_info(siblings=value) for value in (None, [5], [{}])},
    **{f"an answer that is {value!r}": lambda _, value=value: value for value in ([], {}, None, "text", 5)},
    "a million characters for a name": lie(THIRD, rfilename="a" * 1_000_000),
    "thirty thousand files": with_info(
        siblings=[{"rfilename": f"{number}.txt", "size": 1, "blobId": "0" * 40} for number in range(30_000)]
    ),
    "lists in lists": with_info(siblings=[json.loads("[" * 900 + "]" * 900)]),
}


class TestHostileHubs:
    """Whatever a hub says is in a repository: one line, nothing written outside the home, nothing that stays in it."""

    @pytest.mark.parametrize("case", HOSTILE_LISTINGS)
    def test_a_listing(self, together: Together, case: str) -> None:
        together.run(self.attempt, HOSTILE_LISTINGS, case)

    @staticmethod
    def attempt(name: str, person: Person, undisturbed: Undisturbed) -> None:
        person.hub.info_overrides = HOSTILE_LISTINGS[name]
        done = person.pull()
        assert done.returncode in {4, 6, 7}, done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
        assert len(error_line(done)) < 400
        assert outside(person) == []
        if person.home.exists():
            assert person.hold_no_model()
            assert not [*person.home.glob("checkpoints/*/*/model-*")]
            person.hub.info_overrides = None
            assert person.pull().returncode == 0
            assert person.digest == undisturbed.digest

    @pytest.mark.parametrize(
        "body", [b"<html>Log in</html>", b"", b"{", b"[" * 100_000, b'{"siblings": ' + b"9" * 10_000 + b"}", b"\xff"]
    )
    def test_what_is_no_hub_at_all(self, hub: Hub, person: Person, body: bytes) -> None:
        with answering(body) as endpoint:
            person.variables = {"HF_ENDPOINT": endpoint}
            done = person.pull()
        assert (done.returncode, done.stderr.count(b"\n")) == (6, 1), done.stderr.decode()
        assert "no hub" in error_line(done)
        assert not person.home.exists()

    @pytest.mark.parametrize(
        "shard", ["../x.safetensors", "/x.safetensors", "x.bin", "model-00006-of-00005.safetensors"]
    )
    def test_an_index_that_points_elsewhere(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, served: Path, tmp_path: Path, shard: str
    ) -> None:
        root = another(served, tmp_path / "other", [])
        index = json.loads((root / REPO / SMALL[-1]).read_bytes())
        index["weight_map"]["lm_head.weight"] = shard
        self.check_index(hub, person, undisturbed, root, json.dumps(index))

    def test_an_index_that_names_a_tensor_twice(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, served: Path, tmp_path: Path
    ) -> None:
        root = another(served, tmp_path / "other", [])
        text = (root / REPO / SMALL[-1]).read_text(encoding="utf-8")
        where = json.loads(text)["weight_map"]["lm_head.weight"]
        elsewhere = next(name for name in NAMES if name != where)
        self.check_index(hub, person, undisturbed, root, text[:-2] + f', "lm_head.weight": "{elsewhere}"' + "}}")

    @staticmethod
    def check_index(hub: Hub, person: Person, undisturbed: Undisturbed, root: Path, text: str) -> None:
        """Refused before anything large comes, and the next commit is none the worse for it."""
        (root / REPO / SMALL[-1]).unlink()
        (root / REPO / SMALL[-1]).write_text(text, encoding="utf-8")
        (root / REPO / "x.bin").write_bytes(b"a pickle")
        (root / "x.safetensors").write_bytes(b"outside")
        hub.snapshots = {LATER: root}
        hub.main = LATER
        done = person.pull()
        assert (done.returncode, done.stderr.count(b"\n")) == (7, 1), done.stderr.decode()
        assert hub.sent["x.bin"] == 0
        assert outside(person) == []
        assert sum(hub.sent[name] for name in NAMES) <= 2 * len(NAMES) * BEGINNING  # looked at twice
        hub.snapshots[COMMIT] = hub.root
        hub.main = COMMIT
        healed = person.pull()
        assert healed.returncode == 0, healed.stderr.decode()
        assert (person.digest, person.manifest.revision) == (undisturbed.digest, COMMIT)


def outside(person: Person) -> list[str]:
    """What lies around somebody's home and cache that was not there before."""
    return sorted(path.name for path in person.folder.iterdir() if path.name not in {"own", "hf"})


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """A server that answers everything with this; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


KILLS = [f"killed at a random moment, {number}" for number in range(1, 21)]


class TestKills:
    """Killed whenever it may be, the next run goes on: the same bytes, and nothing that was here comes again."""

    @pytest.mark.parametrize("case", KILLS)
    def test_the_next_run_goes_on(self, together: Together, case: str) -> None:
        together.run(self.attempt, KILLS, case)

    @staticmethod
    def attempt(name: str, person: Person, undisturbed: Undisturbed) -> None:
        person.hub.faults = [replace(SLOWLY)]
        chance = random.Random(os.urandom(8))
        bytes_first, moment = int(chance.uniform(0, 1) * undisturbed.sent), chance.uniform(0, 0.3)
        process = person.start()
        wait_until(lambda: person.sent > bytes_first, process)  # so that it is as random on a busy machine
        time.sleep(moment)
        process.kill()
        person.end(process)
        person.remark = f" ({person.sent:,} bytes)"
        was_whole = person.gguf.exists()
        assert not was_whole or person.digest == undisturbed.digest
        person.hub.faults = []
        done = person.pull()
        assert done.returncode == 0, f"killed after {bytes_first:,} bytes and {moment} s: {done.stderr.decode()}"
        assert b"starting over" not in done.stderr
        assert person.digest == undisturbed.digest, f"killed after {bytes_first:,} bytes and {moment} s"
        assert person.sent - undisturbed.sent <= undisturbed.shard, f"killed after {bytes_first:,} bytes and {moment} s"
        assert person.manifest.sha256 == undisturbed.digest
        assert was_whole or not [*person.home.glob("checkpoints/*/*/*"), *person.home.rglob("*.partial*")]

    def test_again_and_again(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        hub.faults = [replace(SLOWLY)]
        while not person.gguf.exists():
            assert len(person.exits) < 30
            until, process = person.sent + 900_000, person.start()
            while person.sent < until and process.poll() is None:
                time.sleep(0.002)
            process.kill()
            person.end(process)
        assert person.digest == undisturbed.digest
        assert person.sent - undisturbed.sent <= undisturbed.shard * len(person.exits)

    @pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_who_stops_it_is_told_how_to_go_on(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, sent: signal.Signals, status: int
    ) -> None:
        hub.faults = [replace(SLOWLY)]
        process = person.start()
        wait_until(lambda: person.sent > 2_500_000, process)
        process.send_signal(sent)
        done = person.end(process)
        assert done.returncode == status
        line = done.stderr.decode().splitlines()[-1]
        assert line.startswith("r1: stopped (")
        assert line.endswith("run it again to resume")
        hub.faults = []
        assert person.pull().returncode == 0
        assert person.digest == undisturbed.digest
        assert person.sent - undisturbed.sent <= undisturbed.shard

    def test_as_the_model_gets_its_name(self, person: Person, undisturbed: Undisturbed) -> None:
        process = person.start()
        gguf = str(person.gguf)
        until = time.monotonic() + 60
        while not os.path.exists(gguf):  # noqa: PTH110 — every microsecond counts
            assert time.monotonic() < until
        process.kill()
        person.end(process)
        assert person.manifest.sha256 == person.digest == undisturbed.digest

    def test_while_a_long_header_comes(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, served: Path, tmp_path: Path
    ) -> None:
        root = another(served, tmp_path / "other", [])
        data = (root / REPO / THIRD).read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        header = data[8:end] + b" " * (2 * BEGINNING)
        (root / REPO / THIRD).unlink()
        checkpoints.write_raw_safetensors(root / REPO / THIRD, header, data[end:])
        hub.snapshots = {COMMIT: root}
        process = person.start()
        asked: list[str] = []

        def kill(request: str) -> None:
            asked.append(request)
            if sum(THIRD in request for request in asked) == 2:
                process.kill()

        hub.before = kill
        person.end(process)
        assert person.exits == [-signal.SIGKILL]
        assert person.pull().returncode == 0
        assert person.digest == undisturbed.digest


class TestTwoAtOnce:
    """They do not mix their bytes: one waits, and says for whom."""

    @pytest.mark.parametrize("quants", [("Q4_K_M", "Q4_K_M"), ("Q4_K_M", "Q8_0")], ids=["of one model", "of two types"])
    def test_both_end_well(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, tmp_path: Path, quants: tuple[str, str]
    ) -> None:
        other = Person(hub, tmp_path / "other")
        other.folder.mkdir()
        other.pull(f"qwen-1.5b:{quants[1]}")
        hub.sent.clear()
        hub.faults = [replace(SLOWLY)]
        first = person.start(f"qwen-1.5b:{quants[0]}")
        wait_until(lambda: person.sent, first)
        second = person.start(f"qwen-1.5b:{quants[1]}")
        with ThreadPoolExecutor(2) as both:
            (_, said) = both.map(person.end, (first, second))
        assert person.exits == [0, 0]
        assert f"(process {first.pid}); waiting for it" in said.stderr.decode()
        assert person.digest == undisturbed.digest
        files = [who.gguf.with_name(f"{quants[1]}.gguf").read_bytes() for who in (person, other)]
        assert files[0] == files[1]
        assert person.sent == len({*quants}) * undisturbed.sent


class TestXet:
    """The hub's faster way is taken where it works, and left where it does not."""

    @pytest.fixture
    def hub(self, served: Path) -> Iterator[Hub]:
        with Hub(served, xet=True) as started:
            yield started

    @staticmethod
    def plainly(hub: Hub) -> int:
        """Bytes of the weights that came the plain way."""
        return sum(hub.sent[name] for name in NAMES)

    def test_the_weights_come_through_it(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        assert person.pull().returncode == 0
        assert person.digest == undisturbed.digest
        assert self.plainly(hub) == len(NAMES) * BEGINNING

    def test_an_interrupted_one_goes_on(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        process = person.start()
        hub.before = lambda request: process.kill() if request.startswith("HEAD") and THIRD in request else None
        person.end(process)
        hub.before = None
        assert person.pull().returncode == 0
        assert (person.exits, person.digest) == ([-signal.SIGKILL, 0], undisturbed.digest)
        assert self.plainly(hub) == len(NAMES) * BEGINNING
        heads = {
            name: sum(hub.requests[key] for key in hub.requests if key.startswith("HEAD") and name in key)
            for name in NAMES
        }
        assert list(heads.values()) == [1, 1, 2, 1, 1]

    def test_a_store_that_cannot_be_opened(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        hub.xet_broken = True
        done = person.pull()
        assert (done.returncode, b"taking the plain way" in done.stderr) == (0, True), done.stderr
        assert (person.digest, person.sent) == (undisturbed.digest, undisturbed.sent)

    @pytest.mark.parametrize("damage", ["empty", "lost", "flipped"])
    def test_a_damaged_store(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, damage: Literal["empty", "lost", "flipped"]
    ) -> None:
        hub.xet_damage = damage
        person.program = IMPATIENT_R1
        done = person.pull()
        assert done.returncode == 0, done.stderr.decode()
        assert person.digest == undisturbed.digest
        assert person.sent - undisturbed.sent <= undisturbed.shard

    def test_the_token_stays_with_the_hub(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        hub.token, hub.private = TOKEN, {REPO}
        person.variables = {"HF_TOKEN": TOKEN, "R1_DEBUG": "1"}
        done = person.pull()
        assert (done.returncode, person.digest) == (0, undisturbed.digest)
        written = [path.read_bytes() for path in person.home.rglob("*") if path.is_file()]
        assert not any(TOKEN.encode() in text for text in (done.stdout, done.stderr, *written))

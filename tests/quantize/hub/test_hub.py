"""`r1_quantize.hub.hub`: the real client against a hub on loopback; every way it fails is one of ours."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.errors import BadCheckpoint, ModelNotFound, NetworkError, UsageError
from r1_quantize.hub import hub
from r1_quantize.hub.hub import RevisionGone, TryAgain, XetFailed
from r1_quantize.hub.repository import RemoteFile, Repository
from tests.fakes.hub import COMMIT, Fault, Hub
from tests.quantize.conftest import Serve

REPO = "some-owner/some-model"
NAME = "model.safetensors"
DATA = random.Random(1).randbytes(3_000_000)
CONFIG = b'{"a": 1}\n'
FILE = f"{REPO}/resolve/{COMMIT}/{NAME}"
INFO = f"api/models/{REPO}"


@pytest.fixture
def served(serve: Serve, tmp_path: Path) -> Serve:
    """Starts a hub with one repository."""
    folder = tmp_path / "hub" / REPO
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(DATA)
    (folder / "config.json").write_bytes(CONFIG)
    return serve


def read(repository: Repository, start: int = 0, end: int = len(DATA), name: str = NAME, **options: bool) -> bytes:
    """The bytes that come, which is what was asked for, or all that there is before it too."""
    with hub.open_body(repository, repository.files[name], start, end, **options) as body:
        return b"".join(body.pieces)[start - body.start :]


class TestLookUp:
    """What a repository holds: names, sizes, digests and a commit."""

    def test_says_what_git_says(self, served: Serve) -> None:
        served()
        found = hub.look_up(REPO)
        assert (found.name, found.commit) == (REPO, COMMIT)
        assert found.files.keys() == {NAME, "config.json"}
        large, small = found.files[NAME], found.files["config.json"]
        assert (large.size, large.digest) == (len(DATA), hashlib.sha256(DATA).hexdigest())
        assert (small.size, small.sha256) == (9, None)
        assert small.digest == hashlib.sha1(b"blob 9\0" + CONFIG).hexdigest()

    def test_at_an_older_commit(self, served: Serve, tmp_path: Path) -> None:
        older = "e" * 40
        (tmp_path / "older" / REPO).mkdir(parents=True)
        (tmp_path / "older" / REPO / "config.json").write_bytes(b"{}")
        served().snapshots[older] = tmp_path / "older"
        found = hub.look_up(REPO, older)
        assert (found.commit, found.files["config.json"].size, len(found.files)) == (older, 2, 1)

    def test_a_commit_that_is_gone(self, served: Serve) -> None:
        served()
        with pytest.raises(RevisionGone, match=f"{REPO}: the hub no longer has that commit"):
            hub.look_up(REPO, "f" * 40)

    @pytest.mark.parametrize(
        "repo", ["", "a", "a/b/c", "../a", "a/..", "a/b?x=1", "a/b#c", "a\\b/c", "a/b.git", "a/b-"]
    )
    def test_what_is_no_name_is_never_asked_for(self, served: Serve, repo: str) -> None:
        started = served()
        with pytest.raises(UsageError) as caught:
            hub.look_up(repo)
        assert str(caught.value).isprintable()
        assert not [request for request in started.requests if "api/models" in request]

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"sha": "main"}, "the hub says no commit but 'main'"),
            ({"sha": None}, "the hub says no commit but None"),
            ({"siblings": [{"rfilename": "../../x", "size": 1, "blobId": "0" * 40}]}, "a file called '../../x'"),
            ({"siblings": [{"rfilename": "x", "size": 1 << 60, "blobId": "0" * 40}]}, "bytes long"),
            ({"siblings": [{"rfilename": "x", "size": 1, "blobId": "0"}]}, "is said to hash to '0'"),
            ({"siblings": 2 * [{"rfilename": "x", "size": 1, "blobId": "0" * 40}]}, "lists 'x' twice"),
            (
                {
                    "siblings": [
                        {"rfilename": "x", "size": 1, "lfs": {"size": -5, "sha256": "0" * 64, "pointerSize": 1}}
                    ]
                },
                "'x' is said to be",
            ),
        ],
    )
    def test_what_is_impossible_is_not_believed(self, served: Serve, change: dict[str, Any], said: str) -> None:
        served().info_overrides = lambda info: {**info, **change}
        with pytest.raises(BadCheckpoint, match=said):
            hub.look_up(REPO)

    @pytest.mark.parametrize(
        "lie",
        [
            lambda info: [],
            lambda info: "welcome to the hotel",
            lambda info: None,
            lambda info: {},
            lambda info: {**info, "siblings": 7},
            lambda info: {**info, "siblings": ["x"]},
            lambda info: {**info, "siblings": [{}]},
            lambda info: {**info, "siblings": [{"rfilename": "x", "lfs": "large"}]},
            lambda info: {**info, "siblings": [{"rfilename": "x", "lfs": {"sha256": 1}}]},
            lambda info: {**info, "lastModified": "yesterday"},
            lambda info: {**info, "createdAt": 7},
        ],
    )
    def test_what_makes_no_sense_is_no_hub(self, served: Serve, lie: Callable[[dict[str, Any]], Any]) -> None:
        started = served()
        started.info_overrides = lie
        with pytest.raises((NetworkError, BadCheckpoint)) as caught:
            hub.look_up(REPO)
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize(
        "body", [b"<html>Please log in</html>", b"", b"\xff\xfe\x00", b"[" * 200_000, b"{", b"1" * 5000]
    )
    def test_a_network_that_wants_a_login_is_no_hub(self, served: Serve, body: bytes) -> None:
        started = served()
        started.faults = [Fault(INFO, "status", status=200, headers={"Content-Type": "text/html"}, body=body)]
        with pytest.raises(NetworkError, match=f"what answers at {started.endpoint} is no hub; does the network want"):
            hub.look_up(REPO)


class TestRefusals:
    """Who may see what is said in words that say what to do; no address of a storage is in them."""

    def test_what_is_not_there_may_be_private(self, served: Serve) -> None:
        served()
        with pytest.raises(ModelNotFound, match="not on the hub, or it is private; if it is, set HF_TOKEN"):
            hub.look_up("some-owner/other")

    def test_a_token_that_does_not_open_it(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        served(token="hf_x").private = {REPO}
        monkeypatch.setenv("HF_TOKEN", "hf_y")
        with pytest.raises(ModelNotFound, match="not on the hub, or your token does not open it"):
            hub.look_up(REPO)

    def test_a_token_that_does(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        started = served(token="hf_x", cdn=True)
        started.private = {REPO}
        monkeypatch.setenv("HF_TOKEN", "hf_x")
        assert read(hub.look_up(REPO)) == DATA
        seen = {(server, header) for server, path, header in started.authorizations if REPO in path}
        assert seen == {("hub", "Bearer hf_x"), ("cdn", None)}  # the storage never gets the token

    def test_consent_is_asked_for_where_it_is_given(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        started = served(token="hf_x")
        started.gated, started.gated_info = {REPO}, True
        repository = hub.look_up(REPO)
        consent = f"asks for consent: give it at {started.endpoint}/{REPO}"
        with pytest.raises(NetworkError, match=f"{consent}, then set HF_TOKEN"):
            read(repository)
        started.refused = {REPO}
        monkeypatch.setenv("HF_TOKEN", "hf_x")
        with pytest.raises(NetworkError, match=f"{consent} with the account of your token"):
            read(repository)

    def test_a_file_that_is_gone(self, served: Serve, tmp_path: Path) -> None:
        served()
        repository = hub.look_up(REPO)
        (tmp_path / "hub" / REPO / NAME).unlink()
        with pytest.raises(NetworkError, match=f"{REPO}/{NAME} is no longer on the hub"):
            read(repository)

    def test_a_commit_that_is_gone(self, served: Serve) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.snapshots.clear()
        started.snapshots["f" * 40] = started.root
        with pytest.raises(RevisionGone):
            read(repository)

    @pytest.mark.parametrize("status", [400, 402, 410, 418, 451, 501, 505])
    @pytest.mark.parametrize("path", [FILE, INFO])
    def test_what_does_not_pass_is_not_tried_again(self, served: Serve, status: int, path: str) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(path, "status", status=status)]
        with pytest.raises(NetworkError, match=f"the hub answered {status} for {REPO}"):
            read(repository) if path == FILE else hub.look_up(REPO)

    def test_a_storages_address_is_a_secret(self, served: Serve) -> None:
        started = served(cdn=True)
        repository = hub.look_up(REPO)
        started.faults = [Fault("cdn/*", "status", status=status) for status in (403, 503)]
        for _ in range(2):
            with pytest.raises((NetworkError, TryAgain)) as caught:
                read(repository)
            assert "Signature" not in str(caught.value)
            assert started.cdn_endpoint not in str(caught.value)

    def test_who_forbids_connections_has_none(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        started = served()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(NetworkError, match="HF_HUB_OFFLINE forbids to fetch it"):
            hub.look_up(REPO)
        assert started.requests.total() == 0


class TestPassing:
    """What may be over soon is TryAgain, with the time that the hub asks for."""

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 522])
    @pytest.mark.parametrize("path", [FILE, INFO])
    def test_a_status(self, served: Serve, status: int, path: str) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(path, "status", status=status)]
        with pytest.raises(TryAgain, match=f"the hub answered {status}") as caught:
            read(repository) if path == FILE else hub.look_up(REPO)
        assert caught.value.wait is None
        assert read(repository) == DATA

    @pytest.mark.parametrize(
        ("headers", "wait"),
        [
            ({"Retry-After": "7"}, 7),
            ({"Retry-After": " 0 "}, 0),
            ({"Retry-After": "99999999"}, 99_999_999),
            *(({"Retry-After": text}, None) for text in ("", "-1", "1.5", "soon", "Wed, 41 Oct 2035 07:28:00 GMT")),
            *(({"Retry-After": text}, None) for text in ("9" * 9, "9" * 5000, "nan", "inf")),
            ({"RateLimit": '"api";r=0;t=55', "Retry-After": "7"}, 55),
            ({"RateLimit": '"api";r=3;t=55'}, None),
            ({"RateLimit": "7"}, None),
        ],
    )
    def test_how_long_the_hub_asks_to_wait(self, served: Serve, headers: dict[str, str], wait: float | None) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "status", status=429, headers=headers)]
        with pytest.raises(TryAgain) as caught:
            read(repository)
        assert caught.value.wait == wait

    @pytest.mark.parametrize(("seconds", "least"), [(-3600, 0), (0, 0), (3600, 3540)])
    def test_until_when_the_hub_asks_to_wait(self, served: Serve, seconds: int, least: float) -> None:
        started = served()
        repository = hub.look_up(REPO)
        then = formatdate(time.time() + seconds, usegmt=True)
        started.faults = [Fault(FILE, "status", status=503, headers={"Retry-After": then})]
        with pytest.raises(TryAgain) as caught:
            read(repository)
        assert caught.value.wait is not None
        assert least <= caught.value.wait <= max(seconds, 0)

    @pytest.mark.parametrize("zone", ["", " -0000"])
    def test_a_date_without_a_zone_is_in_utc(self, served: Serve, zone: str) -> None:
        started = served()
        repository = hub.look_up(REPO)
        then = formatdate(time.time() + 3600).removesuffix(" -0000") + zone
        started.faults = [Fault(FILE, "status", status=503, headers={"Retry-After": then})]
        with pytest.raises(TryAgain) as caught:
            read(repository)
        assert caught.value.wait is not None
        assert 3540 <= caught.value.wait <= 3600

    @pytest.mark.parametrize(
        "date", ["Wed, 21 Oct 99999 07:28:00 GMT", "Wed, 21 Oct 0000 07:28:00 +9999", "1 Jan 1", "x, 1"]
    )
    def test_a_date_that_is_none(self, served: Serve, date: str) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "status", status=503, headers={"Retry-After": date})]
        with pytest.raises(TryAgain):
            read(repository)

    @pytest.mark.parametrize("seconds", ["9" * 400, "9" * 5000])
    def test_a_wait_that_no_number_holds(self, served: Serve, seconds: str) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "status", status=429, headers={"RateLimit": f'"api";r=0;t={seconds}'})]
        with pytest.raises(TryAgain):
            read(repository)

    @pytest.mark.parametrize(("kind", "after"), [("cut", 5000), ("reset", 5000), ("reset", -1), ("cut", -1)])
    def test_a_connection_that_breaks(self, served: Serve, kind: Any, after: int) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, kind, after=after)]
        with pytest.raises(TryAgain, match="the connection broke"):
            read(repository)

    def test_a_hub_that_falls_silent(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        started = served()
        repository = hub.look_up(REPO)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
        started.faults = [Fault(FILE, "stall", after=5000, seconds=60)]
        with pytest.raises(TryAgain, match="the hub fell silent"):
            read(repository)

    def test_a_hub_that_nobody_reaches(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        served()
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(TryAgain, match="the hub cannot be reached"):
            hub.look_up(REPO)

    def test_a_hub_that_sends_one_in_a_circle(self, served: Serve) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "loop", times=-1)]
        with pytest.raises(TryAgain, match="sends from one address to the next"):
            read(repository)


class TestBody:
    """The bytes that were asked for, or all of them from a hub that knows no ranges."""

    @pytest.mark.parametrize(
        ("start", "end"), [(0, len(DATA)), (0, 1), (1, 2), (1000, 2_500_000), (2_999_999, len(DATA)), (17, len(DATA))]
    )
    @pytest.mark.parametrize("cdn", [False, True])
    def test_are_those(self, served: Serve, start: int, end: int, cdn: bool) -> None:
        started = served(cdn=cdn)
        assert read(hub.look_up(REPO), start, end) == DATA[start:end]
        assert started.sent[NAME] == end - start

    def test_of_a_hub_without_ranges_are_all(self, served: Serve) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "no_ranges")]
        with hub.open_body(repository, repository.files[NAME], 1000, 2000) as body:
            assert body.start == 0
            assert b"".join(body.pieces) == DATA

    def test_that_begin_elsewhere_are_not_taken(self, served: Serve) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "garbage_range", range_only=True)]
        with pytest.raises(TryAgain, match="other bytes than were asked for"):
            read(repository, 1000)

    @pytest.mark.parametrize(
        "said", ["", "bytes", "bytes */3000000", "bytes 1000-2000", "pages 1000-2000/3", f"bytes {'9' * 5000}-1/1"]
    )
    def test_of_which_nobody_says_where_they_begin_are_not_taken(self, served: Serve, said: str) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "status", status=206, headers={"Content-Range": said})]
        with pytest.raises(TryAgain, match="other bytes than were asked for"):
            read(repository, 1000)

    def test_are_asked_for_at_the_commit_and_not_at_a_branch(self, served: Serve) -> None:
        started = served()
        read(hub.look_up(REPO))
        assert started.requests[f"GET {FILE}"] == 1
        assert not [request for request in started.requests if "resolve/main" in request]


class TestXet:
    """The hub's faster way is taken where it is offered, and its failures are its own."""

    def test_gives_the_same_bytes(self, served: Serve) -> None:
        started = served(xet=True)
        repository = hub.look_up(REPO)
        assert read(repository, 1000) == DATA[1000:]
        assert started.sent[NAME] == 0
        assert read(repository, xet=False) == DATA
        assert started.sent[NAME] == len(DATA)
        assert read(repository, 0, 9, "config.json") == CONFIG  # small files are in git

    def test_a_store_that_cannot_be_opened(self, served: Serve) -> None:
        started = served(xet=True)
        started.xet_broken = True
        with pytest.raises(XetFailed, match="the hub's Xet storage failed"):
            read(hub.look_up(REPO))

    def test_a_panic_inside_it(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        """What Rust's panics are in Python is no Exception, and its class is nowhere to be imported from."""
        served(xet=True)
        panic = type("PanicException", (BaseException,), {})

        def session() -> None:
            raise panic("Expect rustls-platform-verifier to be initialized")

        monkeypatch.setattr(hub, "_xet_session", lru_cache(session))
        with pytest.raises(XetFailed, match="the hub's Xet storage failed"):
            read(hub.look_up(REPO))


class TestCache:
    """What huggingface_hub has on this disk, which no connection is opened for."""

    def fill(self) -> Path:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(REPO))

    def test_a_file_is_there_by_its_name_and_size(self, served: Serve) -> None:
        started = served()
        repository = hub.look_up(REPO)
        assert hub.cached_file(repository, repository.files[NAME]) is None
        folder = self.fill()
        before = started.requests.total()
        assert hub.cached_file(repository, repository.files[NAME]) == folder / NAME
        longer = RemoteFile(NAME, len(DATA) + 1, "0" * 64, None)
        assert hub.cached_file(repository, longer) is None
        assert hub.cached_file(Repository(REPO, "f" * 40, repository.files), repository.files[NAME]) is None
        assert started.requests.total() == before

    def test_a_link_that_leads_nowhere_is_no_file(self, served: Serve) -> None:
        served()
        repository = hub.look_up(REPO)
        (self.fill() / NAME).resolve().unlink()
        assert hub.cached_file(repository, repository.files[NAME]) is None

    def test_a_checkpoint_is_described_by_what_the_cache_keeps(self, served: Serve) -> None:
        started = served()
        repository = hub.look_up(REPO)
        self.fill()
        before = started.requests.total()
        found = hub.cached_repository(REPO)
        assert (found.name, found.commit) == (REPO, COMMIT)
        assert {name: (file.size, file.digest) for name, file in found.files.items()} == {
            name: (file.size, file.digest) for name, file in repository.files.items()
        }
        assert started.requests.total() == before

    def test_what_is_not_there_is_said_without_asking(self, served: Serve) -> None:
        started = served()
        with pytest.raises(ModelNotFound, match=f"the checkpoint {REPO} is not on this disk"):
            hub.cached_repository(REPO)
        assert started.requests.total() == 0


def test_stopping_transfers_that_nobody_began_is_nothing(served: Serve) -> None:
    hub.stop_transfers()
    started: Hub = served()
    assert read(hub.look_up(REPO)) == DATA
    hub.stop_transfers()
    assert started.sent[NAME] == len(DATA)

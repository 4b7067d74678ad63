"""`r1_quantize.hub.hub`: the real client against a hub on loopback; each of its failures becomes one of our errors."""

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
from r1_quantize.hub.hub import RevisionGone, TransientError, XetFailed
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
    """The requested bytes, or from a hub without ranges those before them too, cut off."""
    with hub.open_body(repository, repository.files[name], start, end, **options) as body:
        return b"".join(body.chunks)[start - body.start :]


class TestLookUp:
    """A repository's listing: names, sizes, digests and a commit."""

    def test_sizes_and_digests_are_those_of_git(self, served: Serve) -> None:
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

    def test_a_missing_commit(self, served: Serve) -> None:
        served()
        with pytest.raises(RevisionGone, match=f"{REPO}: the hub no longer has that commit"):
            hub.look_up(REPO, "f" * 40)

    @pytest.mark.parametrize(
        "repo", ["", "a", "a/b/c", "../a", "a/..", "a/b?x=1", "a/b#c", "a\\b/c", "a/b.git", "a/b-"]
    )
    def test_an_invalid_name_is_never_requested(self, served: Serve, repo: str) -> None:
        started = served()
        with pytest.raises(UsageError) as caught:
            hub.look_up(repo)
        assert str(caught.value).isprintable()
        assert not [request for request in started.requests if "api/models" in request]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"sha": "main"}, "the hub gives 'main' as the commit"),
            ({"sha": None}, "the hub gives None as the commit"),
            ({"siblings": [{"rfilename": "../../x", "size": 1, "blobId": "0" * 40}]}, "an unsafe file name: '../../x'"),
            (
                {"siblings": [{"rfilename": "x", "size": 1 << 60, "blobId": "0" * 40}]},
                "an impossible size: 1152921504606846976",
            ),
            ({"siblings": [{"rfilename": "x", "size": 1, "blobId": "0"}]}, "with an invalid digest: '0'"),
            ({"siblings": 2 * [{"rfilename": "x", "size": 1, "blobId": "0" * 40}]}, "lists 'x' twice"),
            (
                {
                    "siblings": [
                        {"rfilename": "x", "size": 1, "lfs": {"size": -5, "sha256": "0" * 64, "pointerSize": 1}}
                    ]
                },
                "'x' with an impossible size: -5",
            ),
        ],
    )
    def test_an_impossible_listing_is_refused(self, served: Serve, change: dict[str, Any], message: str) -> None:
        served().info_overrides = lambda info: {**info, **change}
        with pytest.raises(BadCheckpoint, match=message):
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
    def test_an_answer_that_is_not_a_listing(self, served: Serve, lie: Callable[[dict[str, Any]], Any]) -> None:
        started = served()
        started.info_overrides = lie
        with pytest.raises((NetworkError, BadCheckpoint)) as caught:
            hub.look_up(REPO)
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize(
        "body", [b"<html>Please log in</html>", b"", b"\xff\xfe\x00", b"[" * 200_000, b"{", b"1" * 5000]
    )
    def test_the_login_page_of_a_network(self, served: Serve, body: bytes) -> None:
        started = served()
        started.faults = [Fault(INFO, "status", status=200, headers={"Content-Type": "text/html"}, body=body)]
        with pytest.raises(
            NetworkError, match=f"{started.endpoint} does not answer like a hub; does the network require"
        ):
            hub.look_up(REPO)


class TestRefusals:
    """A refusal says what to do, and never contains a URL of the CDN."""

    def test_a_missing_repository_may_be_private(self, served: Serve) -> None:
        served()
        with pytest.raises(ModelNotFound, match="not on the hub, or it is private; if it is, set HF_TOKEN"):
            hub.look_up("some-owner/other")

    def test_a_token_without_access(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        served(token="hf_x").private = {REPO}
        monkeypatch.setenv("HF_TOKEN", "hf_y")
        with pytest.raises(ModelNotFound, match="not on the hub, or your token has no access to it"):
            hub.look_up(REPO)

    def test_a_token_with_access(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        started = served(token="hf_x", cdn=True)
        started.private = {REPO}
        monkeypatch.setenv("HF_TOKEN", "hf_x")
        assert read(hub.look_up(REPO)) == DATA
        seen = {(server, header) for server, path, header in started.authorizations if REPO in path}
        assert seen == {("hub", "Bearer hf_x"), ("cdn", None)}  # the storage never gets the token

    def test_a_gated_repository_requires_consent(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        started = served(token="hf_x")
        started.gated, started.gated_info = {REPO}, True
        repository = hub.look_up(REPO)
        consent = f"requires consent; accept its terms at {started.endpoint}/{REPO}"
        with pytest.raises(NetworkError, match=f"{consent}, then set HF_TOKEN"):
            read(repository)
        started.refused = {REPO}
        monkeypatch.setenv("HF_TOKEN", "hf_x")
        with pytest.raises(NetworkError, match=f"{consent} with the account of your token"):
            read(repository)

    def test_a_removed_file(self, served: Serve, tmp_path: Path) -> None:
        served()
        repository = hub.look_up(REPO)
        (tmp_path / "hub" / REPO / NAME).unlink()
        with pytest.raises(NetworkError, match=f"{REPO}/{NAME} is no longer on the hub"):
            read(repository)

    def test_a_removed_commit(self, served: Serve) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.snapshots.clear()
        started.snapshots["f" * 40] = started.root
        with pytest.raises(RevisionGone):
            read(repository)

    @pytest.mark.parametrize("status", [400, 402, 410, 418, 451, 501, 505])
    @pytest.mark.parametrize("path", [FILE, INFO])
    def test_a_permanent_status_is_not_retried(self, served: Serve, status: int, path: str) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(path, "status", status=status)]
        with pytest.raises(NetworkError, match=f"the hub answered {status} for {REPO}"):
            read(repository) if path == FILE else hub.look_up(REPO)

    def test_the_cdns_url_is_never_shown(self, served: Serve) -> None:
        started = served(cdn=True)
        repository = hub.look_up(REPO)
        started.faults = [Fault("cdn/*", "status", status=status) for status in (403, 503)]
        for _ in range(2):
            with pytest.raises((NetworkError, TransientError)) as caught:
                read(repository)
            assert "Signature" not in str(caught.value)
            assert started.cdn_endpoint not in str(caught.value)

    def test_offline_mode_opens_no_connection(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        started = served()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(NetworkError, match="HF_HUB_OFFLINE is set, so it cannot be downloaded"):
            hub.look_up(REPO)
        assert started.requests.total() == 0


class TestTransient:
    """A failure that may pass is a TransientError, with the wait that the hub asks for."""

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 522])
    @pytest.mark.parametrize("path", [FILE, INFO])
    def test_a_status(self, served: Serve, status: int, path: str) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(path, "status", status=status)]
        with pytest.raises(TransientError, match=f"the hub answered {status}") as caught:
            read(repository) if path == FILE else hub.look_up(REPO)
        assert caught.value.retry_after is None
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
    def test_a_wait_in_seconds(self, served: Serve, headers: dict[str, str], wait: float | None) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "status", status=429, headers=headers)]
        with pytest.raises(TransientError) as caught:
            read(repository)
        assert caught.value.retry_after == wait

    @pytest.mark.parametrize(("seconds", "least"), [(-3600, 0), (0, 0), (3600, 3540)])
    def test_a_wait_until_a_date(self, served: Serve, seconds: int, least: float) -> None:
        started = served()
        repository = hub.look_up(REPO)
        then = formatdate(time.time() + seconds, usegmt=True)
        started.faults = [Fault(FILE, "status", status=503, headers={"Retry-After": then})]
        with pytest.raises(TransientError) as caught:
            read(repository)
        assert caught.value.retry_after is not None
        assert least <= caught.value.retry_after <= max(seconds, 0)

    @pytest.mark.parametrize("zone", ["", " -0000"])
    def test_a_date_without_a_zone_is_in_utc(self, served: Serve, zone: str) -> None:
        started = served()
        repository = hub.look_up(REPO)
        then = formatdate(time.time() + 3600).removesuffix(" -0000") + zone
        started.faults = [Fault(FILE, "status", status=503, headers={"Retry-After": then})]
        with pytest.raises(TransientError) as caught:
            read(repository)
        assert caught.value.retry_after is not None
        assert 3540 <= caught.value.retry_after <= 3600

    @pytest.mark.parametrize(
        "date", ["Wed, 21 Oct 99999 07:28:00 GMT", "Wed, 21 Oct 0000 07:28:00 +9999", "1 Jan 1", "x, 1"]
    )
    def test_an_invalid_date(self, served: Serve, date: str) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "status", status=503, headers={"Retry-After": date})]
        with pytest.raises(TransientError):
            read(repository)

    @pytest.mark.parametrize("seconds", ["9" * 400, "9" * 5000])
    def test_a_wait_beyond_any_number(self, served: Serve, seconds: str) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "status", status=429, headers={"RateLimit": f'"api";r=0;t={seconds}'})]
        with pytest.raises(TransientError):
            read(repository)

    @pytest.mark.parametrize(("kind", "after"), [("cut", 5000), ("reset", 5000), ("reset", -1), ("cut", -1)])
    def test_a_broken_connection(self, served: Serve, kind: Any, after: int) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, kind, after=after)]
        with pytest.raises(TransientError, match="the connection broke"):
            read(repository)

    def test_a_hub_that_stops_responding(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        started = served()
        repository = hub.look_up(REPO)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
        started.faults = [Fault(FILE, "stall", after=5000, seconds=60)]
        with pytest.raises(TransientError, match="the hub stopped responding"):
            read(repository)

    def test_an_unreachable_hub(self, served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        served()
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(TransientError, match="cannot reach the hub") as caught:
            hub.look_up(REPO)
        assert caught.value.after(3) == "cannot reach the hub (3 attempts: Connection refused)"
        assert caught.value.after(1) == "cannot reach the hub (Connection refused)"

    def test_a_redirect_loop(self, served: Serve) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "loop", times=-1)]
        with pytest.raises(TransientError, match="redirects in a loop"):
            read(repository)


class TestBody:
    """The requested bytes, or all of them from a hub without ranges."""

    @pytest.mark.parametrize(
        ("start", "end"), [(0, len(DATA)), (0, 1), (1, 2), (1000, 2_500_000), (2_999_999, len(DATA)), (17, len(DATA))]
    )
    @pytest.mark.parametrize("cdn", [False, True])
    def test_has_the_requested_bytes(self, served: Serve, start: int, end: int, cdn: bool) -> None:
        started = served(cdn=cdn)
        assert read(hub.look_up(REPO), start, end) == DATA[start:end]
        assert started.sent[NAME] == end - start

    def test_without_ranges_it_has_all_bytes(self, served: Serve) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "no_ranges")]
        with hub.open_body(repository, repository.files[NAME], 1000, 2000) as body:
            assert body.start == 0
            assert b"".join(body.chunks) == DATA

    def test_another_range_is_refused(self, served: Serve) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "garbage_range", range_only=True)]
        with pytest.raises(TransientError, match="a different range than requested"):
            read(repository, 1000)

    @pytest.mark.parametrize(
        "content_range",
        ["", "bytes", "bytes */3000000", "bytes 1000-2000", "pages 1000-2000/3", f"bytes {'9' * 5000}-1/1"],
    )
    def test_an_invalid_content_range_is_refused(self, served: Serve, content_range: str) -> None:
        started = served()
        repository = hub.look_up(REPO)
        started.faults = [Fault(FILE, "status", status=206, headers={"Content-Range": content_range})]
        with pytest.raises(TransientError, match="a different range than requested"):
            read(repository, 1000)

    def test_is_requested_at_the_commit_and_not_at_a_branch(self, served: Serve) -> None:
        started = served()
        read(hub.look_up(REPO))
        assert started.requests[f"GET {FILE}"] == 1
        assert not [request for request in started.requests if "resolve/main" in request]


class TestXet:
    """Xet is used where the hub offers it, and its failures are told apart."""

    def test_the_bytes_are_the_same(self, served: Serve) -> None:
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
        """A Rust panic is not an Exception in Python, and its class cannot be imported."""
        served(xet=True)
        panic = type("PanicException", (BaseException,), {})

        def session() -> None:
            raise panic("Expect rustls-platform-verifier to be initialized")

        monkeypatch.setattr(hub, "_xet_session", lru_cache(session))
        with pytest.raises(XetFailed, match="the hub's Xet storage failed"):
            read(hub.look_up(REPO))


class TestCache:
    """The Hugging Face cache is read without opening a connection."""

    def fill(self) -> Path:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(REPO))

    def test_a_file_is_found_by_name_and_size(self, served: Serve) -> None:
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

    def test_a_user_without_a_home_folder_has_no_cache(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where `~` stands for nothing, the library keeps it, and then raises RuntimeError."""
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "~nosuchuser/.cache/huggingface/hub")
        with pytest.raises(ModelNotFound, match=f"the checkpoint {REPO} is not on this disk"):
            hub.cached_repository(REPO)

    def test_a_broken_link_is_not_a_file(self, served: Serve) -> None:
        served()
        repository = hub.look_up(REPO)
        (self.fill() / NAME).resolve().unlink()
        assert hub.cached_file(repository, repository.files[NAME]) is None

    def test_a_checkpoint_is_listed_with_the_hubs_digests(self, served: Serve) -> None:
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

    def test_a_missing_checkpoint(self, served: Serve) -> None:
        started = served()
        with pytest.raises(ModelNotFound, match=f"the checkpoint {REPO} is not on this disk"):
            hub.cached_repository(REPO)
        assert started.requests.total() == 0


def test_stopping_without_transfers_does_nothing(served: Serve) -> None:
    hub.stop_transfers()
    started: Hub = served()
    assert read(hub.look_up(REPO)) == DATA
    hub.stop_transfers()
    assert started.sent[NAME] == len(DATA)

"""The tests' hub works with the real client, and its faults happen."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.hub import COMMIT, EXTRA, Fault, Hub, huggingface_client

REPO = "some-owner/some-model"
NAME = "model-00001-of-00002.safetensors"
SIZE = 1_000_000
PATH = f"{REPO}/resolve/main/{NAME}"
DATA = random.Random(1).randbytes(SIZE)
CONFIG = b'{"a": 1}\n'

Start = Callable[..., Hub]
Ask = Callable[..., Any]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a hub with one repository."""
    repo = tmp_path / "hub" / REPO
    (repo / "sub").mkdir(parents=True)
    (repo / NAME).write_bytes(DATA)
    (repo / "sub" / "x y.gguf").write_bytes(DATA[:1000])
    (repo / "config.json").write_bytes(CONFIG)
    with ExitStack() as started:
        yield lambda **options: started.enter_context(Hub(tmp_path / "hub", **options))


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Runs Python with the real client against a hub; returns `answer`, or the name of the exception.

    With Xet it runs in a process of its own: hf_xet keeps a cache of the bytes that it has downloaded.
    """

    def run(hub: Hub, code: str, **variables: str) -> Any:
        home = str(tmp_path / "hf" / str(hub.requests.total()))
        environ = {**environ_without_hub(), "HF_ENDPOINT": hub.endpoint, "HF_HOME": home, **variables}
        lines = "\n    ".join(code.strip().splitlines())
        program = f"from huggingface_hub import *\nREPO, NAME = {REPO!r}, {NAME!r}\ntry:\n    {lines}\n"
        program += "except Exception as exc:\n    answer = type(exc).__name__\n"
        if hub.xet:
            return run_separately(program, environ)
        names: dict[str, Any] = {}
        with huggingface_client(environ):
            exec(program, names)
        return names["answer"]

    return run


def environ_without_hub() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HF_")}


def run_separately(program: str, environ: dict[str, str]) -> Any:
    command = [sys.executable, "-c", f"{program}import json\nprint(json.dumps(answer))"]
    done = subprocess.run(command, env=environ, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def get(url: str, *, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    """One request by the standard library, without any checks; returns the answer and the body as far as it came."""
    parts = urlsplit(url)
    with closing(HTTPConnection(parts.netloc, timeout=300)) as connection:
        connection.request(method, f"{parts.path}?{parts.query}", headers=headers)
        answer = connection.getresponse()
        with answer:
            try:
                return answer, answer.read()
            except IncompleteRead as exc:
                return answer, exc.partial


class TestRepository:
    """Repositories as the real client sees them."""

    INFO = """
info = HfApi().model_info(REPO, files_metadata=True)
files = {f.rfilename: [f.size, f.blob_id, f.lfs and f.lfs.sha256, f.lfs and f.lfs.pointer_size] for f in info.siblings}
answer = [info.id, info.sha, info.private, info.gated, files]
"""

    def test_info_describes_each_file(self, start: Start, ask: Ask) -> None:
        hub = start()
        name, commit, private, gated, files = ask(hub, self.INFO)
        assert (name, commit, private, gated) == (REPO, COMMIT, False, False)
        assert set(files) == {NAME, "sub/x y.gguf", "config.json"}
        digest = hashlib.sha256(DATA).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {SIZE}\n".encode()
        blob = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
        assert files[NAME] == [SIZE, blob, digest, len(pointer)]
        assert files["config.json"] == [9, hashlib.sha1(b"blob 9\0" + CONFIG).hexdigest(), None, None]
        assert hub.requests[f"GET api/models/{REPO}"] == 1

    def test_info_can_be_overridden(self, start: Start, ask: Ask) -> None:
        hub = start()
        hub.info_overrides = lambda info: {**info, "siblings": [{"rfilename": "../x", "size": 1 << 60, "blobId": "0"}]}
        assert ask(hub, self.INFO)[4] == {"../x": [1 << 60, "0", None, None]}

    @pytest.mark.parametrize("cdn", [False, True])
    def test_a_file_arrives_complete(self, start: Start, ask: Ask, cdn: bool) -> None:
        hub = start(cdn=cdn, token="hf_x")
        code = f"""
metadata = get_hf_file_metadata(hf_hub_url(REPO, NAME), token="hf_x")
open(hf_hub_download(REPO, "config.json", token="hf_x")).close()
path = hf_hub_download(REPO, NAME, revision="{COMMIT}", token="hf_x")
answer = [metadata.commit_hash, metadata.etag, metadata.size, metadata.location, path]
"""
        commit, etag, size, location, path = ask(hub, code)
        assert (commit, etag, size) == (COMMIT, hashlib.sha256(DATA).hexdigest(), SIZE)
        assert location.startswith(hub.cdn_endpoint if cdn else hub.endpoint)
        assert Path(path).read_bytes() == DATA
        assert hub.sent == {NAME: SIZE, "config.json": 9}
        # The client also requests a registry of agents, without a token, once a day.
        seen = {(server, header) for server, path, header in hub.authorizations if REPO in path}
        assert seen == ({("hub", "Bearer hf_x"), ("cdn", None)} if cdn else {("hub", "Bearer hf_x")})

    def test_a_snapshot_arrives_complete(self, start: Start, ask: Ask) -> None:
        folder = Path(ask(start(cdn=True), "answer = snapshot_download(REPO)"))
        assert (folder.name, (folder / "sub" / "x y.gguf").read_bytes()) == (COMMIT, DATA[:1000])

    def test_access_control(self, start: Start, ask: Ask) -> None:
        hub = start(token="hf_x")
        code = 'answer = hf_hub_download(REPO, "config.json", token={}) and "came"'.format
        assert ask(hub, 'answer = HfApi().model_info("some-owner/other")') == "RepositoryNotFoundError"
        hub.private = {REPO}
        assert ask(hub, code(False)) == "RepositoryNotFoundError"
        assert ask(hub, code('"hf_x"')) == "came"
        hub.private, hub.gated = set(), {REPO}
        assert ask(hub, self.INFO) == "GatedRepoError"
        assert ask(hub, code('"hf_y"')) == "GatedRepoError"
        assert ask(hub, code('"hf_x"')) == "came"
        hub.refused, hub.gated_info = {REPO}, True
        assert ask(hub, code('"hf_x"')) == "GatedRepoError"
        assert ask(hub, self.INFO)[3] == "manual"

    def test_missing_files_and_revisions(self, start: Start, ask: Ask) -> None:
        hub = start()
        assert ask(hub, 'answer = hf_hub_download(REPO, "nothing")') == "RemoteEntryNotFoundError"
        assert ask(hub, 'answer = hf_hub_download(REPO, NAME, revision="f" * 40)') == "RevisionNotFoundError"
        for path in ("../some-model/config.json", "..%2f..%2fx", "", "sub", "x" * 300):
            answer, _ = get(f"{hub.endpoint}/{REPO}/resolve/main/{path}")
            assert (answer.status, answer.headers["X-Error-Code"]) == (404, "EntryNotFound")

    def test_main_moves_between_two_requests(self, start: Start, tmp_path: Path) -> None:
        hub, later = start(), "f" * 40
        (tmp_path / "later" / REPO).mkdir(parents=True)
        hub.snapshots[later] = tmp_path / "later"
        assert json.loads(get(f"{hub.endpoint}/api/models/{REPO}/revision/main")[1])["sha"] == COMMIT
        hub.before = lambda _: setattr(hub, "main", later)
        assert json.loads(get(f"{hub.endpoint}/api/models/{REPO}/revision/main")[1])["sha"] == later
        del hub.snapshots[COMMIT]
        answer, _ = get(f"{hub.endpoint}/{REPO}/resolve/{COMMIT}/{NAME}")
        assert (answer.status, answer.headers["X-Error-Code"]) == (404, "RevisionNotFound")


class TestRanges:
    """Ranges of a file, from the hub or the CDN."""

    @pytest.mark.parametrize("cdn", [False, True])
    @pytest.mark.parametrize(
        ("requested", "status", "span", "content_range"),
        [
            ("bytes=0-", 206, slice(None), f"bytes 0-{SIZE - 1}/{SIZE}"),
            ("bytes=10-19", 206, slice(10, 20), f"bytes 10-19/{SIZE}"),
            ("bytes=999990-2000000", 206, slice(-10, None), f"bytes 999990-999999/{SIZE}"),
            ("bytes=-10", 206, slice(-10, None), f"bytes 999990-999999/{SIZE}"),
            ("bytes=1000000-", 416, slice(0, 0), f"bytes */{SIZE}"),
            ("pages=1-2", 200, slice(None), None),
        ],
    )
    def test_of_bytes(
        self, start: Start, cdn: bool, requested: str, status: int, span: slice, content_range: str | None
    ) -> None:
        hub = start(cdn=cdn)
        url = f"{hub.endpoint}/{PATH}"
        if cdn:
            url = get(url)[0].headers["Location"]
        answer, body = get(url, Range=requested)
        assert (answer.status, body, answer.headers["Content-Range"]) == (status, DATA[span], content_range)

    def test_the_cdn_requires_its_signature(self, start: Start) -> None:
        hub = start(cdn=True)
        location = get(f"{hub.endpoint}/{PATH}", method="HEAD")[0].headers["Location"]
        assert get(location.partition("?")[0])[0].status == 403


class TestFaults:
    """Each kind of fault, as seen by a client that checks nothing."""

    def test_status(self, start: Start) -> None:
        hub = start()
        hub.faults = [Fault("*/config.json", "status", 2, status=429, headers={"Retry-After": "1"}, method="HEAD")]
        url = f"{hub.endpoint}/{REPO}/resolve/main/config.json"
        answers = [get(url, method="HEAD")[0] for _ in range(3)]
        assert [answer.status for answer in answers] == [429, 429, 200]
        assert (answers[0].headers["Retry-After"], get(url)[0].status, hub.faults[0].used) == ("1", 200, 2)

    def test_cut(self, start: Start) -> None:
        hub = start()
        hub.faults = [Fault("*/model-00001*", "cut", after=5000, range_only=True)]
        assert get(f"{hub.endpoint}/{PATH}")[1] == DATA
        answer, body = get(f"{hub.endpoint}/{PATH}", Range="bytes=100-")
        assert (answer.headers["Content-Length"], body) == (str(SIZE - 100), DATA[100:5100])
        assert hub.sent[NAME] == SIZE + 5000

    @pytest.mark.parametrize(("method", "after"), [("GET", -1), ("GET", 5000), ("HEAD", 0)])
    def test_reset(self, start: Start, method: str, after: int) -> None:
        hub = start()
        hub.faults = [Fault("*/model-00001*", "reset", after=after, method=method)]
        with pytest.raises(ConnectionResetError):
            get(f"{hub.endpoint}/{PATH}", method=method)
        assert hub.sent[NAME] == max(after, 0)

    def test_stall(self, start: Start) -> None:
        hub = start()
        hub.faults = [Fault("*/model-00001*", "stall", after=5000, seconds=0.3)]
        began = time.monotonic()
        assert get(f"{hub.endpoint}/{PATH}")[1] == DATA[:5000]
        assert time.monotonic() - began > 0.3

    def test_the_hub_closes_during_a_stall(self, tmp_path: Path, start: Start) -> None:
        with Hub(tmp_path / "hub") as hub:
            hub.faults = [Fault("*", "stall", after=5000, seconds=60)]
            got: list[bytes] = []
            client = threading.Thread(target=lambda: got.append(get(f"{hub.endpoint}/{PATH}")[1]))
            client.start()
            while not hub.sent:
                time.sleep(0.01)
            began = time.monotonic()
        assert time.monotonic() - began < 30
        client.join()
        assert got == [DATA[:5000]]

    def test_the_hub_closes_while_a_client_does_not_read(self, tmp_path: Path, start: Start) -> None:
        with (tmp_path / "hub" / REPO / NAME).open("r+b") as file:
            file.truncate(100_000_000)
        with ExitStack() as stack:
            hub = stack.enter_context(Hub(tmp_path / "hub"))
            connection = stack.enter_context(closing(HTTPConnection(urlsplit(hub.endpoint).netloc)))
            connection.request("GET", f"/{PATH}")
            while not hub.sent:
                time.sleep(0.01)
            began = time.monotonic()
            hub.__exit__()
            assert time.monotonic() - began < 30
            stack.pop_all()
            connection.close()

    def test_drip(self, start: Start) -> None:
        hub = start()
        hub.faults = [Fault("*/model-00001*", "drip", seconds=0.05, piece=200_000)]
        began = time.monotonic()
        assert get(f"{hub.endpoint}/{PATH}")[1] == DATA
        assert time.monotonic() - began > 0.2

    def test_flip_applies_to_a_range_with_its_byte(self, start: Start) -> None:
        hub = start()
        hub.faults = [Fault("*/model-00001*", "flip", after=500)]
        assert get(f"{hub.endpoint}/{PATH}", Range="bytes=501-")[1] == DATA[501:]
        wrong = get(f"{hub.endpoint}/{PATH}", Range="bytes=400-599")[1]
        assert wrong == DATA[400:500] + bytes([DATA[500] ^ 1]) + DATA[501:600]

    def test_no_ranges(self, start: Start) -> None:
        hub = start()
        hub.faults = [Fault("*/model-00001*", "no_ranges", -1)]
        for requested in ("bytes=500-", "bytes=1000000-"):
            answer, body = get(f"{hub.endpoint}/{PATH}", Range=requested)
            assert (answer.status, answer.headers["Content-Range"], body) == (200, None, DATA)

    def test_longer(self, start: Start) -> None:
        hub = start()
        hub.faults = [Fault("*/model-00001*", "longer", -1)]
        answer, body = get(f"{hub.endpoint}/{PATH}")
        assert (answer.headers["Content-Length"], body) == (None, DATA + EXTRA)
        answer, body = get(f"{hub.endpoint}/{PATH}", Range="bytes=500-")
        assert (answer.status, body) == (206, DATA[500:] + EXTRA)

    def test_shorter(self, start: Start) -> None:
        hub = start()
        hub.faults = [Fault("*/model-00001*", "shorter", -1)]
        answer, body = get(f"{hub.endpoint}/{PATH}")
        assert (answer.status, answer.headers["Content-Length"], body) == (200, str(SIZE // 2), DATA[: SIZE // 2])
        answer, body = get(f"{hub.endpoint}/{PATH}", Range="bytes=100-299")
        assert (answer.headers["Content-Range"], body) == (f"bytes 100-199/{SIZE}", DATA[100:200])

    def test_garbage_range(self, start: Start) -> None:
        hub = start()
        hub.faults = [Fault("*/model-00001*", "garbage_range")]
        answer, body = get(f"{hub.endpoint}/{PATH}", Range="bytes=100-")
        assert (answer.status, answer.headers["Content-Range"], body) == (206, f"bytes 0-{SIZE - 1}/{SIZE}", DATA)

    def test_loop(self, start: Start, ask: Ask) -> None:
        hub = start()
        hub.faults = [Fault("*/model-00001*", "loop", -1), Fault("*/model-00001*", "loop", -1, method="HEAD")]
        assert get(f"{hub.endpoint}/{PATH}")[0].headers["Location"] == f"{hub.endpoint}/{PATH}?"
        assert ask(hub, "answer = hf_hub_download(REPO, NAME)") == "TooManyRedirects"

    def test_empty(self, start: Start) -> None:
        hub = start()
        hub.faults = [Fault("*/model-00001*", "empty")]
        answer, body = get(f"{hub.endpoint}/{PATH}", Range="bytes=100-")
        assert (answer.status, answer.headers["Content-Length"], body) == (200, "0", b"")

    def test_on_the_cdn_they_do_not_apply_to_the_redirect(self, start: Start, ask: Ask) -> None:
        hub = start(cdn=True)
        hub.faults = [Fault("*model-00001*", "cut", after=300_000)]
        path = ask(hub, "answer = hf_hub_download(REPO, NAME)")
        # The real client discards its last 10 MiB.
        assert (Path(path).read_bytes(), hub.sent[NAME]) == (DATA, SIZE + 300_000)
        assert hub.requests[f"GET cdn/{REPO}/{COMMIT}/{NAME}"] == 2

    def test_a_client_that_disconnects_is_not_reported(self, start: Start, capfd: pytest.CaptureFixture[str]) -> None:
        hub = start()
        with suppress(OSError), closing(HTTPConnection(urlsplit(hub.endpoint).netloc)) as connection:
            connection.request("GET", f"/{PATH}")
        assert get(f"{hub.endpoint}/{PATH}")[1] == DATA
        assert capfd.readouterr() == ("", "")


class TestXet:
    """Large files from a Xet store: the hub gives its address, and does not send the bytes."""

    DOWNLOAD = "answer = hf_hub_download(REPO, NAME)"
    STREAM = """
import hf_xet
from huggingface_hub.utils._xet import refresh_xet_connection_info
file = get_hf_file_metadata(hf_hub_url(REPO, NAME))
given = refresh_xet_connection_info(file_data=file.xet_file_data, headers={})
group = hf_xet.XetSession().new_download_stream_group(
    endpoint=given.endpoint, token=given.access_token, token_expiry_unix_secs=given.expiration_unix_epoch
)
import hashlib
data = b"".join(group.download_stream(hf_xet.XetFileInfo(file.xet_file_data.file_hash, file.size), start=1000))
answer = [len(data), hashlib.sha256(data).hexdigest()]
"""
    TOKEN = f"GET api/models/{REPO}/xet-read-token/{COMMIT}"

    @pytest.mark.parametrize("cdn", [False, True])
    def test_the_real_client_downloads_from_it(self, start: Start, ask: Ask, cdn: bool) -> None:
        hub = start(xet=True, cdn=cdn)
        assert Path(ask(hub, self.DOWNLOAD)).read_bytes() == DATA
        assert (hub.requests[self.TOKEN], hub.sent) == (1, {})
        folder = Path(ask(hub, "answer = snapshot_download(REPO)"))
        assert (folder / "sub" / "x y.gguf").read_bytes() == DATA[:1000]
        assert hub.sent == {"config.json": 9}
        assert Path(ask(hub, self.DOWNLOAD, HF_HUB_DISABLE_XET="1")).read_bytes() == DATA
        assert hub.sent[NAME] == SIZE

    def test_a_stream(self, start: Start, ask: Ask) -> None:
        assert ask(start(xet=True), self.STREAM) == [SIZE - 1000, hashlib.sha256(DATA[1000:]).hexdigest()]

    def test_a_store_that_cannot_be_opened(self, start: Start, ask: Ask) -> None:
        hub = start(xet=True)
        hub.xet_broken = True
        assert (ask(hub, self.DOWNLOAD), ask(hub, self.STREAM)) == ("OSError", "OSError")

    def test_damage(self, start: Start, ask: Ask) -> None:
        hub = start(xet=True)
        nothing = [0, hashlib.sha256().hexdigest()]
        hub.xet_damage = "lost"  # hf_xet's stream sometimes just ends at an error
        assert ask(hub, self.STREAM) in ("XetObjectNotFoundError", nothing)
        hub.xet_damage = "empty"  # an empty stream, and no error
        assert ask(hub, self.STREAM) == nothing
        hub.xet_damage = "flipped"  # the right length, and no error
        length, digest = ask(hub, self.STREAM)
        assert (length, digest == hashlib.sha256(DATA[1000:]).hexdigest()) == (SIZE - 1000, False)
        hub.xet_damage = None
        assert ask(hub, self.STREAM)[1] == hashlib.sha256(DATA[1000:]).hexdigest()

"""`r1 pull` from a hostile hub: one line, nothing is written outside the home, and nothing stays in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.pull.person import (
    LATER,
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
    variant,
)
from tests.fakes.hub import COMMIT, Hub


def with_info(**changes: object) -> Change:
    return lambda info: {**info, **changes}


LISTINGS: dict[str, Change] = {
    **{
        f"a file called {name!r}": changed_file(THIRD, rfilename=name)
        for name in (
            *("../x.safetensors", "a/../../x.safetensors", "/etc/x.safetensors", "a\0.safetensors"),
            *("..\\x.safetensors", "C:\\x.safetensors", "", None, ["a"]),
        )
    },
    **{
        f"a shard of {str(size)[:30]!r} bytes": changed_file(THIRD, size=size)
        for size in (-1, 1 << 60, "1971961", 1.5, None)
    },
    **{f"a shard with the SHA-256 {value!r}": changed_file(THIRD, sha256=value) for value in ("0" * 63, "X" * 64, 5)},
    "a shard without a SHA-256": changed_file(THIRD, lfs=None),
    "a config.json of 40 MB": changed_file("config.json", size=40_000_000),
    "a file listed twice": lambda info: {**info, "siblings": info["siblings"] + info["siblings"][-1:]},
    **{f"the commit {sha!r}": with_info(sha=sha) for sha in ("main", "../" * 14, None, 5)},
    **{f"the files {value!r}": with_info(siblings=value) for value in (None, [5], [{}])},
    **{f"the answer {value!r}": lambda _, value=value: value for value in ([], {}, None, "text", 5)},
    "a name of a million characters": changed_file(THIRD, rfilename="a" * 1_000_000),
    "thirty thousand files": with_info(
        siblings=[{"rfilename": f"{number}.txt", "size": 1, "blobId": "0" * 40} for number in range(30_000)]
    ),
    "deeply nested lists": with_info(siblings=[json.loads("[" * 900 + "]" * 900)]),
}


class TestListing:
    """An impossible listing is refused, and does no harm to a later run."""

    @pytest.mark.parametrize("name", LISTINGS)
    def test_is_refused(self, hub: Hub, person: Person, undisturbed: Undisturbed, name: str) -> None:
        hub.info_overrides = LISTINGS[name]
        done = person.pull()
        assert done.returncode in {4, 6, 7}, done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
        assert len(error_line(done)) < 400
        assert person.files_outside_home() == []
        if person.home.exists():
            assert person.has_no_model()
            assert not [*person.home.glob("checkpoints/*/*/model-*")]
            hub.info_overrides = None
            assert person.pull().returncode == 0
            assert person.digest == undisturbed.digest

    @pytest.mark.parametrize(
        "body", [b"<html>Log in</html>", b"", b"{", b"[" * 100_000, b'{"siblings": ' + b"9" * 10_000 + b"}", b"\xff"]
    )
    def test_an_answer_that_is_not_a_listing(self, person: Person, body: bytes) -> None:
        with answering(body) as endpoint:
            person.variables = {"HF_ENDPOINT": endpoint}
            done = person.end(person.start())  # a process, because libraries may write to descriptor 2
        assert (done.returncode, done.stderr.count(b"\n")) == (6, 1), done.stderr.decode()
        assert "does not answer like a hub" in error_line(done)
        assert not person.home.exists()


class TestIndex:
    """A hostile index of the shards is refused before anything large is downloaded; the next commit can be pulled."""

    @pytest.mark.parametrize(
        "shard", ["../x.safetensors", "/x.safetensors", "x.bin", "model-00006-of-00005.safetensors"]
    )
    def test_an_index_that_points_elsewhere_is_refused(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, tmp_path: Path, shard: str
    ) -> None:
        index = json.loads((hub.root / REPO / SMALL[-1]).read_bytes())
        index["weight_map"]["lm_head.weight"] = shard
        self.check(hub, person, undisturbed, tmp_path / "other", json.dumps(index))

    def test_an_index_that_names_a_tensor_twice_is_refused(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, tmp_path: Path
    ) -> None:
        text = (hub.root / REPO / SMALL[-1]).read_text(encoding="utf-8")
        shard = json.loads(text)["weight_map"]["lm_head.weight"]
        other = next(name for name in NAMES if name != shard)
        text = text[:-2] + f', "lm_head.weight": "{other}"' + "}}"
        self.check(hub, person, undisturbed, tmp_path / "other", text)

    @staticmethod
    def check(hub: Hub, person: Person, undisturbed: Undisturbed, root: Path, text: str) -> None:
        variant(hub.root, root, [])
        (root / REPO / SMALL[-1]).unlink()
        (root / REPO / SMALL[-1]).write_text(text, encoding="utf-8")
        (root / REPO / "x.bin").write_bytes(b"a pickle")
        (root / "x.safetensors").write_bytes(b"outside")
        hub.snapshots = {LATER: root}
        hub.main = LATER
        done = person.pull()
        assert (done.returncode, done.stderr.count(b"\n")) == (7, 1), done.stderr.decode()
        assert hub.sent["x.bin"] == 0
        assert person.files_outside_home() == []
        assert sum(hub.sent[name] for name in NAMES) <= 2 * len(NAMES) * PREFIX  # the headers may be fetched twice
        hub.snapshots[COMMIT] = hub.root
        hub.main = COMMIT
        healed = person.pull()
        assert healed.returncode == 0, healed.stderr.decode()
        assert (person.digest, person.manifest.revision) == (undisturbed.digest, COMMIT)


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """A server that answers every request with this body; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()

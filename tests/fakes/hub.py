"""A Hugging Face hub on loopback: the part of its protocol that huggingface_hub speaks to read a repository.

Real HTTP, the real client (through HF_ENDPOINT). It can be told to misbehave.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves every folder OWNER/NAME under `root` as a model repository at one commit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: Counter[str] = Counter()  # "GET file" → how often
        self.sent: Counter[str] = Counter()  # file → bytes of its body that left
        self.refuse: int | None = None  # a status to answer everything with
        self.cut_after: int | None = None  # bytes of a body after which one connection breaks; then None again
        hub = self

        class Handler(_Handler):
            def __init__(self, *arguments: object) -> None:
                self.hub = hub
                super().__init__(*arguments)  # type: ignore[arg-type]

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT has to be."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """The test's output is not the place for it."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlparse(self.path).path).strip("/")
        self.hub.requests[f"{self.command} {path}"] += 1
        if self.hub.refuse is not None:
            self._send(self.hub.refuse, b"{}")
            return
        parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            self._answer_api(self.hub.root / parts[2] / parts[3], parts[4])
        else:
            self._answer_file(self.hub.root / parts[0] / parts[1] / "/".join(parts[4:]), with_body=with_body)

    def _answer_api(self, repo: Path, what: str) -> None:
        if not repo.is_dir():
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        files = sorted(path for path in repo.rglob("*") if path.is_file())
        if what == "revision":
            siblings = [{"rfilename": path.relative_to(repo).as_posix()} for path in files]
            name = f"{repo.parent.name}/{repo.name}"
            answer: object = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": []}
        else:
            answer = [_tree_entry(repo, path) for path in files]
        self._send(200, json.dumps(answer).encode())

    def _answer_file(self, path: Path, *, with_body: bool) -> None:
        if not path.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        data = path.read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        headers = {"ETag": f'"{_etag(data, path)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(206 if start else 200, data[start:], headers, name=path.name, with_body=with_body)

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        name: str = "",
        with_body: bool = True,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if not with_body or self.command == "HEAD":
            return
        cut = self.hub.cut_after
        if name and cut is not None and len(body) > cut:
            self.hub.cut_after = None
            body = body[:cut]
            self.close_connection = True
        self.hub.sent[name] += len(body)
        self.wfile.write(body)


def _tree_entry(repo: Path, path: Path) -> dict[str, object]:
    data = path.read_bytes()
    entry: dict[str, object] = {"type": "file", "path": path.relative_to(repo).as_posix(), "size": len(data)}
    entry["oid"] = _git_hash(data)
    if path.suffix == ".safetensors":
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


def _etag(data: bytes, path: Path) -> str:
    return hashlib.sha256(data).hexdigest() if path.suffix == ".safetensors" else _git_hash(data)


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

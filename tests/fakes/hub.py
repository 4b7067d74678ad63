"""A Hugging Face hub on loopback: the part of its protocol that huggingface_hub uses to read model repositories.

It speaks real HTTP to the real client. With `cdn`, large files come from a second server, like the hub's CDN; with
`xet`, they are also in a Xet store. Faults make it misbehave.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Literal, Self
from unittest.mock import patch
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"

LFS = frozenset({".safetensors", ".gguf", ".bin"})
PIECE = 1 << 18  # bytes sent at once
EXTRA = bytes(4096)  # sent after the end by `longer`
SIGNATURE = "signed-by-nobody"

Kind = Literal[
    "status",  # answer with this status, these headers and this body
    "cut",  # announce the complete length, send `after` bytes, close the connection
    "reset",  # the same, but reset the connection
    "stall",  # the same, but first send nothing for `seconds`
    "drip",  # send `piece` bytes at a time, with `seconds` in between
    "flip",  # flip a bit in the file's byte `after`, if that is requested
    "no_ranges",  # ignore Range: 200 and the complete file
    "longer",  # send more than requested, without a Content-Length
    "shorter",  # send half of what was requested, and announce that
    "garbage_range",  # 206 with a Content-Range that begins elsewhere
    "loop",  # redirect to the same URL
    "empty",  # 200 without a body
]
WITHOUT_BODY = frozenset({"status", "loop"})
BREAKS = frozenset({"cut", "reset", "stall"})


@dataclass(slots=True)
class Fault:
    """How to misbehave for requests whose path (as in the URL, without the leading slash) matches.

    All kinds except `status` and `loop` need a body, so they do not apply to redirects and errors. `cut`, `reset` and
    `stall` act before the headers if `after` is negative, and for HEAD, to which only these, `status` and `loop` apply.
    """

    match: str  # an fnmatch pattern
    kind: Kind
    times: int = 1  # -1: always
    after: int = 0  # bytes of the body sent before cut, reset and stall; for flip, the offset in the file
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": "a fault"}'
    seconds: float = 0
    piece: int = 65536
    method: str = "GET"
    range_only: bool = False  # apply only to requests with a Range header
    used: int = field(default=0, init=False)  # how often it was applied

    def applies(self, request: _Request) -> bool:
        """Whether it applies to this request."""
        return (
            self.method == request.method
            and (self.times < 0 or self.used < self.times)
            and (request.ranged or not self.range_only)
            and fnmatchcase(request.path, self.match)
            and self._fits(request)
        )

    def _fits(self, request: _Request) -> bool:
        if self.kind in WITHOUT_BODY:
            return True
        if request.method == "HEAD":
            return self.kind in BREAKS
        return request.span is not None and (self.kind != "flip" or self.after in request.span)


class Hub:
    """Serves every folder OWNER/NAME under `root`, and under each of `snapshots`, as a model repository."""

    def __init__(self, root: Path, *, token: str | None = None, cdn: bool = False, xet: bool = False) -> None:
        self.root = root
        self.token = token
        self.cdn = cdn
        self.xet = xet
        self.main = COMMIT
        self.snapshots: dict[str, Path] = {COMMIT: root}  # other commits do not exist
        self.gated: set[str] = set()  # 403 without the token,
        self.refused: set[str] = set()  # and with it, if here too
        self.gated_info = False  # list gated repositories for everybody, as the real hub does
        self.private: set[str] = set()  # 404 without the token
        self.xet_broken = False  # the store cannot be opened
        self.xet_damage: Literal["empty", "lost", "flipped"] | None = None  # what is wrong with the data in it
        self.requests: Counter[str] = Counter()  # "GET path" → count
        self.sent: Counter[str] = Counter()  # path within the repository → bytes of its body that were sent
        self.authorizations: list[tuple[str, str, str | None]] = []  # server, path, header
        self.faults: list[Fault] = []
        self.info_overrides: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.before: Callable[[str], None] | None = None  # called with "GET path" before it is answered
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._servers = (_Server(self, "hub"), _Server(self, "cdn"))
        self._folder: TemporaryDirectory[str] | None = None
        self._store: _Xet | None = None

    @property
    def endpoint(self) -> str:
        """The value for HF_ENDPOINT."""
        return self._servers[0].origin

    @property
    def cdn_endpoint(self) -> str:
        """The address of the CDN."""
        return self._servers[1].origin

    @property
    def store(self) -> _Xet | None:
        """The Xet store, if any."""
        return self._store

    def __enter__(self) -> Self:
        if self.xet:
            self._folder = TemporaryDirectory(prefix="hub-xet-")
            self._store = _Xet(Path(self._folder.name))
        for server in self._servers:
            server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for server in self._servers:
            server.stop()
        if self._folder is not None:
            self._folder.cleanup()

    def note(self, server: str, method: str, path: str, authorization: str | None) -> None:
        """Record a request."""
        with self._lock:
            self.requests[f"{method} {path}"] += 1
            self.authorizations.append((server, path, authorization))
        if self.before is not None:
            self.before(f"{method} {path}")

    def note_sent(self, name: str, count: int) -> None:
        """Record `count` bytes of a file as sent."""
        with self._lock:
            self.sent[name] += count

    def fault_for(self, request: _Request) -> Fault | None:
        """The first fault that applies; counts it as used."""
        with self._lock:
            fault = next((fault for fault in self.faults if fault.applies(request)), None)
            if fault is not None:
                fault.used += 1
            return fault

    def repository(self, name: str, revision: str, authorization: str | None, *, info: bool = False) -> _Repository:
        """The repository at that revision. Raises _Refused when it does not exist or is not accessible."""
        authorized = self.token is not None and authorization == f"Bearer {self.token}"
        exists = all(map(_is_plain, name.split("/"))) and any(
            (root / name).is_dir() for root in self.snapshots.values()
        )
        if not exists or (name in self.private and not authorized):
            raise _Refused(404 if authorized else 401, "RepoNotFound", "Repository not found")
        if name in self.gated and (not authorized or name in self.refused) and not (info and self.gated_info):
            raise _Refused(403, "GatedRepo", f"Access to model {name} is restricted")
        commit = self.main if revision == "main" else revision
        root = self.snapshots.get(commit)
        if root is None or not (root / name).is_dir():
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return _Repository(name, root / name, commit)


@dataclass(frozen=True, slots=True)
class _Request:
    """The properties of a request that faults depend on."""

    method: str
    path: str
    ranged: bool
    span: range | None  # the requested bytes of the file; None: the answer is not a file


@dataclass(frozen=True, slots=True)
class _Body:
    size: int
    open: Callable[[], BinaryIO]
    name: str = ""  # the file's path within its repository


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: _Body


class _Refused(Exception):
    """The request is answered with an error in the hub's format."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        errors = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self.answer = _Answer(status, {**errors, **(headers or {})}, _json({"error": message}))


def _json(value: object) -> _Body:
    data = json.dumps(value).encode()
    return _Body(len(data), lambda: BytesIO(data))


def _is_plain(part: str) -> bool:
    return part not in {"", ".", ".."} and not set(part) & set("/\\\0")


@dataclass(frozen=True, slots=True)
class _File:
    name: str  # path within the repository
    path: Path
    size: int
    mtime: int

    @property
    def lfs(self) -> bool:
        return self.path.suffix in LFS

    @property
    def digest(self) -> str:
        """SHA-256 of a large file, git's SHA-1 of a small one."""
        return _digest(self.path, self.size, self.mtime)

    @property
    def pointer(self) -> bytes:
        """The LFS pointer that git has for a large file."""
        return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (
            self.digest.encode(),
            self.size,
        )

    @property
    def blob(self) -> str:
        """The SHA-1 of git's blob."""
        if not self.lfs:
            return self.digest
        return hashlib.sha1(b"blob %d\0" % len(self.pointer) + self.pointer).hexdigest()

    def sibling(self) -> dict[str, object]:
        """Its entry in the model info."""
        entry: dict[str, object] = {"rfilename": self.name, "size": self.size, "blobId": self.blob}
        if self.lfs:
            entry["lfs"] = {"sha256": self.digest, "size": self.size, "pointerSize": len(self.pointer)}
        return entry

    def tree_entry(self, xet: str | None) -> dict[str, object]:
        """Its entry in the tree."""
        entry: dict[str, object] = {"type": "file", "path": self.name, "size": self.size, "oid": self.blob}
        if self.lfs:
            entry["lfs"] = {"oid": self.digest, "size": self.size, "pointerSize": len(self.pointer)}
        return entry if xet is None else {**entry, "xetHash": xet}


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, mtime: int) -> str:
    digest = hashlib.sha256() if path.suffix in LFS else hashlib.sha1(b"blob %d\0" % size)
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Repository:
    name: str
    folder: Path
    commit: str

    def files(self) -> list[_File]:
        """All its files, by name."""
        found = (self._file(path) for path in sorted(self.folder.rglob("*")))
        return [file for file in found if file is not None]

    def file(self, parts: list[str]) -> _File:
        """One file. Raises _Refused when it does not exist or is outside the repository."""
        file = self._file(self.folder.joinpath(*parts)) if parts and all(map(_is_plain, parts)) else None
        if file is None:
            raise _Refused(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": self.commit})
        return file

    def _file(self, path: Path) -> _File | None:
        try:
            status = path.stat()
            inside = path.resolve().is_relative_to(self.folder.resolve())
        except OSError:  # for example, the name is too long
            return None
        if not inside or not path.is_file():
            return None
        return _File(path.relative_to(self.folder).as_posix(), path, status.st_size, status.st_mtime_ns)

    def info(self, *, gated: bool, private: bool, blobs: bool) -> dict[str, Any]:
        """The model info."""
        siblings = [file.sibling() if blobs else {"rfilename": file.name} for file in self.files()]
        names = {"_id": self.commit[:24], "id": self.name, "modelId": self.name, "sha": self.commit}
        access = {"private": private, "gated": "manual" if gated else False, "disabled": False}
        return {**names, **access, "tags": [], "siblings": siblings}


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, hub: Hub, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self.name = name
        self.origin = f"http://127.0.0.1:{self.server_port}"
        self._connections: set[Any] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close every connection, including stalled ones, and end every thread."""
        self.shutdown()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self._thread.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client may disconnect at any time
            super().handle()

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0].lstrip("/")
        self.server.hub.note(self.server.name, self.command, path, self.headers["Authorization"])
        try:
            answer = self._from_cdn(path) if self.server.name == "cdn" else self._from_hub(path)
        except _Refused as refusal:
            answer = refusal.answer
        span = self._asked(answer)
        if span is None and answer.status == 200:
            span = range(answer.body.size)
        fault = self.server.hub.fault_for(_Request(self.command, path, "Range" in self.headers, span))
        if fault is None:
            self._send(answer)
        elif fault.kind == "status":
            self._send(_Answer(fault.status, fault.headers, _Body(len(fault.body), lambda: BytesIO(fault.body))))
        elif fault.kind == "loop":
            self._send(_Answer(302, {"Location": f"{self.server.origin}{self.path}"}, _json({})))
        elif fault.kind in BREAKS and (self.command == "HEAD" or fault.after < 0):
            self._break(fault)
        else:
            self._send(answer, fault)

    # Answers

    def _from_hub(self, path: str) -> _Answer:
        match path.split("/"):
            case ["api", "models", owner, name]:
                return self._info(f"{unquote(owner)}/{unquote(name)}", "main")
            case ["api", "models", owner, name, "revision", revision]:
                return self._info(f"{unquote(owner)}/{unquote(name)}", unquote(revision))
            case ["api", "models", owner, name, "tree", revision]:
                return self._tree(self._repository(owner, name, revision, info=True))
            case ["api", "models", owner, name, "xet-read-token", revision]:
                return self._xet_token(self._repository(owner, name, revision))
            case [owner, name, "resolve", revision, *parts]:
                repository = self._repository(owner, name, revision)
                return self._file(repository, repository.file(list(map(unquote, parts))))
        raise _Refused(404, "", "Not found")

    def _from_cdn(self, path: str) -> _Answer:
        hub = self.server.hub
        match path.split("/"):
            case ["cdn", owner, name, revision, *parts] if self._query().get("Signature") == [SIGNATURE]:
                root = hub.snapshots.get(revision, hub.root)
                repository = _Repository("", root / unquote(owner) / unquote(name), revision)
                file = repository.file(list(map(unquote, parts)))
                return _Answer(200, {"ETag": f'"{file.digest}"', "Accept-Ranges": "bytes"}, _body(file))
        raise _Refused(403, "", "Access denied")

    def _query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)

    def _repository(self, owner: str, name: str, revision: str, *, info: bool = False) -> _Repository:
        full = f"{unquote(owner)}/{unquote(name)}"
        return self.server.hub.repository(full, unquote(revision), self.headers["Authorization"], info=info)

    def _info(self, name: str, revision: str) -> _Answer:
        hub = self.server.hub
        repository = hub.repository(name, revision, self.headers["Authorization"], info=True)
        blobs = self._query().get("blobs", [""])[0].lower() == "true"
        info = repository.info(gated=name in hub.gated, private=name in hub.private, blobs=blobs)
        return _Answer(200, {}, _json(info if hub.info_overrides is None else hub.info_overrides(info)))

    def _tree(self, repository: _Repository) -> _Answer:
        hashes = self._xet_hashes(repository)
        return _Answer(200, {}, _json([file.tree_entry(hashes.get(file.name)) for file in repository.files()]))

    def _xet_hashes(self, repository: _Repository) -> dict[str, str]:
        store = self.server.hub.store
        return {} if store is None else store.hashes(repository)

    def _xet_token(self, repository: _Repository) -> _Answer:
        hub = self.server.hub
        if hub.store is None:
            raise _Refused(404, "", "Not found")
        url = hub.store.closed() if hub.xet_broken else hub.store.opened(repository, hub.xet_damage)
        token, expires = "a-token", int(time.time()) + 3600
        headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expires)}
        return _Answer(200, headers, _json({"casUrl": url, "accessToken": token, "exp": expires}))

    def _file(self, repository: _Repository, file: _File) -> _Answer:
        hub = self.server.hub
        headers = {"X-Repo-Commit": repository.commit, "X-Linked-Size": str(file.size)}
        headers |= {"ETag": f'"{file.digest}"', "X-Linked-Etag": f'"{file.digest}"', "Accept-Ranges": "bytes"}
        if file.lfs and hub.store is not None:
            headers["X-Xet-Hash"] = self._xet_hashes(repository)[file.name]
            token = f"api/models/{repository.name}/xet-read-token/{repository.commit}"
            headers["X-Xet-Refresh-Route"] = f"{hub.endpoint}/{token}"
        if not (file.lfs and hub.cdn):
            return _Answer(200, headers, _body(file))
        location = f"{hub.cdn_endpoint}/cdn/{repository.name}/{repository.commit}/{quote(file.name)}"
        return _Answer(302, {**headers, "Location": f"{location}?Expires=4000000000&Signature={SIGNATURE}"}, _json({}))

    def _asked(self, answer: _Answer) -> range | None:
        """The requested range, empty if it begins beyond the end; None if the complete file is requested."""
        size = answer.body.size
        header = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers["Range"] or "")
        if header is None or header.groups() == ("", "") or answer.status != 200 or not answer.body.name:
            return None
        first, last = header.groups()
        if not first:
            return range(max(size - int(last), 0), size)
        return range(min(int(first), size), min(int(last) + 1, size) if last else size)

    # Sending

    def _send(self, answer: _Answer, fault: Fault | None = None) -> None:
        kind = None if fault is None else fault.kind
        body, headers, status = answer.body, dict(answer.headers), answer.status
        asked = self._asked(answer)
        partial, span = asked is not None, range(body.size) if asked is None else asked
        if kind == "no_ranges":
            partial, span = False, range(body.size)
            headers.pop("Accept-Ranges", None)
        elif kind == "shorter":
            span = span[: len(span) // 2]
        elif kind == "garbage_range":
            partial, span = True, range(0 if span.start else body.size // 2, body.size)
        elif kind == "empty":
            partial, span = False, range(0)
        elif partial and not span:
            status, partial, span = 416, False, range(0)
            headers["Content-Range"] = f"bytes */{body.size}"
        if partial:
            status = 206
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{body.size}"
        length = {"Transfer-Encoding": "chunked"} if kind == "longer" else {"Content-Length": str(len(span))}
        self.send_response(status)
        for key, value in {**length, **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self._send_body(body, span, fault)

    def _send_body(self, body: _Body, span: range, fault: Fault | None) -> None:
        kind = None if fault is None else fault.kind
        for piece in self._pieces(body, span, fault):
            if body.name:
                # Count before sending: a test may look at the count as soon as the client has the last byte.
                self.server.hub.note_sent(body.name, len(piece))
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if kind == "longer" else piece)
        if kind == "longer":
            self.wfile.write(b"0\r\n\r\n")
        if fault is not None and kind in BREAKS:
            self._break(fault)

    def _pieces(self, body: _Body, span: range, fault: Fault | None) -> Iterator[bytes]:
        if fault is None:
            yield from self._read(body, span, PIECE)
        elif fault.kind in BREAKS:
            yield from self._read(body, span[: fault.after], PIECE)
        elif fault.kind == "drip":
            for piece in self._read(body, span, fault.piece):
                yield piece
                self.server.hub.closing.wait(fault.seconds)
        elif fault.kind == "flip":
            yield from self._read(body, range(span.start, fault.after), PIECE)
            for piece in self._read(body, range(fault.after, fault.after + 1), 1):
                yield bytes([piece[0] ^ 1])
            yield from self._read(body, range(fault.after + 1, span.stop), PIECE)
        else:
            yield from self._read(body, span, PIECE)
            if fault.kind == "longer":
                yield EXTRA

    def _read(self, body: _Body, span: range, piece: int) -> Iterator[bytes]:
        with body.open() as file:
            file.seek(span.start)
            for start in range(span.start, span.stop, piece):
                data = file.read(min(piece, span.stop - start))
                if not data or self.server.hub.closing.is_set():
                    self.close_connection = True  # the announced length cannot be reached
                    return
                yield data

    def _break(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.kind == "stall":
            self.server.hub.closing.wait(fault.seconds)
        elif fault.kind == "reset":
            time.sleep(0.05)  # a reset discards bytes that have not arrived yet
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())  # an ordinary close would send FIN first


def _body(file: _File) -> _Body:
    return _Body(file.size, lambda: file.path.open("rb"), file.name)


class _Xet:
    """A Xet store with the large files, on the local disk, in hf_xet's own format.

    Only one process at a time can open such a store: files are uploaded by a separate process, and each client gets a
    copy of the store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._hashes: dict[tuple[_File, ...], dict[str, str]] = {}
        self._copies = itertools.count()

    def hashes(self, repository: _Repository) -> dict[str, str]:
        """The Xet hash of each of the repository's large files. The first call uploads them."""
        return self._uploaded(repository)[1]

    def opened(self, repository: _Repository, damage: str | None) -> str:
        """The address of a copy of the store with these files."""
        store, _ = self._uploaded(repository)
        copy = self._folder / f"copy-{next(self._copies)}"
        if damage == "empty":
            copy.mkdir()
            return f"local://{copy}"
        shutil.copytree(store, copy, copy_function=_link)
        for xorb in list((copy / "xet" / "xorbs" / "xorbs").iterdir()):
            if xorb.suffix == ".tagset":
                continue
            if damage == "lost":
                xorb.unlink()
            elif damage == "flipped":
                _flip_the_middle(xorb)
        return f"local://{copy}"

    def closed(self) -> str:
        """The address of a store that cannot be opened."""
        (self._folder / "a-file").touch()
        return f"local://{self._folder / 'a-file' / 'store'}"

    def _uploaded(self, repository: _Repository) -> tuple[Path, dict[str, str]]:
        files = tuple(file for file in repository.files() if file.lfs)
        with self._lock:
            if files not in self._hashes:
                self._hashes[files] = self._upload(self._folder / f"store-{len(self._hashes)}", files)
            return self._folder / f"store-{list(self._hashes).index(files)}", self._hashes[files]

    def _upload(self, store: Path, files: tuple[_File, ...]) -> dict[str, str]:
        command = [sys.executable, "-c", UPLOAD, f"local://{store}", *(str(file.path) for file in files)]
        environ = {**os.environ, "HF_HOME": str(self._folder)}  # for its log files
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=True)
        return {file.name: name for file, name in zip(files, done.stdout.split(), strict=True)}


UPLOAD = """
import sys, hf_xet
with hf_xet.XetSession().new_upload_commit(endpoint=sys.argv[1]) as commit:
    uploads = [commit.start_upload_file(path) for path in sys.argv[2:]]
for upload in uploads:
    print(upload.result().xet_info.hash)
"""


def _link(source: str, target: str) -> None:
    if source.endswith(".redb"):  # the only files of a store that are written in place
        shutil.copy2(source, target)
    else:
        os.link(source, target)


def _flip_the_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()  # it is a hard link to the original
    path.write_bytes(data)


def client_constants(environ: Mapping[str, str]) -> dict[str, object]:
    """The values that huggingface_hub reads from this environment: names in its module `constants` → values.

    It reads the environment once, when it is imported, but looks the values up in `constants` at each call.
    """
    endpoint = environ.get("HF_ENDPOINT", "https://huggingface.co")
    home = Path(environ["HF_HOME"]) if "HF_HOME" in environ else Path(environ["HOME"]) / ".cache" / "huggingface"
    return {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "AGENT_HARNESSES_PATH": str(home / "agents.json"),
        "HF_HUB_OFFLINE": "HF_HUB_OFFLINE" in environ,
        "HF_HUB_DISABLE_XET": "HF_HUB_DISABLE_XET" in environ,
        "HF_HUB_DOWNLOAD_TIMEOUT": int(environ.get("HF_HUB_DOWNLOAD_TIMEOUT", "10")),
    }


@contextmanager
def huggingface_client(environ: Mapping[str, str]) -> Iterator[None]:
    """Make this process's huggingface_hub use this environment."""
    from huggingface_hub import close_session, constants

    with patch.dict(os.environ, environ, clear=True), patch.multiple(constants, **client_constants(environ)):
        close_session()  # a process has one client, for the proxies and certificates of its environment
        try:
            yield
        finally:
            close_session()

"""The Hugging Face hub: what a repository holds, bytes of its files, and what this machine has in its cache.

The only importer of huggingface_hub, which is a heavy import. HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are
read by it. It answers for metadata, tokens, redirects, the cache and Xet; its own downloads are not used, because since
1.18 they forget what they had when a process ends (huggingface_hub issue 4196).

Knows: repositories, how the hub fails, which failures pass. Does not know: where bytes go, or how often one tries.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1_quantize.checkpoint.checkpoint import shard_names
from r1_quantize.errors import ModelNotFound, NetworkError, UsageError
from r1_quantize.hub.repository import DESCRIPTION, RemoteFile, Repository, checked, is_repo
from r1_quantize.store.manifest import file_sha256

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

WEIGHTS = ("*.safetensors",)
"""Pickles and code are never asked for."""

_PASSING = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}  # statuses that a later try may not meet
_XET = {
    "telemetry.enabled": False,
    "reconstruction.download_buffer_size": 64_000_000,  # bytes; it would take up to six thousand million
    "client.connect_timeout": "10s",  # of several minutes; the plain way may be open
    "client.read_timeout": "20s",
    "client.retry_max_attempts": 2,
    "client.retry_max_duration": "20s",
}
_ENDLESS = 10**9  # seconds; more than that makes no difference to anybody
_TOKEN = "set HF_TOKEN, or run: hf auth login"
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]+/(?:[0-9]+|\*)")


class TryAgain(Exception):
    """A failure that passes. `wait` is how many seconds the hub asks for; None when it does not say."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class XetFailed(TryAgain):
    """The hub's faster way does not work from here; the plain one may."""


class NotAsListed(NetworkError):
    """What there is is not what the hub said there is; whoever goes on asks it again."""


class RevisionGone(NetworkError):
    """The hub no longer has the commit that was asked for."""


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes of a file on their way, from `start` on: where they were asked from, or 0 from a hub without ranges."""

    start: int
    pieces: Iterator[bytes]


def look_up(repo: str, revision: str | None = None) -> Repository:
    """What is in `repo` at `revision`, or at its newest commit.

    Raises TryAgain; NetworkError, when the hub refuses; ModelNotFound, when there is no such repository; RevisionGone;
    BadCheckpoint, when what the hub says is impossible.
    """
    _quiet()
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if not is_repo(repo):
        raise UsageError(f"{repo!r} is no repository; they look like deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
    if not constants.ENDPOINT.startswith(("http://", "https://")):
        raise UsageError(f"HF_ENDPOINT is {constants.ENDPOINT!r}, and has to begin with https:// or http://")
    with _translated(repo):
        try:
            info = HfApi().model_info(
                repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
            )
            files = [_remote_file(sibling) for sibling in info.siblings or []]
        except (HFValidationError, HfHubHTTPError):  # some of which are ValueErrors
            raise
        except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as exc:
            raise NetworkError(
                f"what answers at {constants.ENDPOINT} is no hub; does the network want a login?"
            ) from exc
    return checked(repo, info.sha, files)


@contextmanager
def open_body(repository: Repository, file: RemoteFile, start: int, end: int, *, xet: bool = True) -> Iterator[Body]:
    """The bytes of a file from `start` up to `end`, or from its beginning where the hub knows no ranges.

    `xet` allows the hub's faster way, where it offers it. Raises TryAgain, also while the pieces are taken;
    NetworkError, when the hub refuses; RevisionGone.
    """
    _quiet()
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, http_stream_backoff

    url = hf_hub_url(repository.name, file.name, revision=repository.commit)
    with _translated(f"{repository.name}/{file.name}"):
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if xet and (pieces := _xet_pieces(url, headers, file, start, end)):
            yield Body(start, pieces)
            return
        if start or end < file.size:
            headers["Range"] = f"bytes={start}-{end - 1}"
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        with http_stream_backoff(
            "GET", url, headers=headers, timeout=timeout, retry_on_exceptions=(), retry_on_status_codes=()
        ) as response:
            _raise_for_status(response)
            yield Body(_start_of(response, start), response.iter_bytes())


def stop_transfers() -> None:
    """Give up what Xet is still at, so that the process can end."""
    if _xet_session.cache_info().currsize:
        _xet_session().sigint_abort()
        _xet_session.cache_clear()


def cached_file(repository: Repository, file: RemoteFile) -> Path | None:
    """Where the Hugging Face cache has a file of that name and size; nobody has looked into it."""
    _quiet()
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository.name, file.name, revision=repository.commit)
    if not isinstance(found, str):
        return None
    path = Path(found)
    return path if path.is_file() and path.stat().st_size == file.size else None


def cached_repository(repo: str) -> Repository:
    """What the cache has of a checkpoint, with the digests that it keeps; opens no connection.

    Raises ModelNotFound when it is not in the cache, or not all of it.
    """
    folder = cached_checkpoint(repo)
    files = {path.name: _cached_file(path) for path in folder.iterdir() if path.is_file()}
    if missing := set(shard_names(folder, files)) - files.keys():
        raise ModelNotFound(f"of the checkpoint {repo} the Hugging Face cache lacks {min(missing)}")
    return checked(repo, folder.name, files.values())


def cached_checkpoint(repo: str) -> Path:
    """The folder of `repo` in the Hugging Face cache, named after its commit; opens no connection.

    Raises ModelNotFound when the repository is not in the cache, or not all of it.
    """
    _quiet()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, allow_patterns=[*DESCRIPTION, *WEIGHTS], local_files_only=True))
    except LocalEntryNotFoundError as exc:
        raise ModelNotFound(f"the checkpoint {repo} is not on this disk") from exc


def _has_token() -> bool:
    """Whether the person has given one, by HF_TOKEN or `hf auth login`."""
    from huggingface_hub import get_token

    return get_token() is not None


def _quiet() -> None:
    """Before huggingface_hub is imported: it reports nothing about this machine, and leaves the talking to us."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)


def _remote_file(sibling: Any) -> RemoteFile:
    lfs = sibling.lfs
    size = lfs.size if lfs is not None else sibling.size
    return RemoteFile(sibling.rfilename, size, lfs.sha256 if lfs is not None else None, sibling.blob_id)


def _cached_file(path: Path) -> RemoteFile:
    """A file of the cache. It links to a blob that is named after its digest, as the hub's ETag was; where a system has
    no links nobody says what it should be, and it is taken as it is."""
    digest, size = path.resolve().name if path.is_symlink() else "", path.stat().st_size
    if re.fullmatch("[0-9a-f]{40}", digest):
        return RemoteFile(path.name, size, None, digest)
    sha256 = digest if re.fullmatch("[0-9a-f]{64}", digest) else file_sha256(path)
    return RemoteFile(path.name, size, sha256, None)


def _start_of(response: httpx2.Response, asked: int) -> int:
    """Where in the file a response begins."""
    if response.status_code != 206:
        return 0
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != asked:
        raise TryAgain("the hub sent other bytes than were asked for")
    return asked


def _raise_for_status(response: httpx2.Response) -> None:
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import hf_raise_for_status

    if response.is_error:
        response.read()  # or the message would be without the hub's reason
    try:
        hf_raise_for_status(response)
    except HfHubHTTPError:
        raise
    except ValueError as exc:  # in a header that it cannot read
        raise TryAgain(f"the hub answered {response.status_code}") from exc


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Foreign errors → ours. None of them carries an address: those of a storage are secrets for their time."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as exc:
        raise NetworkError(f"{what} is not on this disk, and HF_HUB_OFFLINE forbids to fetch it") from exc
    except httpx2.InvalidURL as exc:
        raise UsageError(f"{constants.ENDPOINT!r} is no address of a hub (HF_ENDPOINT)") from exc
    except HFValidationError as exc:
        raise UsageError(f"{what!r} is no name on the hub") from exc
    except HfHubHTTPError as exc:
        raise _refusal(what, exc) from exc
    except (httpx2.RequestError, httpx2.StreamError) as exc:
        raise TryAgain(_reason(exc)) from exc


def _reason(exc: Exception) -> str:
    import httpx2

    match exc:
        case httpx2.ConnectError() | httpx2.ConnectTimeout():
            return "the hub cannot be reached"
        case httpx2.TimeoutException():
            return "the hub fell silent"
        case httpx2.TooManyRedirects():
            return "the hub sends from one address to the next"
        case httpx2.ProxyError():
            return "the proxy refused"
        case _:
            return "the connection broke"


def _refusal(what: str, exc: HfHubHTTPError) -> Exception:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo = "/".join(what.split("/")[:2])
    match exc:
        case GatedRepoError():
            then = " with the account of your token" if _has_token() else f", then {_TOKEN}"
            return NetworkError(f"{what} asks for consent: give it at {constants.ENDPOINT}/{repo}{then}")
        case RevisionNotFoundError():
            return RevisionGone(f"{what}: the hub no longer has that commit")
        case RemoteEntryNotFoundError():
            return NotAsListed(f"{what} is no longer on the hub; running it again takes what is there now")
        case RepositoryNotFoundError():
            why = "your token does not open it" if _has_token() else f"it is private; if it is, {_TOKEN}"
            return ModelNotFound(f"{what} is not on the hub, or {why}")
    return _failure(what, exc.response)


def _failure(what: str, response: httpx2.Response) -> Exception:
    status = response.status_code
    if status in _PASSING:
        return TryAgain(f"the hub answered {status}", _wait_asked_for(response))
    if status == 401:
        return NetworkError(f"the hub does not accept your token; {_TOKEN}")
    return NetworkError(f"the hub answered {status} for {what}; running it again resumes")


def _wait_asked_for(response: httpx2.Response) -> float | None:
    """The seconds a hub asks for, in any of the ways it has."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limits = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and limits and limits.remaining == 0:
        return float(min(limits.reset_in_seconds, _ENDLESS))
    said = response.headers.get("Retry-After", "").strip()
    if said.isdecimal() and len(said) < 9:
        return float(said)
    with suppress(ValueError, OverflowError):  # or a date
        until = parsedate_to_datetime(said)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    return None


def _xet_pieces(url: str, headers: dict[str, str], file: RemoteFile, start: int, end: int) -> Iterator[bytes] | None:
    """The bytes by way of Xet; None when the hub does not offer it for this file, or hf_xet is not here."""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.utils._runtime import is_xet_available
    from huggingface_hub.utils._xet import refresh_xet_connection_info, xet_headers_without_auth

    if file.sha256 is None or not is_xet_available():
        return None
    offered = get_hf_file_metadata(url, headers=headers).xet_file_data
    if offered is None:
        return None
    import hf_xet

    info = refresh_xet_connection_info(file_data=offered, headers=headers)
    with _xet_failing():
        group = _xet_session().new_download_stream_group(
            endpoint=info.endpoint,
            token=info.access_token,
            token_expiry_unix_secs=info.expiration_unix_epoch,
            token_refresh_url=offered.refresh_route,
            token_refresh_headers=headers,
            custom_headers=xet_headers_without_auth(headers),
        )
        stream = group.download_stream(hf_xet.XetFileInfo(offered.file_hash, file.size), start=start, end=end)
    return _taken(stream)


@cache
def _xet_session() -> Any:
    import hf_xet

    return hf_xet.XetSession(hf_xet.XetConfig().with_config(_XET))


def _taken(stream: Iterator[bytes]) -> Iterator[bytes]:
    with _xet_failing():
        yield from stream


@contextmanager
def _xet_failing() -> Iterator[None]:
    """hf_xet raises whatever its own language's error comes nearest to.

    A panic of it is no Exception; it panics in Termux, where its TLS looks for Android's Java.
    """
    try:
        yield
    except BaseException as exc:
        if isinstance(exc, Exception) or type(exc).__name__ == "PanicException":
            raise XetFailed("the hub's Xet storage failed") from exc
        raise

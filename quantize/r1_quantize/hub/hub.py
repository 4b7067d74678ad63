"""The Hugging Face hub: list a repository, read bytes of its files, and look into the cache on this machine.

The only importer of huggingface_hub, which is slow to import. It reads HF_HOME, HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE, and provides metadata, tokens, redirects, the cache and Xet. Its own downloads are not used: since 1.18
they lose partial files when a process ends (huggingface_hub issue 4196).
"""

from __future__ import annotations

import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1_quantize.checkpoint.checkpoint import shard_names
from r1_quantize.errors import ModelNotFound, NetworkError, UsageError
from r1_quantize.hub import network_environment
from r1_quantize.hub.repository import CONFIG_FILES, RemoteFile, Repository, checked_repository, is_repo
from r1_quantize.store.manifest import file_sha256

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

WEIGHTS = ("*.safetensors",)
"""The only files of weights that are used; never pickles or code."""

_TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
_XET_CONFIG = {
    "telemetry.enabled": False,
    "reconstruction.download_buffer_size": 64_000_000,  # bytes; the default may grow to 6 GB
    "client.connect_timeout": "10s",  # instead of several minutes: plain HTTP may work
    "client.read_timeout": "20s",
    "client.retry_max_attempts": 2,
    "client.retry_max_duration": "20s",
}
_MAX_RATE_LIMIT_S = 10**9  # keeps absurd values within a float
_TOKEN_ADVICE = "set HF_TOKEN, or run: hf auth login"
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]+/(?:[0-9]+|\*)")


class TransientError(Exception):
    """A failure that may be gone on a retry. `retry_after` is the seconds the hub asks to wait, or None.

    `cause` is a detail for the final message, such as "Connection refused".
    """

    def __init__(self, reason: str, retry_after: float | None = None, cause: str = "") -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.cause = cause

    def after(self, attempts: int) -> str:
        """The message when that many attempts have failed: `cannot reach the hub (3 attempts: Connection refused)`."""
        details = ": ".join(filter(None, [f"{attempts} attempts" if attempts > 1 else "", self.cause]))
        return f"{self} ({details})" if details else str(self)


class XetFailed(TransientError):
    """Downloading through Xet, the hub's faster storage, failed; plain HTTP may work."""


class NotAsListed(NetworkError):
    """A file is not what the hub listed; the next run has to list the repository again."""


class RevisionGone(NetworkError):
    """The hub no longer has the requested commit."""


@dataclass(frozen=True, slots=True)
class Body:
    """A response body. `start` is its offset in the file: the requested one, or 0 if the hub ignores ranges."""

    start: int
    chunks: Iterator[bytes]


def look_up(repo: str, revision: str | None = None) -> Repository:
    """List the files of `repo` at `revision`, by default at its newest commit.

    Raises TransientError; NetworkError when the hub refuses; ModelNotFound when there is no such repository;
    RevisionGone; BadCheckpoint when the listing is impossible.
    """
    if not is_repo(repo):
        raise UsageError(f"{repo!r} is not a repository name; use OWNER/NAME, as in deepseek-ai/DeepSeek-R1")
    _prepare_connection(repo)
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    with _errors_translated(repo):
        try:
            info = HfApi().model_info(
                repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
            )
            files = [_remote_file(sibling) for sibling in info.siblings or []]
        except (HFValidationError, HfHubHTTPError):  # some of these are ValueErrors too
            raise
        except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as exc:
            raise NetworkError(
                f"{constants.ENDPOINT} does not answer like a hub; does the network require a login?"
            ) from exc
    return checked_repository(repo, info.sha, files)


@contextmanager
def open_body(repository: Repository, file: RemoteFile, start: int, end: int, *, xet: bool = True) -> Iterator[Body]:
    """Request the bytes of a file from `start` up to `end`; a hub that ignores ranges sends the complete file.

    `xet` allows Xet, where the hub offers it. Raises TransientError, also while the chunks are read; NetworkError when
    the hub refuses; RevisionGone.
    """
    what = f"{repository.name}/{file.name}"
    _prepare_connection(what)
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, http_stream_backoff

    url = hf_hub_url(repository.name, file.name, revision=repository.commit)
    with _errors_translated(what):
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if xet and (chunks := _xet_chunks(url, headers, file, start, end)):
            yield Body(start, chunks)
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
    """Abort Xet transfers, so that the process can exit."""
    if _xet_session.cache_info().currsize:
        _xet_session().sigint_abort()
        _xet_session.cache_clear()


def cached_file(repository: Repository, file: RemoteFile) -> Path | None:
    """The path of a file of that name and size in the Hugging Face cache. Its content is not checked."""
    _import_client()
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repository.name, file.name, revision=repository.commit)
    if not isinstance(cached, str):
        return None
    path = Path(cached)
    return path if path.is_file() and path.stat().st_size == file.size else None


def cached_repository(repo: str) -> Repository:
    """The checkpoint in the Hugging Face cache, with the digests that the cache keeps. Opens no connection.

    Raises ModelNotFound when it is not in the cache, or not completely.
    """
    folder = cached_checkpoint(repo)
    files = {path.name: _file_in_cache(path) for path in folder.iterdir() if path.is_file()}
    if missing := set(shard_names(folder, files)) - files.keys():
        raise ModelNotFound(f"the Hugging Face cache lacks {min(missing)} of the checkpoint {repo}")
    return checked_repository(repo, folder.name, files.values())


def cached_checkpoint(repo: str) -> Path:
    """The folder of `repo` in the Hugging Face cache, named after its commit. Opens no connection.

    Raises ModelNotFound when the repository is not in the cache, or not completely.
    """
    _import_client()
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    if constants.HF_HUB_CACHE.startswith("~"):  # a user without a home folder; the library raises RuntimeError
        raise ModelNotFound(f"the checkpoint {repo} is not on this disk")
    try:
        return Path(snapshot_download(repo, allow_patterns=[*CONFIG_FILES, *WEIGHTS], local_files_only=True))
    except LocalEntryNotFoundError as exc:
        raise ModelNotFound(f"the checkpoint {repo} is not on this disk") from exc


def _has_token() -> bool:
    """Whether there is a token, from HF_TOKEN or `hf auth login`."""
    from huggingface_hub import get_token

    return get_token() is not None


def _import_client() -> None:
    """Import huggingface_hub, which may print when it is imported, and keep it silent. Raises UsageError."""
    network_environment.prepare(os.environ)
    _import_silently()


@cache
def _import_silently() -> None:
    logging.disable(logging.CRITICAL)  # huggingface_hub sets its level, and that of the root logger, when imported
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()):
            from huggingface_hub import set_client_factory
    finally:
        logging.disable(logging.NOTSET)
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL + 1)
    set_client_factory(_make_client)


def _make_client() -> httpx2.Client:
    from r1_quantize.hub.client import make_client

    return make_client()


def _prepare_connection(what: str) -> None:
    """Judge everything the environment says about the network, before `what` is requested.

    Raises UsageError for a bad value, NetworkError when connections are switched off.
    """
    _import_client()
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        variable = next((name for name in network_environment.OFFLINE if os.environ.get(name)), "HF_HUB_OFFLINE")
        raise NetworkError(
            f"{what} is not on this disk, and {variable} is set, so it cannot be downloaded; unset {variable}"
        )
    network_environment.check_endpoint(constants.ENDPOINT)
    network_environment.check_header_values(os.environ)
    network_environment.check_token(os.environ, Path(constants.HF_TOKEN_PATH))


def _remote_file(sibling: Any) -> RemoteFile:
    lfs = sibling.lfs
    return RemoteFile(
        name=sibling.rfilename,
        size=lfs.size if lfs is not None else sibling.size,
        sha256=lfs.sha256 if lfs is not None else None,
        git_sha1=sibling.blob_id,
    )


def _file_in_cache(path: Path) -> RemoteFile:
    """A file of the cache, with its digest: the cache links to a blob that is named after the hub's ETag.

    Where the system has no links there is no published digest, so the file itself is hashed.
    """
    digest, size = path.resolve().name if path.is_symlink() else "", path.stat().st_size
    if re.fullmatch("[0-9a-f]{40}", digest):
        return RemoteFile(path.name, size, sha256=None, git_sha1=digest)
    sha256 = digest if re.fullmatch("[0-9a-f]{64}", digest) else file_sha256(path)
    return RemoteFile(path.name, size, sha256=sha256, git_sha1=None)


def _start_of(response: httpx2.Response, requested: int) -> int:
    """The offset in the file at which a response begins."""
    if response.status_code != 206:
        return 0
    content_range = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if content_range is None or int(content_range[1]) != requested:
        raise TransientError("the hub sent a different range than requested")
    return requested


def _raise_for_status(response: httpx2.Response) -> None:
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import hf_raise_for_status

    if response.is_error:
        response.read()  # the error message includes the hub's reason only if the body was read
    try:
        hf_raise_for_status(response)
    except HfHubHTTPError:
        raise
    except ValueError as exc:  # in a header that it cannot parse
        raise TransientError(f"the hub answered {response.status_code}") from exc


@contextmanager
def _errors_translated(what: str) -> Iterator[None]:
    """Turn the client's errors into ours. No message contains a URL: those of a CDN are temporary secrets."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OIDCError

    try:
        yield
    except OIDCError as exc:
        raise UsageError(f"HF_OIDC_RESOURCE is set, but there is no token for it ({exc}); unset it") from exc
    except httpx2.InvalidURL as exc:
        raise UsageError(f"HF_ENDPOINT is {constants.ENDPOINT!r}, which is not a valid address") from exc
    except HFValidationError as exc:
        raise UsageError(f"{what!r} is not a valid name on the hub") from exc
    except HfHubHTTPError as exc:
        raise _refusal(what, exc) from exc
    except (httpx2.RequestError, httpx2.StreamError) as exc:
        raise _connection_failure(exc) from exc


def _connection_failure(exc: Exception) -> Exception:
    import httpx2

    from r1_quantize.hub.client import ProxyFailed, certificate_problem, system_reason

    if problem := certificate_problem(exc):
        return NetworkError(
            f"the certificate of the hub is not trusted ({problem}); if this network has a certificate authority of "
            "its own, set SSL_CERT_FILE to the file with its certificate"
        )
    match exc:
        case ProxyFailed(denied=True):
            return NetworkError(str(exc))
        case ProxyFailed():
            return TransientError(str(exc), cause=exc.cause)
        case httpx2.ConnectTimeout():
            return TransientError("cannot reach the hub", cause="timed out")
        case httpx2.ConnectError():
            return TransientError("cannot reach the hub", cause=system_reason(exc))
        case httpx2.TimeoutException():
            return TransientError("the hub stopped responding")
        case httpx2.TooManyRedirects():
            return TransientError("the hub redirects in a loop")
        case _:
            return TransientError("the connection broke")


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
            then = " with the account of your token" if _has_token() else f", then {_TOKEN_ADVICE}"
            return NetworkError(f"{what} requires consent; accept its terms at {constants.ENDPOINT}/{repo}{then}")
        case RevisionNotFoundError():
            return RevisionGone(f"{what}: the hub no longer has that commit")
        case RemoteEntryNotFoundError():
            return NotAsListed(f"{what} is no longer on the hub; run it again to get the current files")
        case RepositoryNotFoundError():
            why = "your token has no access to it" if _has_token() else f"it is private; if it is, {_TOKEN_ADVICE}"
            return ModelNotFound(f"{what} is not on the hub, or {why}")
    return _http_failure(what, exc.response)


def _http_failure(what: str, response: httpx2.Response) -> Exception:
    status = response.status_code
    if status in _TRANSIENT_STATUSES:
        return TransientError(f"the hub answered {status}", _retry_after(response))
    if status == 401:
        return NetworkError(f"the hub does not accept your token; {_TOKEN_ADVICE}")
    return NetworkError(f"the hub answered {status} for {what}; run it again to resume")


def _retry_after(response: httpx2.Response) -> float | None:
    """The seconds the hub asks to wait: RateLimit, or Retry-After with seconds or a date."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limits = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and limits and limits.remaining == 0:
        return float(min(limits.reset_in_seconds, _MAX_RATE_LIMIT_S))
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal() and len(value) < 9:
        return float(value)
    with suppress(ValueError, OverflowError):  # not a date
        until = parsedate_to_datetime(value)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    return None


# Xet. The two modules of huggingface_hub whose names begin with an underscore are private. They are used because the
# public functions download only to a file of their own: nothing public says whether hf_xet is installed, or gets the
# token that hf_xet needs to stream from an offset.


def _xet_chunks(url: str, headers: dict[str, str], file: RemoteFile, start: int, end: int) -> Iterator[bytes] | None:
    """The bytes through Xet; None when the hub does not offer it for this file, or hf_xet is not installed."""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.utils._runtime import is_xet_available
    from huggingface_hub.utils._xet import refresh_xet_connection_info, xet_headers_without_auth

    if file.sha256 is None or not is_xet_available():
        return None
    xet_file = get_hf_file_metadata(url, headers=headers).xet_file_data
    if xet_file is None:
        return None
    import hf_xet

    info = refresh_xet_connection_info(file_data=xet_file, headers=headers)
    with _xet_errors():
        group = _xet_session().new_download_stream_group(
            endpoint=info.endpoint,
            token=info.access_token,
            token_expiry_unix_secs=info.expiration_unix_epoch,
            token_refresh_url=xet_file.refresh_route,
            token_refresh_headers=headers,
            custom_headers=xet_headers_without_auth(headers),
        )
        stream = group.download_stream(hf_xet.XetFileInfo(xet_file.file_hash, file.size), start=start, end=end)
    return _read_stream(stream)


@cache
def _xet_session() -> Any:
    import hf_xet

    return hf_xet.XetSession(hf_xet.XetConfig().with_config(_XET_CONFIG))


def _read_stream(stream: Iterator[bytes]) -> Iterator[bytes]:
    with _xet_errors():
        yield from stream


@contextmanager
def _xet_errors() -> Iterator[None]:
    """Turn any error of hf_xet into XetFailed: it raises whichever Python exception is closest to Rust's error.

    A Rust panic is not an Exception; it panics in Termux, where its TLS looks for Android's Java.
    """
    try:
        yield
    except BaseException as exc:
        if isinstance(exc, Exception) or type(exc).__name__ == "PanicException":
            raise XetFailed("the hub's Xet storage failed") from exc
        raise

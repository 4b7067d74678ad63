"""The environment variables that decide how the hub is reached, judged before the first connection.

Most of them are read by libraries, which ignore a bad value, print something of their own, or fail in a way that looks
like a failure of the hub. Here each bad value becomes a UsageError that names the variable. No message contains a
password or a token.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from urllib.parse import urlsplit

from r1_quantize.errors import UsageError
from r1_quantize.hub.proxies import has_host, without_password

_MAX_TIMEOUT_S = 86_400
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Either switches connections off."""

_SWITCHES = (*OFFLINE, "HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_IMPLICIT_TOKEN")
_ON, _OFF = {"1", "ON", "YES", "TRUE"}, {"", "0", "OFF", "NO", "FALSE"}  # huggingface_hub knows only the first
_TIMEOUTS = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")
_FOLDERS = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_XET_CACHE", "HF_TOKEN_PATH", "XDG_CACHE_HOME")
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_EMPTY_IS_UNSET = ("HF_ENDPOINT", *_TIMEOUTS, *_FOLDERS)
_TOKEN_PAGE = "https://huggingface.co/settings/tokens"


def prepare(environ: MutableMapping[str, str]) -> None:
    """Make the environment fit for huggingface_hub, before it is imported. Raises UsageError.

    Turns telemetry off, and removes empty variables, which huggingface_hub takes for values, and EAGER_IMPORT, which
    makes it import everything and open a connection.
    """
    for name in _EMPTY_IS_UNSET:
        if environ.get(name) == "":
            del environ[name]
    environ.pop("EAGER_IMPORT", None)
    environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    _check_xet_log(environ)
    for name in _SWITCHES:
        _check_switch(name, environ.get(name, ""))
    for name in _TIMEOUTS:
        if name in environ:
            _check_timeout(name, environ[name])
    for name in _FOLDERS:
        if environ.get(name, "").startswith("~") and os.path.expanduser(environ[name]).startswith("~"):  # noqa: PTH111
            raise UsageError(f"{name} is {environ[name]!r}, but there is no such user; correct it or unset it")


def check_endpoint(address: str) -> None:
    """Raises UsageError when the value of HF_ENDPOINT is not the address of a hub."""
    if problem := _problem_of_endpoint(address):
        shown = without_password(address)
        raise UsageError(f"HF_ENDPOINT is {shown!r}, {problem}; write it like https://huggingface.co, or unset it")


def check_token(environ: Mapping[str, str], file: Path) -> None:
    """Check the token of the environment, or else that of `file`, where `hf auth login` stores it.

    Raises UsageError when it cannot be sent in a header.
    """
    if environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in _ON:
        return
    source = next((name for name in _TOKENS if environ.get(name)), None)
    token = environ[source] if source else _token_in(file)
    cleaned = token.replace("\r", "").replace("\n", "").strip()  # as huggingface_hub does
    if cleaned and not re.fullmatch(r"[!-~]+", cleaned):
        found = "a space" if " " in cleaned else "a character that no token has"
        advice = f"copy it again from {_TOKEN_PAGE}, or unset it" if source else "log in again: hf auth login"
        raise UsageError(f"{source or file} has {found} in it; {advice}")


def check_header_values(environ: Mapping[str, str]) -> None:
    """Raises UsageError for a variable that huggingface_hub puts into a header and that cannot be in one."""
    name = "HF_HUB_USER_AGENT_ORIGIN"
    if not re.fullmatch(r"[ -~]*", environ.get(name, "")):
        raise UsageError(f"{name} has a character that cannot be sent; use letters and digits, or unset it")


def use_certificates(environ: MutableMapping[str, str]) -> None:
    """Check the certificate authorities to trust, and make all libraries trust them. Raises UsageError.

    OpenSSL and hf_xet read SSL_CERT_FILE and SSL_CERT_DIR; REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE, which other programs
    read, are used when neither is set.
    """
    name = next((name for name in _CERTIFICATES if environ.get(name)), None)
    if name is None:
        return
    value = environ[name]
    is_folder = name == "SSL_CERT_DIR" or (name != "SSL_CERT_FILE" and Path(value).is_dir())
    problem = _problem_of_folder(value) if is_folder else _problem_of_bundle(value)
    if problem:
        raise UsageError(f"{name} is {value!r}, {problem}; correct it or unset it")
    environ["SSL_CERT_DIR" if is_folder else "SSL_CERT_FILE"] = value


def _check_xet_log(environ: MutableMapping[str, str]) -> None:
    """Let hf_xet log nothing, unless the user chose a file. By default it logs to its cache, or else to stdout."""
    chosen = environ.get("HF_XET_LOG_DEST")
    if not chosen:
        environ["HF_XET_LOG_DEST"] = os.devnull
        return
    path = Path(chosen)
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise UsageError(f"HF_XET_LOG_DEST is {chosen!r}, which cannot be written; correct it or unset it")


def _check_switch(name: str, value: str) -> None:
    if value.upper() not in _ON | _OFF:
        raise UsageError(f"{name} is {value!r:.80}; set it to 1 or 0")


def _check_timeout(name: str, value: str) -> None:
    try:
        seconds = int(value)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= _MAX_TIMEOUT_S:
        raise UsageError(f"{name} is {value!r:.80}; set it to a number of whole seconds, up to {_MAX_TIMEOUT_S:,}")


def _problem_of_endpoint(value: str) -> str | None:
    if re.search(r"[\s\0-\x1f\x7f]", value):
        return "which has a space in it"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return "which is not a valid address"
    if parts.scheme not in {"http", "https"}:
        return "which does not begin with https:// or http://"
    if not has_host(parts) or port == 0:
        return "which is not a valid address"
    if parts.query or parts.fragment:
        return "which has a query in it"
    return None


def _token_in(file: Path) -> str:
    """The content of the token file; empty if there is none. Raises UsageError."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        problem = "it is not text"
    except OSError as exc:
        if not exc.strerror:
            raise
        problem = exc.strerror
    raise UsageError(
        f"cannot read the token in {file}: {problem}; correct HF_HOME, log in again (hf auth login), or set HF_TOKEN"
    )


def _problem_of_bundle(path: str) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        return "which has no certificates in PEM form"
    except OSError as exc:
        return f"which cannot be read ({exc.strerror})" if not Path(path).is_dir() else "which is a folder"
    except ValueError:
        return "which cannot be a path"
    return None


def _problem_of_folder(paths: str) -> str | None:
    """SSL_CERT_DIR may list several folders. OpenSSL finds a certificate by the hash that its file is named after."""
    for path in paths.split(os.pathsep):
        try:
            names = os.listdir(path)  # noqa: PTH208
        except (OSError, ValueError):
            continue
        if any(re.fullmatch(r"[0-9a-f]{8}\.[0-9]+", name) for name in names):
            return None
    return "which is no folder with certificates that `openssl rehash` has named"

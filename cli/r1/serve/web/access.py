"""Who may use the server, as the command line says it: keys, names of this server, and origins of web pages."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from r1_quantize.errors import UsageError

API_KEY = "R1_API_KEY"

_LARGEST_KEY_FILE = 1 << 20  # bytes
_KEY = re.compile(r"[!-~]{1,512}")  # visible ASCII: what a header can hold
_LOCAL_NAMES = ("localhost", "host.docker.internal", "host.containers.internal")
"""Names of this machine, the last two in the containers that run on it. No public name server knows them."""

_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>\*|[a-z0-9._-]+|\[[0-9a-f:.]+\])(?P<port>:\d{1,5})?"
)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_ANY = "*"
_LONGEST_ORIGIN = 300  # a host name has up to 253 characters


class AccessOptions(Protocol):
    """What `access_of` reads of the command's options."""

    @property
    def host(self) -> str: ...
    @property
    def api_key(self) -> str | None: ...
    @property
    def api_key_file(self) -> Path | None: ...
    @property
    def no_auth(self) -> bool: ...
    @property
    def allow_origins(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Access:
    """`keys`: a client must send one of them; none: it need not. `names` are the host names, in lower case, under
    which clients without a key may reach the server. `origins` are those of web pages that may use it, as browsers
    write them; `*` is any, `app://*` any of that scheme. `warning` is for whoever starts the server.
    """

    keys: tuple[bytes, ...] = field(default=(), repr=False)
    names: frozenset[str] = frozenset(_LOCAL_NAMES)
    origins: frozenset[str] = frozenset()
    warning: str | None = None

    def allows_origin(self, origin: str) -> bool:
        """Whether web pages of this origin may use the server."""
        scheme = origin.partition("://")[0]
        return not self.origins.isdisjoint({origin, _ANY, f"{scheme}://{_ANY}"})

    def allows_host(self, host: str) -> bool:
        """Whether a client may have reached the server under the name in a Host header.

        A web page can make its own name mean this machine (DNS rebinding), so a name must be the server's own. With an
        address no name was looked up; without a Host it is no browser; and no page can know a key, so that with keys
        the name does not matter: the server may stand behind a proxy.
        """
        name = name_in(host)
        if self.keys or not name or _is_address(name):
            return True
        return name in self.names or name.endswith(".localhost")


def access_of(options: AccessOptions, environ: Mapping[str, str]) -> Access:
    """The access that the options give; a key in the environment counts if they have none.

    Raises UsageError: others could reach the server without a key, or an option cannot be used.
    """
    keys, warning = _keys_of(options, environ)
    if not (keys or options.no_auth or is_loopback(options.host)):
        raise UsageError(
            f"--host {options.host:.80}: other machines could use this server; set {API_KEY} or give --api-key-file, "
            "so that a key is needed, or --no-auth to let everyone in"
        )
    origins = frozenset(_origin_of(text, has_keys=bool(keys)) for text in options.allow_origins)
    return Access(keys, _names_of(options.host), origins, warning)


def addresses(host: str, port: int = 0) -> list[tuple[Any, ...]]:
    """The addresses of a host, as `socket.getaddrinfo` has them; at least one. Raises UsageError."""
    try:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
    except (OSError, UnicodeError) as exc:
        raise UsageError(f"--host {host:.80}: no such address; 127.0.0.1 is this machine alone") from exc


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach an address, or all addresses of a name. Raises UsageError."""
    return all(ipaddress.ip_address(address[0]).is_loopback for *_, address in addresses(host))


def name_in(host: str) -> str:
    """The name or address in a Host header or in what follows the scheme of an origin, without its port."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _names_of(host: str) -> frozenset[str]:
    """The names that mean this machine."""
    own = socket.gethostname().lower()
    short = own.partition(".")[0]
    return frozenset({*_LOCAL_NAMES, name_in(host), own, short, f"{short}.local"} - {""})


# Keys


def _keys_of(options: AccessOptions, environ: Mapping[str, str]) -> tuple[tuple[bytes, ...], str | None]:
    """The keys, and a warning about the file that they are in."""
    if options.no_auth:
        for name, value in (("--api-key", options.api_key), ("--api-key-file", options.api_key_file)):
            if value is not None:
                raise UsageError(f"{name} and --no-auth cannot be combined; leave one of them out")
        return (), None
    keys = [] if options.api_key is None else [_key("--api-key", options.api_key)]
    if options.api_key_file is not None:
        keys += _keys_in(options.api_key_file)
        return tuple(keys), _warning_about(options.api_key_file)
    if not keys and environ.get(API_KEY):
        keys.append(_key(API_KEY, environ[API_KEY]))
    return tuple(keys), None


def _key(name: str, text: str) -> bytes:
    text = text.strip()
    if not _KEY.fullmatch(text):
        raise UsageError(f"{name}: a key is 1 to 512 letters, digits and signs of ASCII, without spaces")
    return text.encode("ascii")


def _keys_in(path: Path) -> list[bytes]:
    """One a line; what follows a # at the start or behind a space is a comment."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_KEY_FILE + 1)
        text = content.decode("utf-8-sig")
    except OSError as exc:
        raise UsageError(f"--api-key-file {path}: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"--api-key-file {path}: this is no text") from exc
    if len(content) > _LARGEST_KEY_FILE:
        raise UsageError(f"--api-key-file {path}: larger than 1 MiB; it has one key a line")
    lines = ((number, re.sub(r"(^|\s)#.*", "", line)) for number, line in enumerate(text.splitlines(), 1))
    keys = [_key(f"--api-key-file {path}, line {number}", line) for number, line in lines if line.strip()]
    if not keys:
        raise UsageError(f"--api-key-file {path}: no key in it; write one a line")
    return keys


def _warning_about(path: Path) -> str | None:
    """One about a file that others can read; Windows has no such bits."""
    if os.name != "posix" or not path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return None
    return f"{path}: other users of this machine can read the keys; `chmod 600` ends that"


# Origins


def is_origin(text: str) -> bool:
    """Whether this is the origin of some web page; `null` is that of all which have none."""
    return len(text) <= _LONGEST_ORIGIN and _ORIGIN.fullmatch(text) is not None


def _origin_of(text: str, *, has_keys: bool) -> str:
    """An origin as browsers write it. Raises UsageError."""
    origin = text.strip().lower().removesuffix("/")
    if origin in {_ANY, "null"}:
        if not has_keys:
            raise UsageError(
                f"--allow-origin {origin}: every web page could use this server; name the origins, or set {API_KEY}"
            )
        return origin
    match = _ORIGIN.fullmatch(origin)
    is_web = match is not None and match["scheme"] in _DEFAULT_PORTS
    if match is None or (match["authority"] == _ANY and (is_web or match["port"])):
        raise UsageError(
            f"--allow-origin {text!r:.80}: an origin is a scheme, a host and a port, such as http://localhost:3000"
        )
    port = match["port"] or ""
    return origin.removesuffix(port) if port == _DEFAULT_PORTS.get(match["scheme"]) else origin

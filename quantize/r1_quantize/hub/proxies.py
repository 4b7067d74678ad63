"""The proxies that the environment names, and the requests that go through one.

The variables are http_proxy, https_proxy, all_proxy and no_proxy, in lower or upper case; the lower case wins, as in
curl and urllib. Where none is set, the system's settings count, on the systems that have them.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from r1_quantize.errors import UsageError

_SCHEMES = ("http", "https", "socks5", "socks5h")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_SOCKS_PASSWORD = 255  # bytes (RFC 1929)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy as it is named in `source`: a variable, or the system's settings."""

    source: str
    value: str

    @property
    def url(self) -> str:
        """Its address; one without a scheme is an HTTP proxy."""
        return self.value if "://" in self.value else f"http://{self.value}"

    @property
    def shown(self) -> str:
        """Its address without the password, and where that comes from."""
        return f"{without_password(self.value)} from {self.source}"

    @property
    def is_socks(self) -> bool:
        return self.url.startswith("socks")

    def check(self) -> None:
        """Raises UsageError when it cannot be used."""
        if problem := self._problem():
            shown = without_password(self.value)
            raise UsageError(f"{self.source} is {shown!r:.200}, {problem}; correct it, or unset {self.source}")

    def _problem(self) -> str | None:
        if re.search(r"[\s\0-\x1f\x7f]", self.value):
            return "which has a space in it"
        scheme, _, rest = self.url.partition("://")
        if scheme in {"socks", "socks4", "socks4a"}:
            return f"and r1 speaks only SOCKS 5 (socks5://{without_password(rest)})"
        if scheme not in _SCHEMES:
            return f"and a proxy's address begins with {', '.join(f'{name}://' for name in _SCHEMES)}"
        return _problem_of_address(self.url)


@dataclass(frozen=True, slots=True)
class Proxies:
    """`by_scheme` maps http, https and all to a proxy; requests to the hosts in `exceptions` go through none."""

    by_scheme: Mapping[str, Proxy]
    exceptions: str = ""

    def of(self, scheme: str, host: str, port: int | None) -> Proxy | None:
        """The proxy for a request; None if it goes straight to the host. The proxy is not checked."""
        if is_excepted(self.exceptions, host, port or _DEFAULT_PORTS.get(scheme, 0)):
            return None
        return self.by_scheme.get(scheme) or self.by_scheme.get("all")


def read_proxies(environ: Mapping[str, str]) -> Proxies:
    """The proxies of the environment, else the system's."""
    found: dict[str, Proxy] = {}
    variables = {name.lower(): name for name in sorted(environ) if environ[name]}  # the lower case sorts last
    for scheme in ("http", "https", "all"):
        lower = f"{scheme}_proxy"
        if environ.get(lower) == "":
            continue  # switched off: the variable in upper case does not count then
        if name := variables.get(lower):
            found[scheme] = Proxy(name, environ[name])
    if "REQUEST_METHOD" in environ and "http_proxy" not in environ:
        found.pop("http", None)  # on a web server, a request with a header Proxy sets HTTP_PROXY
    exceptions = environ.get(variables.get("no_proxy", ""), "")
    return Proxies(found or _system_proxies(), exceptions)


def _system_proxies() -> dict[str, Proxy]:
    """The proxies of the system's settings, on Windows and macOS."""
    read = getattr(urllib.request, "getproxies_macosx_sysconf", None) or getattr(
        urllib.request, "getproxies_registry", None
    )
    settings = read() if read else {}
    return {name: Proxy("the system's settings", settings[name]) for name in ("http", "https") if settings.get(name)}


def is_excepted(exceptions: str, host: str, port: int) -> bool:
    """Whether `exceptions`, the value of NO_PROXY, covers a host.

    Its entries, separated by commas: `*`, a domain (which covers its subdomains, also with a leading dot or `*.`), an
    address, or a network like 10.0.0.0/8; each may end in a port and begin with a scheme.
    """
    return any(_covers(entry.strip(), host.lower().strip("[]"), port) for entry in exceptions.split(","))


def _covers(entry: str, host: str, port: int) -> bool:
    name, number = _split_port(entry.rpartition("://")[2].lower())
    if number is not None and number != port:
        return False
    if name == "*":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    domain = name.removeprefix("*").strip(".")
    return bool(domain) and (host.rstrip(".") == domain or host.rstrip(".").endswith(f".{domain}"))


def _split_port(entry: str) -> tuple[str, int | None]:
    if bracketed := re.fullmatch(r"\[([^]]*)\](/[0-9]+)?(?::([0-9]{1,5}))?", entry):
        address, prefix, port = bracketed.groups()
        return address + (prefix or ""), int(port) if port else None
    if named := re.fullmatch(r"([^:]*):([0-9]{1,5})", entry):
        return named[1], int(named[2])
    return entry, None


def without_password(address: str) -> str:
    """An address without its user and password: everything between the scheme and the last @."""
    scheme = re.match(r"[A-Za-z0-9+.-]*://", address)
    before, at, host = address.rpartition("@")
    return f"{scheme[0] if scheme else ''}…@{host}" if at else before + host


def _problem_of_address(url: str) -> str | None:
    """What is wrong with the host, the port or the password; None if nothing."""
    encode = "; in a password, write : / ? # [ ] @ as % and two digits" if "@" in url else ""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"whose port is not a number from 1 to 65535, or an IPv6 address without brackets{encode}"
    if port == 0:
        return "whose port is 0"
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        return f"which goes on after the port{encode}"
    if not has_host(parts):
        return f"which has no valid host{encode}"
    if url.startswith("socks") and any(
        len(part.encode()) > _MAX_SOCKS_PASSWORD for part in (parts.username or "", parts.password or "")
    ):
        return f"and SOCKS takes at most {_MAX_SOCKS_PASSWORD} bytes of user or password"
    return None


def has_host(address: SplitResult) -> bool:
    """Whether its host can be a name or an IP address; names in other scripts are sent in their ASCII form."""
    host = address.hostname or ""
    if address.netloc.rpartition("@")[2].startswith("["):
        try:
            return ipaddress.ip_address(host.partition("%")[0]).version == 6
        except ValueError:
            return False
    with suppress(UnicodeError):
        return re.fullmatch(r"[a-z0-9_.-]+", host.encode("idna").decode("ascii")) is not None
    return False

"""The HTTP client of the hub. It decides for each request which proxy it takes, and knows when a proxy failed.

httpx2's own client would refuse every request, also one that takes no proxy, if any of the environment's proxies is
bad; and it reports a proxy that cannot be reached as if it were the hub. Imports httpx2, which is slow to import.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator

import httpx2

from r1_quantize.errors import UsageError
from r1_quantize.hub.network_environment import use_certificates
from r1_quantize.hub.proxies import Proxies, Proxy, read_proxies

_DENIED = ("username", "password", "authentication", "acceptable methods", "407")
"""Words in httpx2's reasons when a proxy asks for a password, or refuses the given one."""

_SOCKS_REFUSAL = "Proxy Server could not connect: "  # httpx2's words before the proxy's reason


class ProxyFailed(httpx2.ProxyError):
    """A proxy cannot be reached, or refuses. With `denied` it wants a password, or another one.

    `cause` is a detail, such as "Connection refused".
    """

    def __init__(self, reason: str, cause: str = "", *, denied: bool = False) -> None:
        super().__init__(reason)
        self.cause = cause
        self.denied = denied


def make_client() -> httpx2.Client:
    """A client for this process's environment. Raises UsageError when the certificates to trust are unusable."""
    use_certificates(os.environ)
    transport = _RoutedTransport(read_proxies(os.environ), _tls_context())
    return httpx2.Client(transport=transport, trust_env=False, follow_redirects=True, timeout=None)


def _tls_context() -> ssl.SSLContext:
    try:
        return httpx2.create_ssl_context()
    except OSError as exc:  # the certificates were checked before
        path = os.environ.get("SSLKEYLOGFILE")
        if path is None:
            raise UsageError(f"the system's certificates cannot be read ({exc}); set SSL_CERT_FILE") from exc
        raise UsageError(f"SSLKEYLOGFILE is {path!r}, which cannot be written; correct it or unset it") from exc


class _RoutedTransport(httpx2.BaseTransport):
    """Sends each request straight to its host, or through its proxy, which is checked when it is first used."""

    def __init__(self, proxies: Proxies, tls: ssl.SSLContext) -> None:
        self._proxies = proxies
        self._tls = tls
        self._direct = httpx2.HTTPTransport(verify=tls, trust_env=False)
        self._proxied: dict[Proxy, httpx2.HTTPTransport] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises UsageError for a bad proxy, ProxyFailed, and what httpx2 raises."""
        proxy = self._proxies.of(request.url.scheme, request.url.host, request.url.port)
        if proxy is None:
            return self._direct.handle_request(request)
        return _through(proxy, self._transport(proxy), request)

    def close(self) -> None:
        self._direct.close()
        for transport in self._proxied.values():
            transport.close()

    def _transport(self, proxy: Proxy) -> httpx2.HTTPTransport:
        with self._lock:
            if proxy not in self._proxied:
                proxy.check()
                try:
                    made = httpx2.HTTPTransport(verify=self._tls, trust_env=False, proxy=httpx2.Proxy(proxy.url))
                except (httpx2.InvalidURL, ValueError) as exc:
                    raise UsageError(f"the proxy {proxy.shown} has no valid address; correct it") from exc
                self._proxied[proxy] = made
            return self._proxied[proxy]


def _through(proxy: Proxy, transport: httpx2.HTTPTransport, request: httpx2.Request) -> httpx2.Response:
    """Send a request through a proxy. Raises ProxyFailed when that is the proxy's fault."""
    try:
        response = transport.handle_request(request)
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as exc:
        if any(isinstance(reason, ssl.SSLError) for reason in _chain(exc)) and not proxy.url.startswith("https"):
            raise  # the proxy works; the host's certificate is at fault, or its TLS
        cause = "timed out" if isinstance(exc, httpx2.ConnectTimeout) else system_reason(exc)
        raise ProxyFailed(f"cannot reach the proxy {proxy.shown}", cause) from exc
    except httpx2.ProxyError as exc:
        raise _refused(proxy, str(exc).rstrip(".")) from exc
    except httpx2.TransportError as exc:
        raise ProxyFailed(f"the connection through the proxy {proxy.shown} broke", system_reason(exc)) from exc
    except Exception as exc:  # socksio's own errors and assertions, for an answer that is not of SOCKS 5
        if not proxy.is_socks:
            raise
        raise ProxyFailed(f"the proxy {proxy.shown} does not answer like a SOCKS 5 proxy") from exc
    if response.status_code == 407:
        response.close()
        raise _refused(proxy, "407")
    return response


def _refused(proxy: Proxy, why: str) -> ProxyFailed:
    """The error for a proxy that answered, but does not pass the request on."""
    if not any(word in why.lower() for word in _DENIED):
        return ProxyFailed(f"the proxy {proxy.shown} cannot reach the hub", why.removeprefix(_SOCKS_REFUSAL))
    if "@" in proxy.url:
        problem = f"the proxy {proxy.shown} does not accept the user and password in that address; correct them"
        return ProxyFailed(problem, denied=True)
    example = proxy.url.replace("://", "://USER:PASSWORD@")
    return ProxyFailed(f"the proxy {proxy.shown} asks for a user and password; write it as {example}", denied=True)


def certificate_problem(exc: BaseException) -> str:
    """Why a certificate is not trusted, such as "self-signed certificate"; empty for any other failure."""
    found = (reason for reason in _chain(exc) if isinstance(reason, ssl.SSLCertVerificationError))
    return next((reason.verify_message for reason in found), "")


def system_reason(exc: BaseException) -> str:
    """The reason for a failure that TLS or the operating system gives, such as "Connection refused"; may be empty."""
    for reason in _chain(exc):
        if isinstance(reason, ssl.SSLError) and reason.reason:
            return f"TLS: {reason.reason.replace('_', ' ').lower()}"
        if isinstance(reason, OSError) and reason.strerror:
            return reason.strerror
    return ""


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """The error and what caused it."""
    reason: BaseException | None = exc
    while reason is not None:
        yield reason
        reason = reason.__cause__ or reason.__context__

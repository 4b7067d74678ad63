"""`r1_quantize.hub.client`: requests take their proxy or none, and a proxy that fails is blamed by name."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest

from r1_quantize.errors import NetworkError, UsageError
from r1_quantize.hub import hub
from r1_quantize.hub.client import ProxyFailed, make_client
from r1_quantize.hub.hub import TransientError
from tests.fakes.paths import DATA
from tests.fakes.proxy import Proxy, Refusal, unclosed_connections
from tests.quantize.conftest import Serve

CERTIFICATE = DATA / "localhost.pem"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from huggingface_hub import close_session

    for name in (*PROXIES, *map(str.upper, PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)
    close_session()
    yield
    close_session()


@pytest.fixture
def _unclosed() -> Iterator[None]:
    with unclosed_connections():
        yield


@pytest.fixture(params=["http", "https"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server; over TLS its certificate is trusted."""
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        if request.param == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"{request.param}://127.0.0.1:{server.server_port}/"
        server.shutdown()


def get(url: str) -> str:
    with make_client() as client:
        return client.get(url, timeout=10).text


class TestRoutes:
    """A request goes through the proxy for its scheme, or straight to a host in NO_PROXY."""

    def test_without_a_proxy(self, url: str) -> None:
        assert get(url) == "ok"

    @pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
    def test_through_socks(self, url: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with Proxy() as proxy:
            monkeypatch.setenv("ALL_PROXY", f"{scheme}://{proxy.address}")
            assert get(url) == "ok"
        assert proxy.targets == [("127.0.0.1", httpx2.URL(url).port)]

    @pytest.mark.parametrize("kind", ["socks5", "http"])
    def test_with_a_password(self, url: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with Proxy("http" if kind == "http" else "socks5", password="p@ss/word") as proxy:
            monkeypatch.setenv("ALL_PROXY", f"{kind}://user:p%40ss%2Fword@{proxy.address}")
            assert get(url) == "ok"
        assert len(proxy.targets) == 1

    @pytest.mark.parametrize("value", ["http://127.0.0.1:1", "socks://x", "ftp://x", "http://x:99999", "a b"])
    def test_a_bad_proxy_does_not_matter_to_an_exception(
        self, url: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ALL_PROXY", value)
        monkeypatch.setenv("NO_PROXY", "example.org,127.0.0.0/8")
        assert get(url) == "ok"

    def test_a_bad_proxy_does_not_matter_to_another_scheme(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "socks://x")
        with HTTPServer(("127.0.0.1", 0), _Answers) as server:
            threading.Thread(target=server.handle_request, daemon=True).start()
            assert get(f"http://127.0.0.1:{server.server_port}/") == "ok"

    @pytest.mark.parametrize(
        "value", ["socks://127.0.0.1:1080", "socks4://127.0.0.1", "ftp://x", "http://x:99999", "a b", "http://¡"]
    )
    def test_a_bad_proxy_is_named(self, url: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("all_proxy", value)
        with pytest.raises(UsageError, match=r"all_proxy.*; correct it"):
            get(url)


@pytest.mark.usefixtures("_unclosed")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
class TestFailures:
    """A proxy that fails is the proxy's fault, not the hub's."""

    @pytest.mark.parametrize(
        ("refusal", "reason", "cause"),
        [
            ("by rule", "cannot reach the hub", "Connection not allowed by ruleset"),
            ("of the host", "cannot reach the hub", "Connection refused"),
            ("garbage", "does not answer like a SOCKS 5 proxy", ""),
            ("hang up", "does not answer like a SOCKS 5 proxy", ""),
        ],
    )
    def test_of_socks(
        self, url: str, refusal: Refusal, reason: str, cause: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Proxy(refusal=refusal) as proxy:
            monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy.address}")
            with pytest.raises(ProxyFailed) as caught:
                get(url)
        assert str(caught.value) == f"the proxy socks5://{proxy.address} from ALL_PROXY {reason}"
        assert (caught.value.cause, caught.value.denied) == (cause, False)

    @pytest.mark.parametrize("kind", ["socks5", "http"])
    @pytest.mark.parametrize(
        ("user", "advice"), [("", "asks for a user and password"), ("user:no@", "does not accept")]
    )
    def test_a_wanted_password(
        self, url: str, kind: str, user: str, advice: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Proxy("http" if kind == "http" else "socks5", password="hunter2") as proxy:
            monkeypatch.setenv("ALL_PROXY", f"{kind}://{user}{proxy.address}")
            with pytest.raises(ProxyFailed, match=advice) as caught:
                get(url)
        assert caught.value.denied
        assert "no@" not in str(caught.value)

    @pytest.mark.parametrize("kind", ["socks5", "http"])
    def test_one_that_is_gone(self, url: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = f"{kind}://127.0.0.1:{unused.getsockname()[1]}"
            monkeypatch.setenv("ALL_PROXY", address)
            with pytest.raises(ProxyFailed, match=f"cannot reach the proxy {address} from ALL_PROXY") as caught:
                get(url)
        assert caught.value.cause == "Connection refused"

    @pytest.mark.parametrize("refusal", ["garbage", "hang up"])
    def test_an_http_proxy_that_is_none(self, url: str, refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
        with Proxy("http", refusal=refusal) as proxy:
            monkeypatch.setenv("ALL_PROXY", f"http://{proxy.address}")
            with pytest.raises(ProxyFailed, match=r"through the proxy http://.* from ALL_PROXY broke"):
                get(url)


class TestCertificates:
    """A hub whose certificate is not trusted says what to set."""

    @pytest.fixture
    def url(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """The address of a hub with a self-signed certificate."""
        from huggingface_hub import constants

        with HTTPServer(("127.0.0.1", 0), _Answers) as server:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.handle_error = lambda *_: None  # type: ignore[method-assign]
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            monkeypatch.setattr(constants, "ENDPOINT", f"https://127.0.0.1:{server.server_port}")
            yield constants.ENDPOINT
            server.shutdown()

    @pytest.mark.parametrize("proxied", [False, True])
    def test_one_that_is_not_trusted(self, url: str, proxied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        with Proxy() as proxy:
            if proxied:
                monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy.address}")
            with pytest.raises(
                NetworkError, match=r"the certificate of the hub is not trusted \(self.signed certificate"
            ) as caught:
                hub.look_up("owner/model")
        assert "set SSL_CERT_FILE to the file with its certificate" in str(caught.value)

    def test_one_that_is_trusted(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
        monkeypatch.setenv("SSL_CERT_FILE", "")
        with pytest.raises(NetworkError, match="does not answer like a hub"):  # it says "ok" to everything
            hub.look_up("owner/model")

    def test_a_file_for_keys_that_cannot_be_written(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "gone" / "keys"))
        with pytest.raises(UsageError, match=r"SSLKEYLOGFILE is '.*/gone/keys', which cannot be written"):
            hub.look_up("owner/model")


def test_a_hub_without_tls_is_said_in_words(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL's own text has the line of its source."""
    from huggingface_hub import constants

    serve()
    monkeypatch.setattr(constants, "ENDPOINT", constants.ENDPOINT.replace("http://", "https://"))
    with pytest.raises(TransientError) as caught:
        hub.look_up("owner/model")
    assert caught.value.after(1) == "cannot reach the hub (TLS: wrong version number)"


@pytest.mark.usefixtures("_unclosed")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_the_errors_of_a_proxy_are_those_of_the_network(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve()
    with Proxy(password="word") as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy.address}")
        with pytest.raises(NetworkError, match=rf"write it as socks5://USER:PASSWORD@{proxy.address}$"):
            hub.look_up("owner/model")
    with pytest.raises(TransientError, match="cannot reach the proxy") as caught:
        hub.look_up("owner/model")
    assert (
        caught.value.after(3)
        == f"cannot reach the proxy socks5://{proxy.address} from ALL_PROXY (3 attempts: Connection refused)"
    )

"""`r1_quantize.hub.proxies`: which proxy a request takes, and which addresses are no proxies."""

from __future__ import annotations

import string

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1_quantize.errors import UsageError
from r1_quantize.hub.proxies import Proxies, Proxy, is_excepted, read_proxies, without_password

HUB = ("https", "huggingface.co", None)


def source_of(environ: dict[str, str], scheme: str = "https", host: str = "huggingface.co") -> str | None:
    """The variable whose proxy a request takes."""
    proxy = read_proxies(environ).of(scheme, host, None)
    return proxy.source if proxy else None


class TestRead:
    """The variables are those of curl (https://curl.se/docs/manpage.html, "Environment") and urllib."""

    @pytest.mark.parametrize(
        ("environ", "source"),
        [
            ({}, None),
            ({"HTTPS_PROXY": "p:1"}, "HTTPS_PROXY"),
            ({"https_proxy": "p:1"}, "https_proxy"),
            ({"https_proxy": "p:1", "HTTPS_PROXY": "q:1"}, "https_proxy"),
            ({"https_proxy": "", "HTTPS_PROXY": "q:1"}, None),
            ({"HTTPS_PROXY": ""}, None),
            ({"ALL_PROXY": "p:1"}, "ALL_PROXY"),
            ({"all_proxy": "p:1", "https_proxy": "q:1"}, "https_proxy"),
            ({"HTTP_PROXY": "p:1"}, None),
            ({"Https_Proxy": "p:1"}, "Https_Proxy"),
            ({"TRAVIS_APT_PROXY": "p:1"}, None),
        ],
    )
    def test_the_proxy_of_an_https_request(self, environ: dict[str, str], source: str | None) -> None:
        assert source_of(environ) == source

    def test_http_proxy_on_a_web_server_is_not_trusted(self) -> None:
        """CVE-2016-5385: a CGI program gets the request's header Proxy as HTTP_PROXY."""
        environ = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "p:1"}
        assert source_of(environ, "http") is None
        assert source_of({**environ, "http_proxy": "p:1"}, "http") == "http_proxy"

    def test_an_exception_in_either_case(self) -> None:
        assert source_of({"ALL_PROXY": "p:1", "NO_PROXY": "huggingface.co"}) is None
        assert source_of({"ALL_PROXY": "p:1", "no_proxy": "huggingface.co", "NO_PROXY": ""}) is None
        assert source_of({"ALL_PROXY": "p:1", "no_proxy": "example.org"}) == "ALL_PROXY"

    def test_without_a_variable_the_systems_settings_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import urllib.request

        settings = {"https": "http://10.0.0.1:8080"}
        monkeypatch.setattr(urllib.request, "getproxies_macosx_sysconf", lambda: settings, raising=False)
        assert source_of({}) == "the system's settings"
        assert source_of({"ALL_PROXY": "p:1"}) == "ALL_PROXY"


class TestExceptions:
    """NO_PROXY as curl (manual, `--noproxy`) and Go (golang.org/x/net/http/httpproxy) read it."""

    @pytest.mark.parametrize(
        ("entry", "host", "port", "covered"),
        [
            ("*", "huggingface.co", 443, True),
            ("huggingface.co", "huggingface.co", 443, True),
            ("HuggingFace.CO", "huggingface.co", 443, True),
            ("huggingface.co", "cdn-lfs.huggingface.co", 443, True),
            ("huggingface.co", "nothuggingface.co", 443, False),
            (".huggingface.co", "cdn-lfs.huggingface.co", 443, True),
            ("*.huggingface.co", "cdn-lfs.huggingface.co", 443, True),
            ("huggingface.co.", "huggingface.co", 443, True),
            ("huggingface.co:443", "huggingface.co", 443, True),
            ("huggingface.co:8443", "huggingface.co", 443, False),
            ("https://huggingface.co", "huggingface.co", 443, True),
            ("co", "huggingface.co", 443, True),
            ("", "huggingface.co", 443, False),
            (".", "huggingface.co", 443, False),
            ("127.0.0.1", "127.0.0.1", 8080, True),
            ("127.0.0.1:8080", "127.0.0.1", 8080, True),
            ("127.0.0.1:80", "127.0.0.1", 8080, False),
            ("10.0.0.0/8", "10.20.30.40", 443, True),
            ("10.0.0.0/8", "11.0.0.1", 443, False),
            ("10.1.2.3/8", "10.20.30.40", 443, True),
            ("10.0.0.0/99", "10.0.0.1", 443, False),
            ("::1", "::1", 443, True),
            ("[::1]", "[::1]", 443, True),
            ("[::1]:443", "::1", 443, True),
            ("fe80::/10", "fe80::2", 443, True),
            ("0.0.0.0/0", "::1", 443, False),
        ],
    )
    def test_an_entry(self, entry: str, host: str, port: int, covered: bool) -> None:
        assert is_excepted(entry, host, port) is covered
        assert is_excepted(f"example.org, {entry} ,localhost", host, port) is covered

    def test_the_scheme_has_a_port(self) -> None:
        proxies = Proxies({"all": Proxy("ALL_PROXY", "p:1")}, "huggingface.co:443")
        assert proxies.of("https", "huggingface.co", None) is None
        assert proxies.of("http", "huggingface.co", None) is not None


def message_of(proxy: Proxy) -> str:
    """Why a proxy is refused; empty for a good one."""
    try:
        proxy.check()
    except UsageError as exc:
        return str(exc)
    return ""


GOOD = [
    *("proxy", "proxy:3128", "http://proxy", "https://proxy:8443", "http://proxy:3128/", "socks5://127.0.0.1:1080"),
    *(
        "socks5h://user:word@proxy:1080",
        "http://user:p%40ss%2Fword@proxy:80",
        "http://[::1]:3128",
        "socks5://[fe80::1]",
    ),
    *("http://user@proxy", "http://bücher.example:80", "http://proxy_1.local", "http://10.0.0.1"),
]
BAD = [
    ("socks://127.0.0.1:1080", r"speaks only SOCKS 5 .socks5://127.0.0.1:1080."),
    ("socks4://127.0.0.1:1080", "speaks only SOCKS 5"),
    ("socks4a://127.0.0.1", "speaks only SOCKS 5"),
    ("ftp://proxy:21", "begins with http://, https://, socks5://, socks5h://"),
    ("HTTPS//proxy", "which goes on after the port"),
    ("http://proxy:8080/proxy.pac", "which goes on after the port"),
    ("://proxy", "begins with http://"),
    ("http:// proxy", "which has a space in it"),
    ("proxy 3128", "which has a space in it"),
    ("http://proxy:3128\n", "which has a space in it"),
    ("http://proxy:99999", "whose port is not a number from 1 to 65535"),
    ("http://proxy:0", "whose port is 0"),
    ("http://proxy:-1", "whose port is not a number"),
    ("http://proxy:http", "whose port is not a number"),
    ("http://::1:3128", "an IPv6 address without brackets"),
    ("http://[::1", "an IPv6 address without brackets"),
    ("http://[zz]:1", "no valid host|without brackets"),
    ("http://", "no valid host"),
    ("http://:3128", "no valid host"),
    ("http://a..b", "no valid host"),
    ("http://user:pa/ss@proxy:80", "in a password, write"),
    ("http://user:pa#ss@proxy:80", "in a password, write"),
    ("socks5://" + "u" * 256 + ":x@proxy", "at most 255 bytes"),
]


class TestCheck:
    """A bad address is refused in one line that names the variable and what to do."""

    @pytest.mark.parametrize("value", GOOD)
    def test_a_good_address(self, value: str) -> None:
        proxy = Proxy("HTTPS_PROXY", value)
        proxy.check()
        httpx2.HTTPTransport(proxy=httpx2.Proxy(proxy.url)).close()  # raises for what httpx2 cannot use

    @pytest.mark.parametrize(("value", "said"), BAD)
    def test_a_bad_address(self, value: str, said: str) -> None:
        with pytest.raises(UsageError, match=said) as caught:
            Proxy("all_proxy", value).check()
        assert str(caught.value).startswith("all_proxy is ")
        assert str(caught.value).endswith("correct it, or unset all_proxy")
        assert str(caught.value).isprintable()

    @given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(":/@[]#?%. \n"), max_size=40))
    def test_every_accepted_address_can_be_used(self, value: str) -> None:
        proxy = Proxy("HTTPS_PROXY", value)
        said = message_of(proxy)
        assert said.isprintable()
        if not said and value.isascii():  # httpx2 is stricter about the letters of other scripts
            httpx2.Proxy(proxy.url)


class TestPasswords:
    """No message shows a password."""

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ("http://user:secret@proxy:3128", "http://…@proxy:3128"),
            ("user:secret@proxy", "…@proxy"),
            ("socks4://user:sec@ret@proxy", "socks4://…@proxy"),
            ("http://proxy", "http://proxy"),
            ("http://user:sec://ret@proxy", "http://…@proxy"),
        ],
    )
    def test_an_address_without_it(self, value: str, shown: str) -> None:
        assert without_password(value) == shown

    @given(st.sampled_from(["http", "socks5", "socks4", "ftp", ""]), st.text(string.printable, max_size=12))
    def test_not_in_any_message(self, scheme: str, rest: str) -> None:
        secret = "Hunter2Hunter2"
        for value in (f"{scheme}://user:{secret}{rest}@proxy:1", f"user:{rest}{secret}@proxy:x{rest}"):
            assert secret not in Proxy("p", value).shown
            assert secret not in message_of(Proxy("p", value))

"""`r1_quantize.hub.network_environment`: each bad variable is refused by name, before anything is sent."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1_quantize.errors import UsageError
from r1_quantize.hub.network_environment import (
    check_endpoint,
    check_header_values,
    check_token,
    prepare,
    use_certificates,
)
from tests.fakes.paths import DATA

NOWHERE = Path("/nowhere/token")
CERTIFICATE = DATA / "localhost.pem"
needs_user = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")


def refused(environ: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        prepare(environ)
    assert str(caught.value).isprintable()


class TestPrepare:
    """What huggingface_hub reads when it is imported."""

    @pytest.mark.parametrize("name", ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"])
    @pytest.mark.parametrize("value", ["abc", "1.5", "-5", "10s", "9" * 30, "9" * 5000, "0x10", "١٠ s", "nan"])
    def test_a_timeout(self, name: str, value: str) -> None:
        refused({name: value}, f"{name} is .*; set it to a number of whole seconds, up to 86,400")

    @pytest.mark.parametrize("value", ["10", "0", " 30 ", "86400"])
    def test_a_good_timeout(self, value: str) -> None:
        prepare({"HF_HUB_DOWNLOAD_TIMEOUT": value})

    @pytest.mark.parametrize(
        "name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_IMPLICIT_TOKEN"]
    )
    def test_a_switch(self, name: str) -> None:
        for value in ("maybe", "2", "on off", "wahr"):
            refused({name: value}, f"{name} is '{value}'; set it to 1 or 0")
        for value in ("", "0", "1", "true", "Yes", "off", "False"):
            prepare({name: value})

    @pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH", "XDG_CACHE_HOME", "HF_XET_CACHE"])
    def test_a_folder_of_an_unknown_user(self, name: str) -> None:
        refused({name: "~nosuchuser/hf"}, f"{name} is '~nosuchuser/hf', but there is no such user")
        prepare({name: "~/hf"})

    @pytest.mark.parametrize("name", ["HF_ENDPOINT", "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HOME", "HF_HUB_CACHE"])
    def test_an_empty_variable_is_as_good_as_none(self, name: str) -> None:
        environ = {name: ""}
        prepare(environ)
        assert name not in environ

    def test_nothing_is_imported_that_is_not_needed(self) -> None:
        environ = {"EAGER_IMPORT": "1"}
        prepare(environ)
        assert "EAGER_IMPORT" not in environ

    @pytest.mark.parametrize("chosen", [{}, {"HF_XET_LOG_DEST": ""}])
    def test_xet_logs_to_nowhere(self, chosen: dict[str, str]) -> None:
        environ = dict(chosen)
        prepare(environ)
        assert environ["HF_XET_LOG_DEST"] == os.devnull

    def test_a_log_of_xet_that_is_wanted(self, tmp_path: Path) -> None:
        environ = {"HF_XET_LOG_DEST": str(tmp_path / "log")}
        prepare(environ)
        assert environ["HF_XET_LOG_DEST"] == str(tmp_path / "log")
        refused({"HF_XET_LOG_DEST": str(tmp_path / "gone" / "log")}, "HF_XET_LOG_DEST is '.*', which cannot be written")

    @pytest.mark.parametrize("given", [{}, {"HF_HUB_DISABLE_TELEMETRY": "0"}])
    def test_there_is_no_telemetry(self, given: dict[str, str]) -> None:
        environ = dict(given)
        prepare(environ)
        assert environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


class TestEndpoint:
    """HF_ENDPOINT is the address of a hub; a mirror may have a path."""

    @pytest.mark.parametrize(
        "address",
        [
            *("https://huggingface.co", "http://127.0.0.1:8080", "https://mirror.example/api/hf", "http://[::1]:80"),
            *("https://user:word@mirror.example", "https://bücher.example", "http://hub_1.local", "HTTPS://hub"),
        ],
    )
    def test_a_good_one(self, address: str) -> None:
        check_endpoint(address)

    @pytest.mark.parametrize(
        ("address", "said"),
        [
            ("", "does not begin with https:// or http://"),
            ("huggingface.co", "does not begin with https:// or http://"),
            ("ftp://huggingface.co", "does not begin with https:// or http://"),
            ("https:/huggingface.co", "not a valid address"),
            ("https://", "not a valid address"),
            ("https://hub:99999", "not a valid address"),
            ("https://hub:0", "not a valid address"),
            ("https://hub:x", "not a valid address"),
            ("https://[::1", "not a valid address"),
            ("https://a..b", "not a valid address"),
            ("https://ﬀ\u2028.co", "has a space in it"),
            (" https://huggingface.co", "has a space in it"),
            ("https://hugging face.co", "has a space in it"),
            ("https://huggingface.co\n", "has a space in it"),
            ("https://huggingface.co?x=1", "has a query in it"),
            ("https://huggingface.co/#a", "has a query in it"),
        ],
    )
    def test_a_bad_one(self, address: str, said: str) -> None:
        with pytest.raises(
            UsageError, match=f"HF_ENDPOINT is .*{said}; write it like https://huggingface.co"
        ) as caught:
            check_endpoint(address)
        assert str(caught.value).isprintable()

    def test_a_password_is_not_shown(self) -> None:
        with pytest.raises(UsageError) as caught:
            check_endpoint("ftp://user:hunter2@hub")
        assert "hunter2" not in str(caught.value)


class TestToken:
    """A token must be sendable; no message shows any of it."""

    @pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
    @pytest.mark.parametrize("token", ["hf_sécret", "hf_se cret", "hf_se\tcret", "hf_“quoted”", "hf_\x00", "hf_\x7f"])
    def test_of_the_environment(self, name: str, token: str) -> None:
        with pytest.raises(
            UsageError, match=rf"{name} has a .* in it; copy it again from https://.*, or unset it"
        ) as caught:
            check_token({name: token}, NOWHERE)
        assert not set(token[3:].split()) & set(str(caught.value).split())

    @pytest.mark.parametrize("token", ["hf_abc", " hf_abc \n", "hf_abc\r\n", "hf_a\nbc", "", "  \n", "a.b-c_d=="])
    def test_a_good_one(self, token: str, tmp_path: Path) -> None:
        check_token({"HF_TOKEN": token}, NOWHERE)
        (tmp_path / "token").write_text(token)
        check_token({}, tmp_path / "token")

    def test_of_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text("hf_sécret", encoding="utf-8")
        with pytest.raises(
            UsageError, match=r"/token has a character that no token has in it; log in again: hf auth login"
        ):
            check_token({}, file)
        file.write_bytes(b"hf_\xff\xfe")
        with pytest.raises(
            UsageError, match=r"cannot read the token in .*/token: it is not text; correct HF_HOME, log in again"
        ):
            check_token({}, file)
        with pytest.raises(
            UsageError, match=r"cannot read the token in .*: Is a directory; correct HF_HOME, log in again"
        ):
            check_token({}, tmp_path)
        with pytest.raises(
            UsageError, match=r"cannot read the token in .*: Not a directory; correct HF_HOME, log in again"
        ):
            check_token({}, file / "token")

    def test_a_missing_file_is_no_token(self) -> None:
        check_token({}, NOWHERE)

    def test_the_file_is_not_read_when_another_token_counts_or_none_may_be_sent(self, tmp_path: Path) -> None:
        check_token({"HF_TOKEN": "hf_abc"}, tmp_path)
        check_token({"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, tmp_path)

    @given(st.text(max_size=20))
    def test_every_accepted_token_fits_in_a_header(self, token: str) -> None:
        import httpx2
        from huggingface_hub.utils._auth import _clean_token

        try:
            check_token({"HF_TOKEN": token}, NOWHERE)
        except UsageError:
            return
        httpx2.Request("GET", "http://hub", headers={"Authorization": f"Bearer {_clean_token(token)}"})


@pytest.mark.parametrize("origin", ["pärtner", "a\nb", "\x00"])
def test_the_origin_for_the_user_agent(origin: str) -> None:
    with pytest.raises(UsageError, match="HF_HUB_USER_AGENT_ORIGIN has a character that cannot be sent"):
        check_header_values({"HF_HUB_USER_AGENT_ORIGIN": origin})
    check_header_values({"HF_HUB_USER_AGENT_ORIGIN": "partner (1.0)"})


class TestCertificates:
    """SSL_CERT_FILE and the like name certificates in PEM form, which every library then trusts."""

    @pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_a_file(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "empty.pem").touch()
        (tmp_path / "text.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        (tmp_path / "binary.pem").write_bytes(
            ssl.PEM_cert_to_DER_cert(CERTIFICATE.read_text().rpartition("KEY-----\n")[2])
        )
        for value, said in [
            (tmp_path / "gone.pem", "cannot be read .No such file"),
            (tmp_path / "empty.pem", "has no certificates in PEM form"),
            (tmp_path / "text.pem", "has no certificates in PEM form"),
            (tmp_path / "binary.pem", "has no certificates in PEM form"),
            ("~/ca.pem", "cannot be read .No such file"),
            (" ", "cannot be read .No such file"),
        ]:
            with pytest.raises(UsageError, match=f"{name} is '.*', which {said}.*; correct it or unset it"):
                use_certificates({name: str(value)})

    @needs_user
    def test_a_file_that_may_not_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").touch(mode=0)
        with pytest.raises(UsageError, match=r"SSL_CERT_FILE is '.*', which cannot be read .Permission denied."):
            use_certificates({"SSL_CERT_FILE": str(tmp_path / "ca.pem")})

    def test_a_folder_for_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"SSL_CERT_FILE is '.*', which is a folder"):
            use_certificates({"SSL_CERT_FILE": str(tmp_path)})

    @pytest.mark.parametrize("name", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
    def test_a_folder_needs_names_that_openssl_finds(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_bytes(CERTIFICATE.read_bytes())
        with pytest.raises(
            UsageError, match=f"{name} is '.*', which is no folder with certificates that `openssl rehash`"
        ):
            use_certificates({name: str(tmp_path)})
        (tmp_path / "0a1b2c3d.0").write_bytes(CERTIFICATE.read_bytes())
        environ = {name: str(tmp_path)}
        use_certificates(environ)
        assert environ["SSL_CERT_DIR"] == str(tmp_path)
        several = os.pathsep.join(["/nowhere", str(tmp_path)])
        use_certificates({"SSL_CERT_DIR": several})

    def test_the_first_that_is_set_counts(self) -> None:
        environ = {"SSL_CERT_FILE": str(CERTIFICATE), "SSL_CERT_DIR": "/nowhere", "CURL_CA_BUNDLE": "/nowhere"}
        use_certificates(environ)
        assert environ["SSL_CERT_FILE"] == str(CERTIFICATE)

    @pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_other_programs_bundles_are_trusted_too(self, name: str) -> None:
        environ = {name: str(CERTIFICATE), "SSL_CERT_FILE": ""}
        use_certificates(environ)
        assert environ["SSL_CERT_FILE"] == str(CERTIFICATE)

    def test_none_is_set(self) -> None:
        environ: dict[str, str] = {}
        use_certificates(environ)
        assert environ == {}

"""Who may use the server, as the options and the environment say it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from r1.commands.serve import ServeOptions
from r1.serve.web.access import Access, access_of, is_loopback
from r1_quantize.errors import UsageError


def access(environ: dict[str, str] | None = None, **options: Any) -> Access:
    return access_of(ServeOptions(**options), environ or {})


def refusal(environ: dict[str, str] | None = None, **options: Any) -> str:
    with pytest.raises(UsageError) as raised:
        access(environ, **options)
    message = str(raised.value)
    assert "\n" not in message
    return message


class TestHosts:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
    def test_this_machine_alone_needs_no_key(self, host: str) -> None:
        assert is_loopback(host)
        assert access(host=host).keys == ()

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1"])
    def test_what_others_can_reach_needs_a_key_or_the_word_that_it_needs_none(self, host: str) -> None:
        message = refusal(host=host)
        assert message.startswith(f"--host {host}: ")
        assert all(option in message for option in ("R1_API_KEY", "--api-key-file", "--no-auth"))
        assert access(host=host, no_auth=True).keys == ()
        assert access(host=host, api_key="k").keys == (b"k",)
        assert access({"R1_API_KEY": "k"}, host=host).keys == (b"k",)

    def test_an_empty_key_in_the_environment_is_none(self) -> None:
        assert "--no-auth" in refusal({"R1_API_KEY": ""}, host="0.0.0.0")

    @pytest.mark.parametrize("host", ["", "a" * 300, "a..b"])
    def test_a_host_that_does_not_exist_is_told(self, host: str) -> None:
        assert "no such address" in refusal(host=host)


class TestKeys:
    def test_an_option_is_stronger_than_the_environment(self) -> None:
        assert access({"R1_API_KEY": "theirs"}, api_key="mine").keys == (b"mine",)
        assert access({"R1_API_KEY": "theirs"}, no_auth=True).keys == ()

    def test_a_file_has_one_a_line_and_comments(self, tmp_path: Path) -> None:
        path = key_file(tmp_path, "\ufeff# ours\r\n\r\nsk-one\r\n  sk-#two   # of the laptop\r\n#sk-three\n")
        assert access(api_key_file=path, api_key="sk-0").keys == (b"sk-0", b"sk-one", b"sk-#two")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "no key in it"),
            ("# one\n\n", "no key in it"),
            ("good\ntwo words\n", "line 2"),
            ("ключ\n", "line 1"),
            ("x" * 513, "line 1"),
        ],
    )
    def test_a_file_without_usable_keys_is_told(self, tmp_path: Path, text: str, problem: str) -> None:
        message = refusal(api_key_file=key_file(tmp_path, text))
        assert problem in message
        assert "words" not in message, "a key may be in it"

    def test_a_file_that_cannot_be_read_is_told(self, tmp_path: Path) -> None:
        assert "No such file" in refusal(api_key_file=tmp_path / "none")
        assert "--api-key-file" in refusal(api_key_file=tmp_path)
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        assert "no text" in refusal(api_key_file=tmp_path / "binary")
        (tmp_path / "large").write_bytes(b"a\n" * (1 << 20))
        assert "1 MiB" in refusal(api_key_file=tmp_path / "large")

    @pytest.mark.skipif(os.name != "posix", reason="Windows has no such bits")
    @pytest.mark.parametrize(("mode", "is_told"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
    def test_a_file_that_others_can_read_is_told_in_one_line(self, tmp_path: Path, mode: int, is_told: bool) -> None:
        path = key_file(tmp_path, "sk-one\n")
        path.chmod(mode)
        warning = access(api_key_file=path).warning
        assert (warning is not None) == is_told
        if warning:
            assert str(path) in warning
            assert "chmod 600" in warning
            assert "\n" not in warning

    @pytest.mark.parametrize("key", ["", " ", "a b", "a\nb", "käse", "x" * 513])
    def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(self, key: str) -> None:
        for message in (refusal(api_key=key), refusal({"R1_API_KEY": key or " "})):
            assert "a key is" in message
            assert not key.strip() or key not in message

    def test_no_auth_beside_a_key_is_refused(self, tmp_path: Path) -> None:
        assert "--api-key and --no-auth" in refusal(api_key="k", no_auth=True)
        assert "--api-key-file and --no-auth" in refusal(api_key_file=tmp_path, no_auth=True)

    def test_keys_are_not_in_what_a_traceback_shows(self) -> None:
        assert "sk-secret" not in repr(access(api_key="sk-secret"))


class TestNames:
    OWN = socket.gethostname().lower()

    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "LOCALHOST:8017",
            "localhost.:8017",
            "web.localhost:8017",
            "127.0.0.1:8017",
            "[::1]:8017",
            "[::1]",
            "192.168.1.20:8017",
            "host.docker.internal:8017",
            f"{OWN}:8017",
            f"{OWN.partition('.')[0]}.local",
            "",
        ],
    )
    def test_names_of_this_machine_and_addresses_are_fine(self, host: str) -> None:
        assert access().allows_host(host)

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "evil.example:8017", "localhost.evil.example", "127.0.0.1.nip.io", "evillocalhost", "1.evil"],
    )
    def test_other_names_are_fine_only_with_a_key(self, host: str) -> None:
        assert not access().allows_host(host)
        assert not access(host="0.0.0.0", no_auth=True).allows_host(host)
        assert access(api_key="k").allows_host(host)

    def test_the_name_of_the_host_option_is_fine(self) -> None:
        assert Access(names=frozenset({"box.lan"})).allows_host("Box.LAN:80")
        assert access(host="localhost").allows_host("localhost")


class TestOrigins:
    @pytest.mark.parametrize(
        ("given", "sent"),
        [
            ("http://localhost:3000", "http://localhost:3000"),
            ("HTTP://LocalHost:3000/", "http://localhost:3000"),
            ("https://chat.example:443", "https://chat.example"),
            ("http://chat.example:80", "http://chat.example"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("app://obsidian.md", "app://obsidian.md"),
            ("vscode-webview://*", "vscode-webview://0a1b"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ],
    )
    def test_an_origin_is_compared_as_browsers_write_it(self, given: str, sent: str) -> None:
        assert access(allow_origins=(given,)).allows_origin(sent)

    @pytest.mark.parametrize(
        "sent",
        [
            "http://localhost",
            "http://localhost:30001",
            "https://localhost:3000",
            "http://evil.example",
            "http://localhost:3000.evil.example",
            "null",
            "",
            "*",
            "app://evil",
        ],
    )
    def test_no_other_origin_is_allowed(self, sent: str) -> None:
        assert not access(allow_origins=("http://localhost:3000", "app://good")).allows_origin(sent)

    @pytest.mark.parametrize("origin", ["*", "null"])
    def test_every_page_is_allowed_only_with_a_key(self, origin: str) -> None:
        assert "R1_API_KEY" in refusal(allow_origins=(origin,))
        assert access(api_key="k", allow_origins=(origin,)).allows_origin("null")
        assert access(api_key="k", allow_origins=("*",)).allows_origin("http://evil.example")

    @pytest.mark.parametrize(
        "origin",
        [
            "localhost:3000",
            "localhost",
            "http://",
            "http://*",
            "https://*:3000",
            "http://*.example",
            "http://a/b",
            "http://a:b",
            "http://a b",
            "http://user@a",
            "http://käse.example",
            "http://a\nb",
        ],
    )
    def test_what_is_no_origin_is_refused(self, origin: str) -> None:
        assert "such as http://localhost:3000" in refusal(allow_origins=(origin,))


def key_file(folder: Path, text: str) -> Path:
    path = folder / "keys"
    path.write_bytes(text.encode())
    path.chmod(0o600)
    return path

"""`r1 pull` with the network variables that people have: it works, or says in one line which of them is wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import pytest

from tests.e2e.pull.person import MODEL, NAMES, PREFIX, THIRD, Person, Undisturbed, error_line
from tests.fakes.hub import Hub
from tests.fakes.proxy import Proxy, unclosed_connections


class TestSocks:
    """A pull through a SOCKS 5 proxy is a pull like any other."""

    @pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
    def test_every_byte_goes_through_it(self, person: Person, undisturbed: Undisturbed, scheme: str) -> None:
        with Proxy(password="word") as proxy:
            person.variables = {"all_proxy": f"{scheme}://user:word@{proxy.address}"}
            done = person.pull()
        assert (done.returncode, person.digest, person.sent) == (0, undisturbed.digest, undisturbed.sent)
        assert {f"http://{host}:{port}" for host, port in proxy.targets} == {person.hub.endpoint}

    def test_together_with_xet(self, served: Path, person: Person, undisturbed: Undisturbed) -> None:
        with Hub(served, xet=True) as person.hub, Proxy() as proxy:
            person.variables = {"ALL_PROXY": f"socks5://{proxy.address}"}
            done = person.pull()
            assert sum(person.hub.sent[name] for name in NAMES) == len(NAMES) * PREFIX
        assert (done.returncode, person.digest) == (0, undisturbed.digest)
        assert proxy.targets

    @pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
    def test_that_goes_away_is_blamed_and_the_pull_resumes(
        self, hub: Hub, person: Person, undisturbed: Undisturbed
    ) -> None:
        with unclosed_connections(), Proxy() as proxy:
            person.variables = {"ALL_PROXY": f"socks5://{proxy.address}"}
            hub.before = lambda request: proxy.stop() if THIRD in request else None
            done = person.pull()
            assert f"cannot reach the proxy socks5://{proxy.address} from ALL_PROXY (8 attempts" in done.stderr.decode()
            hub.before = None
        person.variables = {}
        person.pull()
        assert (person.exits, person.digest) == ([6, 0], undisturbed.digest)
        assert person.sent - undisturbed.sent <= undisturbed.shard


class TestOneLine:
    """A bad value is refused before anything is sent: its name, what is wrong, what to do, exit 2."""

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("all_proxy", "socks://127.0.0.1:1080"),
            ("HTTP_PROXY", "http://proxy:99999"),
            ("SSL_CERT_FILE", "/gone.pem"),
            ("SSL_CERT_DIR", "/gone"),
            ("REQUESTS_CA_BUNDLE", "/gone.pem"),
            ("HF_TOKEN", "hf_sécret"),
            ("HF_ENDPOINT", "huggingface.co"),
            ("HF_HUB_OFFLINE", "maybe"),
            ("HF_HOME", "~nosuchuser/hf"),
            ("HF_HUB_USER_AGENT_ORIGIN", "Bücher"),
            ("HF_OIDC_RESOURCE", "owner/model"),
        ],
    )
    def test_a_bad_value(self, hub: Hub, person: Person, variable: str, value: str) -> None:
        person.variables = {variable: value}
        done = person.pull()
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1), done.stderr
        assert error_line(done).startswith(f"r1: {variable}")
        assert not hub.requests

    def test_offline_nothing_is_judged_but_the_cache_is_looked_into(self, hub: Hub, person: Person) -> None:
        person.variables = {"HF_HUB_OFFLINE": "1", "ALL_PROXY": "socks://x", "SSL_CERT_FILE": "/gone.pem"}
        assert "HF_HUB_OFFLINE is set" in error_line(person.pull())
        assert (person.exits, hub.requests.total()) == ([6], 0)

    def test_a_model_that_is_here_needs_no_network(self, hub: Hub, person: Person) -> None:
        person.pull()
        hub.requests.clear()
        person.variables = {"HF_ENDPOINT": "x", "ALL_PROXY": "socks://x", "HF_TOKEN": "é", "HF_HUB_OFFLINE": "maybe"}
        done = person.pull()
        assert (done.returncode, done.stderr, hub.requests.total()) == (0, b"", 0)


class TestSilence:
    """Libraries print nothing in any environment; in real processes, because they print when they are imported."""

    NOISY: ClassVar = {
        "HF_HUB_ENABLE_HF_TRANSFER": "1",
        "HF_DEBUG": "1",
        "HF_HUB_VERBOSITY": "nonsense",
        "EAGER_IMPORT": "1",
        "HF_HUB_DISABLE_TELEMETRY": "0",
        "HF_HUB_DOWNLOAD_TIMEOUT": "",
        "HF_XET_HIGH_PERFORMANCE": "nonsense",
        "HF_XET_CLIENT_READ_TIMEOUT": "nonsense",
        "RUST_LOG": "trace",
        "CURL_CA_BUNDLE": "",
        "AI_AGENT": "nonsense",
    }

    @pytest.fixture
    def _broken_folders(self, person: Person) -> None:
        """The caches of huggingface_hub and hf_xet cannot be used, nor ~/.netrc."""
        (person.folder / "a-file").touch()
        (person.folder / ".netrc").write_text("machine\x00 nonsense password")
        folder = str(person.folder / "a-file" / "hf")
        person.variables = {**self.NOISY, "HF_HUB_CACHE": folder, "HF_XET_CACHE": folder}

    @pytest.mark.usefixtures("_broken_folders")
    def test_a_pull(self, served: Path, person: Person, undisturbed: Undisturbed) -> None:
        with Hub(served, xet=True) as person.hub:
            done = person.end(person.start(MODEL, "--json"))
        assert (done.returncode, done.stderr) == (0, b"")
        assert all(line.startswith(b'{"event": ') for line in done.stdout.splitlines())
        assert person.digest == undisturbed.digest
        assert person.hub.requests["GET api/agent-harnesses"] == 0

    @pytest.mark.parametrize("variable", ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"])
    def test_a_refusal(self, person: Person, variable: str) -> None:
        person.variables = {variable: "abc"}
        done = person.end(person.start())
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
        assert error_line(done) == f"r1: {variable} is 'abc'; set it to a number of whole seconds, up to 86,400"


def test_a_token_that_cannot_be_read(person: Person) -> None:
    (person.folder / "hf" / "token").mkdir(parents=True)
    line = error_line(person.pull())
    reason = os.strerror(21) if os.name == "posix" else "Permission denied"
    assert f"token: {reason}; correct HF_HOME" in line
    assert person.exits == [2]

"""Who may use a server, and what becomes of hostile requests: a server with a key, over real sockets."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Run, isolated_environ
from tests.e2e.serving import Server, serving

KEY = "sk-right"
PAGE = "http://localhost:3000"
QUESTION = {"messages": [{"role": "user", "content": "17+25?"}], "temperature": 0}
SECRET = "xyzzysecretxyzzy"
DEADLINE_S = 60


@pytest.fixture(scope="module")
def keyed(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("keyed")
    key_file = folder / "keys"
    key_file.write_text(f"# of this test\n{KEY}\n")
    key_file.chmod(0o600)
    options = ["--api-key-file", str(key_file), "--allow-origin", PAGE]
    with serving(isolated_environ(home, folder), folder, *options) as started:
        yield started


@pytest.fixture(scope="module")
def client(keyed: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=keyed.address, headers={"x-api-key": KEY}, timeout=DEADLINE_S) as made:
        yield made


def connect(server: Server) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2])))
    client.settimeout(DEADLINE_S)
    return client


def head(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {KEY}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def everything_from(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(1 << 16), b""))


class TestKey:
    """With the official clients, which raise an error of their own for a wrong key."""

    def test_openai(self, keyed: Server) -> None:
        openai = pytest.importorskip("openai")

        def client(key: str) -> Any:
            return openai.OpenAI(base_url=f"{keyed.address}/v1", api_key=key, max_retries=0)

        assert "42" in client(KEY).chat.completions.create(model="tiny", **QUESTION).choices[0].message.content
        with pytest.raises(openai.AuthenticationError):
            client("sk-wrong").models.list()

    def test_anthropic(self, keyed: Server) -> None:
        anthropic = pytest.importorskip("anthropic")

        def client(**key: str) -> Any:
            return anthropic.Anthropic(base_url=keyed.address, max_retries=0, **key)

        for key in ({"api_key": KEY}, {"auth_token": KEY}):
            client(**key).messages.create(model="tiny", max_tokens=100, messages=QUESTION["messages"])
        with pytest.raises(anthropic.AuthenticationError):
            client(api_key="sk-wrong").models.list()

    def test_ollama(self, keyed: Server) -> None:
        ollama = pytest.importorskip("ollama")
        with ollama.Client(host=keyed.address, headers={"Authorization": f"Bearer {KEY}"}) as right:
            assert right.list().models
        with ollama.Client(host=keyed.address) as wrong, pytest.raises(ollama.ResponseError, match="needs a key"):
            wrong.list()

    def test_health_is_open_and_metrics_are_not(self, keyed: Server) -> None:
        assert httpx.get(f"{keyed.address}/health").status_code == 200
        assert httpx.get(f"{keyed.address}/metrics").status_code == 401


class TestPages:
    def test_a_page_that_is_allowed_reads_a_stream(self, client: httpx.Client) -> None:
        preflight = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        wanted = {"Access-Control-Request-Headers": "x-api-key,content-type"}
        asked = httpx.options(f"{client.base_url}/v1/chat/completions", headers={**preflight, **wanted})
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, PAGE)
        body = {**QUESTION, "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body, headers={"Origin": PAGE}) as answer:
            assert answer.headers["access-control-allow-origin"] == PAGE
            assert answer.read().endswith(b"data: [DONE]\n\n")

    def test_another_page_is_refused_in_the_log_too(self, keyed: Server, client: httpx.Client) -> None:
        answer = client.post("/v1/chat/completions", json=QUESTION, headers={"Origin": "http://evil.example"})
        assert answer.status_code == 403
        deadline = time.monotonic() + DEADLINE_S
        while "--allow-origin http://evil.example" not in keyed.stderr():  # the line comes after the answer
            assert time.monotonic() < deadline
            time.sleep(0.02)


class TestBodies:
    def test_one_that_is_announced_as_too_large_is_not_waited_for(self, keyed: Server) -> None:
        with connect(keyed) as client:
            client.sendall(head("/v1/chat/completions", "Content-Length: 1000000000"))
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")

    def test_one_that_never_ends_is_not_read_on(self, keyed: Server) -> None:
        with connect(keyed) as client:
            client.sendall(head("/v1/messages", "Transfer-Encoding: chunked"))
            part = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
            for _ in range(17):
                client.sendall(part)
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")

    def test_without_a_key_none_is_read(self, keyed: Server) -> None:
        with connect(keyed) as client:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 401 ")

    @pytest.mark.parametrize("sent", [b"", b'{"messages": ['])
    def test_a_client_that_leaves_in_the_middle_leaves_nothing(
        self, keyed: Server, client: httpx.Client, sent: bytes
    ) -> None:
        with connect(keyed) as leaving:
            leaving.sendall(head("/v1/chat/completions", "Content-Length: 100") + sent)
        assert client.post("/v1/chat/completions", json=QUESTION).status_code == 200  # `serving` looks at the log

    @pytest.mark.parametrize("header", ["Transfer-Encoding: chunked", "Connection: close"])
    def test_the_rest_of_one_that_is_refused_does_not_lose_the_answer(self, keyed: Server, header: str) -> None:
        request = head("/v1/chat/completions", "Content-Length: 3000000", header).replace(KEY.encode(), b"wrong")
        with connect(keyed) as client:
            client.sendall(request)
            assert client.recv(12, socket.MSG_PEEK).startswith(b"HTTP/1.1 40")
            for _ in range(3):
                client.sendall(b" " * 1_000_000)  # to a closed socket: a reset, and on many systems the answer is lost
            assert b"\r\n\r\n{" in everything_from(client)

    def test_two_lengths_are_refused(self, keyed: Server) -> None:
        with connect(keyed) as client:
            client.sendall(head("/v1/chat/completions", "Content-Length: 5", "Transfer-Encoding: chunked"))
            client.sendall(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")
            answer = everything_from(client)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith(b"HTTP/1.1 400 ")


HOSTILE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 4}),
    ("/v1/chat/completions", {"messages": SECRET}),
    ("/v1/chat/completions", {"messages": [SECRET]}),
    ("/v1/chat/completions", {"messages": [{"role": SECRET, "content": "hi"}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": {"text": SECRET}}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": SECRET}]}]}),
    ("/v1/chat/completions", {**QUESTION, "stop": {"a": SECRET}}),
    ("/v1/chat/completions", {**QUESTION, "temperature": SECRET}),
    ("/v1/chat/completions", {**QUESTION, "regex": f"({SECRET}"}),
    ("/v1/chat/completions", {**QUESTION, "choices": [SECRET, SECRET]}),
    ("/v1/chat/completions", {**QUESTION, "response_format": {"type": SECRET}}),
    ("/v1/completions", {"prompt": {"a": SECRET}}),
    ("/v1/responses", {"input": {"a": SECRET}}),
    ("/v1/messages", {"max_tokens": 4, "system": 1, "messages": [{"role": "user", "content": SECRET}]}),
    ("/v1/messages", {"max_tokens": 4, "messages": [{"role": "user", "content": {"a": SECRET}}]}),
    ("/v1/messages/count_tokens", {"messages": SECRET}),
    ("/api/chat", {"messages": [{"role": "user", "content": {"a": SECRET}}]}),
    ("/api/generate", {"prompt": {"a": SECRET}}),
    ("/api/generate", {"prompt": SECRET, "options": {"num_predict": 4}, "format": SECRET}),
)


@pytest.mark.parametrize("streamed", [False, True])
def test_nothing_of_a_prompt_is_in_the_log(keyed: Server, client: httpx.Client, streamed: bool) -> None:
    """Nor of what is in the place of one."""
    for path, body in HOSTILE:
        client.post(path, json={"model": "tiny", **body, "stream": streamed})
        client.post(path, content=json.dumps(body)[:-1])
        assert SECRET not in keyed.stderr(), (path, body)


class TestAddresses:
    def test_no_server_for_others_without_a_key(self, r1: Run) -> None:
        ended = r1("serve", "-m", "tiny", "--port", "0", "--host", "0.0.0.0")
        assert ended.returncode == 2
        assert ended.stderr.decode().count("\n") == 1
        assert b"--no-auth" in ended.stderr

    def test_with_a_key_others_may_ask(self, home: Path, tmp_path: Path) -> None:
        environ = {**isolated_environ(home, tmp_path), "R1_API_KEY": KEY}
        with serving(environ, tmp_path, "--host", "0.0.0.0") as server:
            port = server.address.rpartition(":")[2]
            address = f"http://127.0.0.1:{port}/v1/models"
            assert httpx.get(address).status_code == 401
            assert httpx.get(address, headers={"x-api-key": KEY, "host": "r1.example"}).status_code == 200

"""`r1 serve` as a program: signals, its log, models that come and go, and more clients than it takes."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import R1, isolated_environ
from tests.fakes.headers import write_header

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
WAIT_S = 120
CHAT = "/v1/chat/completions"
SUM: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "17+25?"}], "temperature": 0}
ENDLESS = {**SUM, "model": "endless", "max_tokens": 30_000}


@pytest.fixture(scope="module")
def models(home: Path, endless_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An R1_HOME with `tiny`; `twin` and `fleeting`, which are copies; `endless`, which never ends its turn; and
    `llama-70b`, which is too large for this machine.
    """
    folder = tmp_path_factory.mktemp("models")
    for name in ("tiny", "twin", "fleeting"):
        shutil.copytree(home / "models" / "tiny", folder / "models" / name)
    for name in ("endless", "llama-70b"):
        (folder / "models" / name).mkdir()
    shutil.copy(endless_path, folder / "models" / "endless" / "BF16.gguf")
    write_header(folder / "models" / "llama-70b" / "Q8_0.gguf", "llama-70b", "Q8_0")
    return folder


class Program:
    """A server with `--json`, and clients for it."""

    def __init__(self, environ: Mapping[str, str], *options: str) -> None:
        command = [*R1, "serve", "--port", "0", "--json", *options]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=dict(environ), text=True, **pipes)  # type: ignore[call-overload]
        self.listening = json.loads(self.process.stdout.readline())
        self.client = httpx.Client(base_url=self.listening["address"], timeout=WAIT_S, trust_env=False)

    def ask(self, body: Mapping[str, Any]) -> httpx.Response:
        return self.client.post(CHAT, json=body)

    def health(self) -> dict[str, Any]:
        told: dict[str, Any] = self.client.get("/health").json()
        return told

    def end(self) -> tuple[int, list[dict[str, Any]], str]:
        """Waits for it; its status, the requests in its log, and stderr."""
        out, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err

    def close(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.communicate()


class Streamed:
    """A reply that is read in a thread."""

    def __init__(self, program: Program, body: Mapping[str, Any]) -> None:
        self.lines: list[str] = []
        self.error: httpx.HTTPError | None = None
        self.has_text = threading.Event()
        self._program = program
        self._body = {**body, "stream": True}
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        assert self.has_text.wait(WAIT_S)

    def _read(self) -> None:
        try:
            with self._program.client.stream("POST", CHAT, json=self._body) as answer:
                for line in answer.iter_lines():
                    self.lines.append(line)
                    if "reasoning_content" in line:
                        self.has_text.set()
        except httpx.HTTPError as exc:
            self.error = exc

    def end(self) -> str | None:
        """Waits for the reason that the reply ended for; None: the stream broke off."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        if self.error is not None:
            return None
        assert [line for line in self.lines if line][-1] == "data: [DONE]"
        chunks = [json.loads(line[6:]) for line in self.lines if line.startswith("data: {")]
        reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
        return next(reason for reason in reasons if reason)


@contextmanager
def serving(models: Path, folder: Path, *options: str) -> Iterator[Program]:
    program = Program(isolated_environ(models, folder), *options)
    try:
        yield program
    finally:
        program.close()


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether it comes true."""
    deadline = time.monotonic() + WAIT_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so()


@POSIX
class TestSignals:
    def test_the_first_lets_replies_finish_and_refuses_what_waits(self, models: Path, tmp_path: Path) -> None:
        with serving(models, tmp_path, "--parallel", "1", "--grace", "600") as program, ThreadPoolExecutor() as pool:
            assert program.listening["event"] == "listening"
            streamed = Streamed(program, {**ENDLESS, "max_tokens": 400})
            waiting = pool.submit(program.ask, SUM)
            assert eventually(lambda: program.health()["active"] == 2)
            program.process.send_signal(signal.SIGTERM)
            refused = waiting.result(WAIT_S)
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
            assert refused.json()["error"]["message"] == "the server is ending; try again in 5 s"
            assert streamed.end() == "length"
            status, log, err = program.end()
        assert (status, err) == (143, "")
        ends = {entry["status"]: entry for entry in log if entry["path"] == CHAT}
        assert ends[200]["finish_reasons"] == ["length"]
        assert ends[200]["thinking_tokens"] + ends[200]["answer_tokens"] == 400
        assert ends[503]["error"] == "the server is ending; try again in 5 s"

    def test_the_second_ends_them(self, models: Path, tmp_path: Path) -> None:
        with serving(models, tmp_path, "--grace", "600") as program:
            streamed = Streamed(program, ENDLESS)
            program.process.send_signal(signal.SIGINT)
            before = len(streamed.lines)
            assert eventually(lambda: len(streamed.lines) > before + 20), "it does not go on"
            assert program.process.poll() is None
            program.process.send_signal(signal.SIGINT)
            status, _, err = program.end()
            assert streamed.end() in {"length", None}
        assert (status, err) == (130, "")

    def test_after_the_grace_they_get_an_end(self, models: Path, tmp_path: Path) -> None:
        with serving(models, tmp_path, "--grace", "0", "-q") as program:
            streamed = Streamed(program, ENDLESS)
            program.process.send_signal(signal.SIGHUP)
            status, log, err = program.end()
            assert streamed.end() == "length"
        assert (status, err) == (129, "")
        assert [entry["finish_reasons"] for entry in log] == [["interrupted"]]


@POSIX
class TestKeptCache:
    """What a server has read is on disk when the model is freed, and is read back."""

    def asked(self, models: Path, folder: Path, *options: str) -> dict[str, Any]:
        """The answer of a server of its own to a long prompt."""
        program = Program({**isolated_environ(models, folder), "R1_CACHE_SIZE": "1GB"}, *options)
        try:
            message = {"role": "user", "content": "one two three " * 90}
            answer: dict[str, Any] = program.ask({**ENDLESS, "max_tokens": 5, "messages": [message]}).json()
            program.process.send_signal(signal.SIGTERM)
            status, _, err = program.end()
        finally:
            program.close()
        assert (status, err) == (143, "")
        return answer

    def test_a_restart_does_not_prefill_again(self, models: Path, tmp_path: Path) -> None:
        first, again = (self.asked(models, tmp_path, "--keep-cache") for _ in range(2))
        assert {path.stat().st_mode & 0o777 for path in (models / "kv-cache").glob("*.kv")} == {0o600}
        assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert cached > again["usage"]["prompt_tokens"] - 300
        assert first["choices"][0]["message"] == again["choices"][0]["message"]

    def test_without_the_option_nothing_is_kept(self, models: Path, tmp_path: Path) -> None:
        shutil.rmtree(models / "kv-cache", ignore_errors=True)
        self.asked(models, tmp_path)
        assert not (models / "kv-cache").exists()


@pytest.fixture(scope="module")
def program(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Two replies at once, four that wait; nothing unforeseen happens to it."""
    folder = tmp_path_factory.mktemp("program")
    options = ["--parallel", "2", "--queue", "4", "--keep-alive", "300ms", "--grace", "0"]
    with serving(models, folder, *options) as started:
        yield started
        assert eventually(lambda: started.health()["active"] == 0), "a place was not given back"
        started.process.terminate()
        _, log, err = started.end()
    assert err == ""
    assert [entry["error"] for entry in log if "unexpected" in (entry["error"] or "")] == []


class TestModels:
    def test_one_after_the_other_and_freed_when_nobody_uses_it(self, program: Program) -> None:
        for name in ("tiny", "twin", "tiny"):
            answer = program.ask({**SUM, "model": name}).json()
            assert answer["model"] == f"{name}:Q8_0"
            assert "42" in answer["choices"][0]["message"]["content"]
        assert eventually(lambda: program.health()["model"] is None)

    def test_requests_for_several_at_once(self, program: Program) -> None:
        names = ["tiny", "twin", "tiny", "twin", "tiny"]
        with ThreadPoolExecutor(len(names)) as pool:
            answers = list(pool.map(lambda name: program.ask({**SUM, "model": name}), names))
        assert [answer.json()["model"] for answer in answers] == [f"{name}:Q8_0" for name in names]
        assert ["42" in answer.text for answer in answers] == [True] * 5

    def test_votes_beside_questions_to_another_model(self, program: Program) -> None:
        bodies = [{**SUM, "votes": 6, "temperature": 0.6}, {**SUM, "model": "twin"}, SUM]
        with ThreadPoolExecutor(len(bodies)) as pool:
            answers = list(pool.map(program.ask, bodies))
        assert ["42" in answer.text for answer in answers] == [True] * 3

    def test_a_file_that_vanishes(self, program: Program, models: Path) -> None:
        """While it is served, and before it is loaded."""
        body = {**SUM, "model": "fleeting"}
        assert program.ask(body).status_code == 200
        (models / "models" / "fleeting" / "Q8_0.gguf").unlink()
        for _ in range(2):
            answer = program.ask(body)
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "model_not_found"
            assert "twin:Q8_0" in answer.json()["error"]["message"], "what there is"
            assert eventually(lambda: program.health()["model"] is None)
        assert program.ask(SUM).status_code == 200

    def test_one_that_is_too_large(self, program: Program) -> None:
        """It would need 75 GB."""
        answer = program.ask({**SUM, "model": "llama-70b"})
        assert answer.status_code == 503
        error = answer.json()["error"]
        assert error["code"] == "not_enough_memory"
        assert "needs 75." in error["message"]
        assert " would fit" in error["message"]
        assert int(answer.headers["retry-after"]) > 0
        assert program.ask(SUM).status_code == 200

    def test_a_damaged_one(self, program: Program, models: Path) -> None:
        (models / "models" / "damaged").mkdir()
        (models / "models" / "damaged" / "Q8_0.gguf").write_bytes(b"no GGUF at all")
        answer = program.ask({**SUM, "model": "damaged"})
        assert answer.status_code == 500
        assert "damaged:Q8_0" in answer.json()["error"]["message"]
        assert str(models) not in answer.text, "a path is no client's business"
        listed = [model["id"] for model in program.client.get("/v1/models").json()["data"]]
        assert {"damaged:Q8_0", "tiny:Q8_0"} <= set(listed)

    def test_a_prompt_that_does_not_fit_the_context(self, program: Program) -> None:
        answer = program.ask({**SUM, "messages": [{"role": "user", "content": "17 " * 5_000}]})
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
        assert "2,048" in error["message"]


class TestLoad:
    def test_more_than_it_takes(self, program: Program) -> None:
        """Some are turned away, and the rest is right."""
        numbers = range(30)
        with ThreadPoolExecutor(len(numbers)) as pool:
            bodies = [{**SUM, "messages": [{"role": "user", "content": f"{10 + n}+5?"}]} for n in numbers]
            answers = list(pool.map(program.ask, bodies))
        right = [f"boxed{{{15 + n}}}" in answer.text for n, answer in zip(numbers, answers, strict=True)]
        assert [answer.status_code for answer in answers] == [200 if each else 503 for each in right]
        assert sum(right) >= 6
        for answer in answers:
            if answer.status_code == 503:
                assert answer.json()["error"]["code"] == "overloaded"
                assert int(answer.headers["retry-after"]) > 0
        assert eventually(lambda: program.health()["active"] == 0)

    def test_a_client_that_goes_away_frees_its_place(self, program: Program) -> None:
        """In the middle of its reply, and in the line."""
        with ExitStack() as running:
            for place in range(6):
                running.enter_context(leaving(program, {**ENDLESS, "stream": place % 2 == 0}))
                assert eventually(lambda place=place: program.health()["active"] == place + 1)  # type: ignore[misc]
            assert program.ask(SUM).status_code == 503
        assert eventually(lambda: program.health()["active"] == 0)
        assert "42" in program.ask(SUM).text


@contextmanager
def leaving(program: Program, body: Mapping[str, Any]) -> Iterator[None]:
    """Asks, and goes away at the end without having read the answer."""
    content = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(program.listening["address"].rpartition(":")[2]))) as client:
        client.sendall(head.encode() + content)
        yield

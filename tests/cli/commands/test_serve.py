"""`r1 serve` before it serves: its options, and what it refuses. What it does then: tests/e2e/test_serve_*.py."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from r1.commands.serve import ServeOptions, seconds_of
from r1_quantize.errors import UsageError
from tests.conftest import Run


class TestSeconds:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("0", 0.0),
            ("90", 90.0),
            ("90s", 90.0),
            ("250ms", 0.25),
            ("5m", 300.0),
            ("1h", 3600.0),
            ("2d", 172_800.0),
            (" 5M ", 300.0),
            ("off", None),
            ("never", None),
            ("-1", None),
        ],
    )
    def test_a_number_and_its_unit(self, text: str, seconds: float | None) -> None:
        assert seconds_of(text, "--keep-alive") == seconds

    @pytest.mark.parametrize(
        "text", ["", " ", "soon", "5 m", "-5m", "1.5h", "5x", "5mm", "1h30m", "1e3", "inf", "nan", "9" * 10, "٣s", "²"]
    )
    def test_what_is_no_time(self, text: str) -> None:
        with pytest.raises(UsageError, match=r"^--keep-alive: .+ is no time; .+ 5m"):
            seconds_of(text, "--keep-alive")

    def test_long_nonsense_is_cut(self) -> None:
        with pytest.raises(UsageError) as caught:
            seconds_of("x" * 10_000, "--keep-alive")
        assert len(str(caught.value)) < 200


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


class TestRefusals:
    """One line, and an exit code."""

    @pytest.mark.parametrize(
        ("options", "status", "word"),
        [
            ("--port 65536", 2, "--port"),
            ("--port x", 2, "--port"),
            ("--queue -1", 2, "--queue"),
            ("--queue 10001", 2, "--queue"),
            ("--grace -1", 2, "--grace"),
            ("--parallel 0", 2, "--parallel"),
            ("--keep-alive soon", 2, "--keep-alive"),
            ("--host no-such-host.invalid", 2, "--host"),
            ("--host 0.0.0.0", 2, "--no-auth"),
            ("-m no-such-model", 4, "no-such-model"),
            ("no-such-model", 4, "no-such-model"),
            ("-m /no/such.gguf", 4, "/no/such.gguf"),
            ("tiny -m twin", 2, "twin"),
            ("-m tiny --ctx 1000000", 2, "--ctx"),
        ],
    )
    def test_of_options(self, r1: Run, options: str, status: int, word: str) -> None:
        done = r1("serve", "--port", "0", *options.split())
        assert (done.returncode, done.stdout) == (status, b"")
        [line] = done.stderr.decode().splitlines()
        assert line.startswith("r1: ")
        assert word in line

    def test_of_a_port_in_use(self, r1: Run, taken: int) -> None:
        done = r1("serve", "-m", "tiny", "--port", str(taken))
        assert done.returncode == 2
        [line] = done.stderr.decode().splitlines()
        assert f"127.0.0.1:{taken}" in line
        assert "--port" in line

    def test_of_a_damaged_model(self, r1: Run, tmp_path: Path) -> None:
        (tmp_path / "bad.gguf").write_bytes(b"no GGUF at all")
        done = r1("serve", "--port", "0", "-m", str(tmp_path / "bad.gguf"))
        assert done.returncode == 7
        assert done.stderr.decode().count("\n") == 1

    def test_with_json_it_is_an_event_too(self, r1: Run, taken: int) -> None:
        done = r1("serve", "--json", "--port", str(taken))
        told = json.loads(done.stdout)
        assert (told["event"], told["exit_code"]) == ("failed", 2)
        assert done.stderr.decode() == f"r1: {told['error']}\n"


def test_the_defaults_of_the_command_line_are_those_of_the_options(r1: Run) -> None:
    """They are written in the help, too."""
    options, text = ServeOptions(), " ".join(r1("serve", "--help", COLUMNS="200").stdout.decode().split())
    assert options.keep_alive_s == seconds_of("5m", "")
    for written in ("127.0.0.1", f"(default: {options.port})", f"(default: {options.queue})", "(default: 5m)"):
        assert written in text
    assert f"(default: {options.grace_s:.0f})" in text

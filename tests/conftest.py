"""Fixtures for all tests: the built-in model, quantized once, and `r1` as a process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from r1.engine.context import Context, ContextParams
from r1.engine.model import Model
from r1.machine.cores import Threads
from r1_quantize import catalog
from r1_quantize.builtin import ensure_tiny
from r1_quantize.store.store import Store
from tests.fakes.chats import write_three_chats
from tests.fakes.models import make_endless, make_large, make_pensive

R1 = (sys.executable, "-m", "r1")

# The same examples in every run; `pytest --hypothesis-profile long` looks for new ones, for as long as it takes.
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("default", derandomize=True, deadline=None, database=None, suppress_health_check=_SLOW)
settings.register_profile(
    "long", max_examples=20_000, deadline=None, database=None, print_blob=True, suppress_health_check=_SLOW
)
settings.load_profile("default")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, because tests of terminals, kills and retries mostly wait."""
    return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


_FOREIGN = ("R1_", "XDG_", "HF_", "PYTHONDONTWRITEBYTECODE", "SSL_", "REQUESTS_CA_", "CURL_CA_")
_FOREIGN_ENDS = ("_PROXY", "_proxy")
"""Variables of the developer that tests leave out. Without bytecode, each of many processes would compile r1 again."""


@pytest.fixture(scope="session", autouse=True)
def _restore_sigint() -> None:
    """A shell that starts the tests in the background ignores SIGINT, and the programs they start inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An R1_HOME that holds only tiny:Q8_0. Tests must not write to it; `own_home` is for those that write chats."""
    root = tmp_path_factory.mktemp("home")
    ensure_tiny(Store(root, catalog.load()))
    yield root
    assert not (root / "history.db").exists(), "a test wrote a chat into the home that all tests share"


@pytest.fixture(scope="session")
def tiny_path(home: Path) -> Path:
    """The built-in model as a GGUF."""
    return home / "models" / "tiny" / "Q8_0.gguf"


@pytest.fixture(scope="session")
def endless_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that never ends its turn."""
    return make_endless(tmp_path_factory.mktemp("endless"))


@pytest.fixture(scope="session")
def large_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A larger model with the vocabulary of the built-in one, which can draft for it."""
    return make_large(tmp_path_factory.mktemp("large"))


@pytest.fixture(scope="session")
def pensive_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that never ends its thinking."""
    return make_pensive(tmp_path_factory.mktemp("pensive"))


@pytest.fixture(scope="session")
def model(tiny_path: Path) -> Iterator[Model]:
    """The built-in model, loaded once."""
    with Model(tiny_path) as loaded:
        yield loaded


@pytest.fixture
def context(model: Model) -> Iterator[Context]:
    """An empty KV cache of 1,024 tokens over the built-in model; one thread gives the same bits everywhere."""
    with Context(model, ContextParams(1024, threads=Threads.of(1))) as made:
        yield made


def own_environ() -> dict[str, str]:
    """The environment without the developer's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {name: value for name, value in kept.items() if not name.endswith(_FOREIGN_ENDS)}


def isolated_environ(home: Path, folder: Path) -> dict[str, str]:
    """An environment with R1_HOME at `home`, other files in `folder`, and no configuration of the developer.

    No KV cache is kept, because tests share the home.
    """
    folders = {"R1_HOME": str(home), "XDG_CONFIG_HOME": str(folder / "config"), "HOME": str(folder)}
    return {**own_environ(), **folders, "R1_THREADS": "1", "R1_CACHE_SIZE": "off", "TERM": "xterm-256color"}


@pytest.fixture
def environ(home: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a program that finds the built-in model and nothing else."""
    return isolated_environ(home, tmp_path)


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    """An R1_HOME with the built-in model, for a test that may write chats."""
    models = tmp_path / "own-home" / "models" / "tiny"
    models.mkdir(parents=True)
    for file in (home / "models" / "tiny").iterdir():
        shutil.copy2(file, models)
    return models.parent.parent


Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def r1(environ: dict[str, str]) -> Run:
    """Runs `r1 ARGUMENTS` on pipes; `stdin` is what is piped in (None: /dev/null)."""

    def run(*arguments: str | Path, stdin: bytes | None = None, **variables: str) -> subprocess.CompletedProcess[bytes]:
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run(
            [*R1, *map(str, arguments)],
            env={**environ, **variables},
            capture_output=True,
            timeout=300,
            check=False,
            **given,  # type: ignore[call-overload]
        )

    return run


def printed(done: subprocess.CompletedProcess[bytes]) -> str:
    """The output of a command that succeeded without a word on stderr."""
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


@pytest.fixture
def chats_home(tmp_path: Path) -> Path:
    """The R1_HOME of the fixtures `chats` and `history`; it does not exist yet."""
    return tmp_path / "own"


@pytest.fixture
def chats(chats_home: Path) -> Path:
    """A history with three chats."""
    return write_three_chats(chats_home / "history.db")


@pytest.fixture
def history(r1: Run, chats_home: Path) -> Run:
    """Runs `r1 history ARGUMENTS` there, as `r1` runs commands in the module of the test."""
    return lambda *arguments, **options: r1("history", *arguments, R1_HOME=str(chats_home), **options)


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(environ: dict[str, str]) -> Iterator[Start]:
    """Starts `r1 ARGUMENTS` with pipes for all three streams; what still runs when the test is over is killed."""
    with ExitStack() as started:

        def begin(*arguments: str | Path, **streams: object) -> subprocess.Popen[bytes]:
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            process = subprocess.Popen([*R1, *map(str, arguments)], env=environ, **{**pipes, **streams})  # type: ignore[call-overload]
            started.callback(_end, process)
            return process  # type: ignore[no-any-return]

        yield begin


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()

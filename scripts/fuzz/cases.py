"""Makes up a case: arguments, environment, files, streams and limits."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.fuzz.files import Templates, damage

_SILENT = {"list", "show", "rm", "verify", "doctor", "history", "pull", "quantize", "bench"}
"""Commands in which no model speaks."""

_WORDS = [
    "", " ", "-", "--", "-1", "0", "1", "7", "1e999", "nan", "inf", "9" * 30, "é", "\udcff", "\x1b[31m", "a\nb",
    "a" * 5000, "..", "/", "~", "~nosuch/x", "/dev/null", "/dev/full", "/dev/stdin", "/proc/self/mem",
    "/etc/passwd/x", "checkpoint", "checkpoint/config.json", "model.gguf", "home/models/tiny/Q8_0.gguf", "notes.txt",
    "latin1.txt", "empty", "loop", "gone", "new.gguf", "new.md", "new.json", "tiny", "tiny:Q8_0", "tiny:q4_k_m",
    "tiny:", ":", "tiny:Q99", "qwen-7b", "qwen-7b:Q4_K_M", "hf:", "hf:a/b", "hf:a/b:Q4_K_M", "hf:a/b/c.gguf",
    "hf:../..", "deepseek-r1:7b", "Q8_0", "Q4_K_M", "IQ1_S", "COPY", "cpu", "CPU", "gpu", "auto", "CUDA0", "f16",
    "q8_0", "show", "hide", "only", "What is 17 + 25?", "2 + 2", ".*=Q8_0", "(=Q8_0", "127.0.0.1:9", "1,2,3", "0,",
    "emacs", "true",
]  # fmt: skip
_WORKING = [
    "run -m tiny 2+2", "run -m tiny --json 2+2", "run --jsonl", "run -f notes.txt Why?", "-m tiny 2+2", "", "chat tiny",
    "chat --continue", "list", "list --json", "show tiny", "show model.gguf --json", "verify tiny", "verify model.gguf",
    "verify tiny --json", "doctor", "doctor --json", "history", "history --json", "history show 1",
    "history show 1 --json", "history search hello", "history export 1 new.md", "history delete 1 -y",
    "quantize checkpoint --name mine -t Q8_0", "quantize model.gguf --allow-requantize -t Q4_K_M -o new.gguf",
    "quantize checkpoint --list-types", "quantize tiny -t Q4_K_M --json", "pull tiny", "pull tiny:Q4_K_M --json",
    "pull qwen-7b --dry-run", "pull hf:a/b", "pull --update", "rm tiny -y", "rm tiny -y --json",
    "bench -m tiny -p 8 -n 2 -r 1 -d 0", "bench -m tiny -p 8 -n 2 -r 1 -d 0 --json", "--show-completion zsh",
]  # fmt: skip
_GOOD_WORDS = [
    "tiny", "tiny:Q8_0", "1", "checkpoint", "model.gguf", "notes.txt", "new.gguf", "new.md", "cpu", "Q4_K_M",
]  # fmt: skip
_PROMPTS = [
    b"", b" \n", b"What is 17 + 25?", b"\xff\xfe", b"\xef\xbb\xbfhello", b"a\x00b",
    b"x" * 300_000, b"word " * 60_000, b'"What is 1+1?"\n{"prompt": "2+2", "id": 7}\n',
    b'{"prompt": 1}\nnull\n[]\n{"prompt": "x", "id": 1e999}\n', b"[" * 100_000, "é漢字🎉\n".encode() * 50,
    b"/help\n/quit\n", b"/stats\n/set ctx 1\n/load 1\nhi\n", b"<think></think>", b"y\n" * 200_000,
]  # fmt: skip
_VARIABLES = [
    "HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR", "PATH", "LANG", "LC_ALL", "TERM", "COLUMNS", "LINES", "TZ",
    "PYTHONIOENCODING", "PYTHONUTF8", "NO_COLOR", "FORCE_COLOR", "R1_DEBUG", "R1_MODEL", "R1_THINKING", "R1_TEMP",
    "R1_TOP_P", "R1_SEED", "R1_MAX_TOKENS", "R1_SYSTEM", "R1_CTX", "R1_KV_TYPE", "R1_DEVICE", "R1_GPU_LAYERS",
    "R1_RPC", "R1_FORCE", "R1_KEYS", "R1_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT",
    "HF_DEBUG", "HF_HUB_OFFLINE", "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT", "HF_HUB_VERBOSITY",
    "HF_HUB_ENABLE_HF_TRANSFER", "HF_HUB_DISABLE_XET", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "SSLKEYLOGFILE", "NETRC",
    "EDITOR", "OMP_NUM_THREADS", "GGML_BACKEND_PATH", "CUDA_VISIBLE_DEVICES", "_TYPER_COMPLETE_ARGS", "_R1_COMPLETE",
]  # fmt: skip
_VALUES = [
    "", " ", "0", "1", "-1", "abc", "nan", "1e999", "9" * 30, "/", "/nowhere/at/all", "/dev/null", "/dev/full",
    "relative", "~nosuch", "é", "\udcff", "a\nb", "C", "POSIX", "xx_YY.ISO8859-1", "dumb", "xterm-256color",
    "socks5://127.0.0.1:9", "socks://127.0.0.1:9", "http://127.0.0.1:9", "http://", "127.0.0.1:9", "https://[::1",
    "ftp://x", "*", "127.0.0.1", "tiny", "show", "only", "hide", "gpu", "cpu", "q8_0", "vi", "utf-16",
    "complete_bash", "source_zsh", "complete_zsh",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Streams:
    """The state of each standard stream."""

    stdin: str = "pipe"
    stdout: str = "pipe"
    stderr: str = "pipe"

    @property
    def reads_stderr(self) -> bool:
        return self.stderr in {"pipe", "socket"}

    def __str__(self) -> str:
        return f"stdin {self.stdin}, stdout {self.stdout}, stderr {self.stderr}"


@dataclass(frozen=True, slots=True)
class Case:
    """One call of r1. `variables` are those that were made up, `environ` is all of it."""

    folder: Path
    arguments: list[str]
    variables: dict[str, str]
    environ: dict[str, str]
    stdin: bytes
    streams: Streams
    mutations: list[str]
    limits: dict[str, int] = field(default_factory=dict)
    folder_name: str = "its folder"

    @property
    def shows_thinking(self) -> bool:
        """Whether stderr may hold text of the model, of a terminal, or a traceback that was asked for."""
        if self.streams.stderr == "terminal" or "R1_DEBUG" in self.variables:
            return True
        if _SILENT.intersection(self.arguments[:1]):
            return False
        asked = "show" in self.arguments or "show" in self.variables.values()
        return asked or bool(self.mutations) or self.streams.stdin == "terminal"  # a chat, whose notices are bare

    def enter_folder(self) -> None:
        """In the child: enters the working folder, which may be gone."""
        os.chdir(self.folder)
        if self.folder_name == "a deleted folder":
            gone = self.folder / "gone-folder"
            gone.mkdir()
            os.chdir(gone)
            gone.rmdir()

    def remove(self) -> None:
        for folder, _, _ in os.walk(self.folder):
            with suppress(OSError):
                Path(folder).chmod(0o700)
        shutil.rmtree(self.folder, ignore_errors=True)


def make_case(rng: random.Random, templates: Templates, folder: Path) -> Case:
    """A case: each of its parts is hostile or as it should be, so that most cases get past the first check."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    templates.copy(folder)
    mutations = [damage(rng, folder) for _ in range(rng.choice([0, 0, 1, 1, 2]))]
    variables = {rng.choice(_VARIABLES): rng.choice(_VALUES) for _ in range(rng.choice([0, 0, 1, 1, 3]))}
    return Case(
        folder=folder,
        arguments=[*_arguments(rng)],
        variables=variables,
        environ={**_environ(folder), **variables, **_offline(rng)},
        stdin=rng.choice(_PROMPTS),
        streams=_streams(rng),
        mutations=mutations,
        limits=_limits(rng),
        folder_name=rng.choice(["its folder"] * 19 + ["a deleted folder"]),
    )


def _environ(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "R1_HOME": str(folder / "home"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "HF_HOME": str(folder / "hf"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "TERM": "xterm-256color",
        "R1_THREADS": "1",
        "R1_MAX_TOKENS": "12",
        "NO_PROXY": "",
    }


def _offline(rng: random.Random) -> dict[str, str]:
    """Mostly offline: each attempt to connect, to a port where nothing listens, takes seconds."""
    return {} if rng.random() < 0.02 else {"HF_HUB_OFFLINE": "1"}


def _streams(rng: random.Random) -> Streams:
    if rng.random() < 0.6:
        return Streams()
    # Python itself does not start with a folder as a stream.
    inputs = ["pipe", "closed", "null", "write-only", "socket", "terminal"]
    outputs = ["pipe", "pipe", "closed", "null", "full", "broken pipe", "socket", "terminal"]
    return Streams(rng.choice(inputs), rng.choice(outputs), rng.choice(outputs))


def _limits(rng: random.Random) -> dict[str, int]:
    if rng.random() < 0.85:
        return {}
    return rng.choice(
        [
            {"AS": rng.choice([400, 800, 1500, 4000]) * 2**20},
            {"FSIZE": rng.choice([0, 4096, 10**6])},
            {"NOFILE": rng.choice([5, 8, 16, 40])},
        ]
    )


def _arguments(rng: random.Random) -> Iterator[str]:
    """A line that works where nothing else is hostile, or a command with options it has, and made-up values."""
    if rng.random() < 0.5:
        yield from rng.choice(_WORKING).split()
        return
    path, command = rng.choice(_commands())
    yield from path
    options = [param for param in command.params if param.param_type_name == "option"]
    for option in rng.sample(options, min(rng.choice([0, 0, 1, 2, 4]), len(options))):
        yield rng.choice(option.opts)
        if not option.is_flag:
            yield _value(rng, option)
    if path == ["bench"]:
        yield from ("-p", "8", "-n", "2", "-r", "1", "-d", "0")
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        yield rng.choice(_WORDS if rng.random() < 0.6 else _GOOD_WORDS)


def _value(rng: random.Random, option: Any) -> str:
    """Often a value that the option allows, so that the command runs."""
    if rng.random() < 0.4:
        return rng.choice(_WORDS)
    choices = getattr(option.type, "choices", None)
    if choices:
        return str(rng.choice(choices))
    kind = option.type.name
    return rng.choice({"integer": ["1", "2", "7", "64", "300"], "float": ["0", "0.5", "1"]}.get(kind, _GOOD_WORDS))


def _commands() -> list[tuple[list[str], Any]]:
    """Every command with its name, from the app itself; the bare `r1` is one of them."""
    import typer

    from r1.app import app

    root: Any = typer.main.get_command(app)
    history = root.commands["history"]
    found: list[tuple[list[str], Any]] = [([], root), ([], root.commands["chat"]), ([], root.commands["run"])]
    found += [([name], command) for name, command in root.commands.items()]
    found += [(["history", name], command) for name, command in history.commands.items()]
    found += [(["run"], root.commands["run"])] * 3 + [(["quantize"], root.commands["quantize"])] * 2
    return found

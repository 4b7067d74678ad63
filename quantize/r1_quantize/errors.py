"""The one error tree, and the exit codes it stands for.

    R1Error                     1   anything unforeseen
    ├── Busy                    1   another process is at it
    ├── UsageError              2   a flag, a value or an input that cannot be used
    ├── ModelNotFound           4   no such model here; the message names the `r1 pull` that gets it
    ├── NotEnoughSpace           5   memory or disk: how much is needed, how much is free
    ├── NetworkError            6   the network or the hub; running it again resumes
    └── BadFile                 7   a file that is damaged or of a kind we do not read
        ├── BadCheckpoint           config.json, tokenizer.json or safetensors
        ├── BadGGUF                 a .gguf
        └── BadValue                a weight that no file can hold

Every message is one line that says what is wrong and what to do about it; `r1.app` is the only place
that prints one. A reply that was cut short (3), Ctrl-C (130) and a closed stdout (141) are outcomes
rather than errors: commands return their `ExitStatus`.

Knows: exit codes. Does not know: terminals, files, or who raises what.
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import ClassVar


class ExitStatus(IntEnum):
    """What a script learns from `$?`."""

    OK = 0
    UNFORESEEN = 1
    USAGE = 2
    INCOMPLETE = 3
    NO_MODEL = 4
    NO_SPACE = 5
    NETWORK = 6
    BAD_FILE = 7
    INTERRUPTED = 130
    CLOSED_PIPE = 141


class R1Error(Exception):
    """Anything a user, a file or the machine can cause; `str()` of it is the line that is printed."""

    exit_status: ClassVar[ExitStatus] = ExitStatus.UNFORESEEN


class Busy(R1Error):
    """Another process does the same, or has what is wanted."""


class UsageError(R1Error):
    """A flag, a value or an input that cannot be used as it is."""

    exit_status = ExitStatus.USAGE


class ModelNotFound(R1Error):
    """The model that was named is not on this machine."""

    exit_status = ExitStatus.NO_MODEL


class NotEnoughSpace(R1Error):
    """Memory or disk does not suffice."""

    exit_status = ExitStatus.NO_SPACE


class NetworkError(R1Error):
    """The network or the hub failed."""

    exit_status = ExitStatus.NETWORK


class BadFile(R1Error):
    """A file is damaged, or of a kind that is not supported."""

    exit_status = ExitStatus.BAD_FILE


class BadCheckpoint(BadFile):
    """A checkpoint folder cannot be converted."""


class BadValue(BadFile):
    """A weight is NaN, infinite or too large; no later run on this source could do better."""


class BadGGUF(BadFile):
    """A GGUF cannot be read or run."""


def debugging() -> bool:
    """Whether R1_DEBUG is set: show tracebacks and llama.cpp's log."""
    return os.environ.get("R1_DEBUG", "0") not in {"", "0"}

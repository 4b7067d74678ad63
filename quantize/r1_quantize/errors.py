"""All errors a user can cause or meet, and the exit code of each.

    R1Error                     1   anything else
    ├── Busy                    1   another process holds the lock
    ├── UsageError              2   a flag, a value or an input that cannot be used
    ├── ModelNotFound           4   the model is not on this machine; the message names the `r1 pull` that gets it
    ├── ChatNotFound            4   the history has no such chat
    ├── NotEnoughSpace          5   memory or disk: how much is needed, how much is free
    ├── NetworkError            6   the network or the hub failed; running it again resumes
    └── BadFile                 7   a damaged or unsupported file
        ├── BadCheckpoint           config.json, tokenizer.json or safetensors
        ├── BadGGUF                 a .gguf
        └── BadValue                a weight that cannot be converted

Every message is one line that says what is wrong and what to do; `r1.exit` prints it, except where the work goes on:
in the chat, with `--jsonl`, and with `pull --update`. A reply that was cut short
(3), SIGHUP (129), Ctrl-C (130), a closed stdout (141) and SIGTERM (143) are outcomes, not errors: commands return their
`ExitStatus`.
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from typing import ClassVar

DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""The errno values of a full disk, quotas and file size limits included."""

UNUSABLE_PATH = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR),
    *(errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
}
"""The errno values of a path that the user must change, or its permissions."""


class ExitStatus(IntEnum):
    """The exit codes."""

    OK = 0
    UNFORESEEN = 1
    USAGE = 2
    INCOMPLETE = 3
    NOT_FOUND = 4
    NO_SPACE = 5
    NETWORK = 6
    BAD_FILE = 7
    HUNG_UP = 129
    INTERRUPTED = 130
    CLOSED_PIPE = 141
    TERMINATED = 143


class R1Error(Exception):
    """Caused by a user, a file or the machine; `str()` gives the line to print."""

    exit_status: ClassVar[ExitStatus] = ExitStatus.UNFORESEEN


class Busy(R1Error):
    """Another process holds the lock."""


class UsageError(R1Error):
    """A flag, a value or an input cannot be used."""

    exit_status = ExitStatus.USAGE


class ModelNotFound(R1Error):
    """The model is not on this machine."""

    exit_status = ExitStatus.NOT_FOUND


class ChatNotFound(R1Error):
    """The history has no such chat."""

    exit_status = ExitStatus.NOT_FOUND


class NotEnoughSpace(R1Error):
    """There is not enough memory or disk space."""

    exit_status = ExitStatus.NO_SPACE


class NetworkError(R1Error):
    """The network or the hub failed."""

    exit_status = ExitStatus.NETWORK


class BadFile(R1Error):
    """A file is damaged or not supported."""

    exit_status = ExitStatus.BAD_FILE


class BadCheckpoint(BadFile):
    """A checkpoint folder cannot be converted."""


class BadValue(BadFile):
    """A weight is NaN, infinite or too large; running it again on the same source cannot help."""


class BadGGUF(BadFile):
    """A GGUF cannot be read or run."""


def debugging() -> bool:
    """Whether R1_DEBUG is set: show tracebacks and llama.cpp's log."""
    return os.environ.get("R1_DEBUG", "0") not in {"", "0"}


def unexpected(exc: Exception) -> str:
    """The message for an error that no class of ours describes."""
    detail = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    return f"unexpected error: {detail} (R1_DEBUG=1 prints the traceback)"

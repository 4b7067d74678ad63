"""The events of a download and a conversion; all progress displays are based on these. Sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from r1_quantize.source import Extent


@dataclass(frozen=True, slots=True)
class Planned:
    """The conversion is planned and checked; nothing has been written yet.

    `notes` say how the source was read where that is unusual. `missing_tokens` are the control tokens of R1 that the
    vocabulary lacks; r1 cannot run the result if there are any. `job` identifies the work in a journal.
    """

    source: Path
    quant: str
    tensors: tuple[Extent, ...]  # of the result
    bytes_in: int
    bytes_out: int
    notes: tuple[str, ...] = ()
    missing_tokens: tuple[str, ...] = ()
    job: str = ""


@dataclass(frozen=True, slots=True)
class Resumed:
    """An earlier run was interrupted; this much of its work is still good."""

    tensors: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Rechecked:
    """Bytes of an earlier run's work were read back and checked since the last event."""

    bytes: int


@dataclass(frozen=True, slots=True)
class StartedOver:
    """The work so far, of this run or an earlier one, is discarded for `reason`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Preparing:
    """The lookup tables of a GGML type are being computed; this takes seconds for the smallest types."""

    ggml_type: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """Bytes of the tensor `name` were read and written since the last event."""

    name: str
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class TensorDone:
    """A tensor is written; `index` counts from 1."""

    index: int
    name: str
    ggml_type: str
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Checked:
    """Bytes of the result were read back and checked since the last event; 0 while it is still flushed to disk."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The file has its final name, and its manifest if there is one. For `missing_tokens` see `Planned`."""

    path: Path
    size: int
    seconds: float
    missing_tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FilePlan:
    """A file of a repository; `here` bytes of it are already on this disk."""

    name: str
    size: int
    here: int


@dataclass(frozen=True, slots=True)
class PullPlan:
    """What a pull will do, before it downloads anything large. `peak` is the most disk space it takes.

    For `notes` and `missing_tokens` see `Planned`.
    """

    reference: str
    repo: str
    commit: str
    files: tuple[FilePlan, ...]
    result: int
    peak: int
    free: int
    shards_at_once: int
    tensors: tuple[Extent, ...]  # of the result
    notes: tuple[str, ...] = ()
    missing_tokens: tuple[str, ...] = ()

    @property
    def to_fetch(self) -> int:
        """The bytes still to download."""
        return sum(file.size - file.here for file in self.files)


@dataclass(frozen=True, slots=True)
class Present:
    """The model is already on this disk; `current` means that the hub has nothing newer.

    For `missing_tokens` see `Planned`.
    """

    reference: str
    path: Path
    size: int
    current: bool
    missing_tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Noted:
    """Something unusual that a user may want to know."""

    text: str


@dataclass(frozen=True, slots=True)
class WaitingForLock:
    """Another process holds the lock; r1 waits for it."""

    holder: str


@dataclass(frozen=True, slots=True)
class Hashed:
    """Bytes on this disk were read for their digest since the last event."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Fetching:
    """A file is being downloaded; `here` bytes of it are already on this disk."""

    file: str
    size: int
    here: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """Bytes arrived from the hub since the last event; `file` is None for those of an earlier run."""

    file: str | None
    bytes: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file of the source is complete and matches its published digest."""

    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file of `size` bytes does not match its published digest and is downloaded again."""

    file: str
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The hub failed for `reason`; the next attempt is in `seconds`."""

    seconds: float
    reason: str


Conversion = Planned | Rechecked | Resumed | StartedOver | Preparing | Advanced | TensorDone | Checked | Finished
Transfer = PullPlan | Present | Noted | WaitingForLock | Hashed | Fetching | Fetched | Arrived | Rejected | Waiting
PipelineEvent = Conversion | Transfer

"""What a download and a conversion say while they go on; everything that is shown of it is made of these.

Knows: which facts there are. Does not know: who shows them. Sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from r1_quantize.source import Extent


@dataclass(frozen=True, slots=True)
class Planned:
    """Everything is known and checked; nothing has been written yet."""

    source: Path
    quant: str
    tensors: tuple[Extent, ...]  # of the result
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """An earlier run was interrupted, and so much of its work still holds."""

    tensors: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Rechecked:
    """So many bytes more of an earlier run's work were read, to see whether they are as they were written."""

    bytes: int


@dataclass(frozen=True, slots=True)
class StartedOver:
    """What was done so far, in this run or an earlier one, is of no use, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Preparing:
    """The tables of a GGML type are about to be computed, which takes seconds for the smallest types."""

    ggml_type: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """So many bytes more were read and written, of the tensor `name`."""

    name: str
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class TensorDone:
    """A tensor is written, the `index`th, counted from 1."""

    index: int
    name: str
    ggml_type: str
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Checked:
    """All is written, and so many bytes more were read back; none while the disk takes what the system still holds."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The file has its name, and its manifest if one was asked for."""

    path: Path
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FilePlan:
    """A file of a repository, of which `here` bytes are here already."""

    name: str
    size: int
    here: int


@dataclass(frozen=True, slots=True)
class PullPlan:
    """What a pull will do, before it fetches anything large. `peak` is what it takes of the disk at most."""

    reference: str
    repo: str
    commit: str
    files: tuple[FilePlan, ...]
    result: int
    peak: int
    free: int
    shards_at_once: int
    tensors: tuple[Extent, ...]  # of the result

    @property
    def to_fetch(self) -> int:
        """The bytes that are still to come."""
        return sum(file.size - file.here for file in self.files)


@dataclass(frozen=True, slots=True)
class Present:
    """What was to be pulled is here already; `current` when the hub was asked and has nothing newer."""

    reference: str
    path: Path
    size: int
    current: bool


@dataclass(frozen=True, slots=True)
class Noted:
    """Something went another way than usual, and people may want to know."""

    text: str


@dataclass(frozen=True, slots=True)
class WaitingForLock:
    """Another process is at the same thing, and is waited for."""

    holder: str


@dataclass(frozen=True, slots=True)
class Hashed:
    """So many bytes more of what is here were read for their digest."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Fetching:
    """A file is being fetched, of which `here` bytes are here already."""

    file: str
    size: int
    here: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """So many bytes more came from the hub; `file` is None for those that came before."""

    file: str | None
    bytes: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file of the source is here, whole and what the hub says it is."""

    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file of `size` bytes is not what the hub says it is, and is fetched again."""

    file: str
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The hub failed, for `reason`, and is asked again after so many seconds."""

    seconds: float
    reason: str


Conversion = Planned | Rechecked | Resumed | StartedOver | Preparing | Advanced | TensorDone | Checked | Finished
Transfer = PullPlan | Present | Noted | WaitingForLock | Hashed | Fetching | Fetched | Arrived | Rejected | Waiting
PipelineEvent = Conversion | Transfer

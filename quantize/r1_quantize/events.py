"""What a conversion says while it goes on; everything that is shown of it is made of these.

Knows: which facts there are. Does not know: who shows them. Sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Planned:
    """Everything is known and checked; nothing has been written yet."""

    source: Path
    quant: str
    tensors: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """An earlier run was interrupted, and so much of its work still holds."""

    tensors: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Recalled:
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


Event = Planned | Recalled | Resumed | StartedOver | Preparing | Advanced | TensorDone | Checked | Finished

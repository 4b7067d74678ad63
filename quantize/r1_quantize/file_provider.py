"""How the files of a source come to be read: they are on this disk already, or somebody brings them one by one.

Knows: what the pipeline asks of whoever brings files. Does not know: where they come from (`shards` fetches them).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from r1_quantize.errors import BadFile
from r1_quantize.events import PipelineEvent
from r1_quantize.files import SourceFile


class FileProvider(Protocol):
    """Whoever brings the files of one source."""

    @property
    def files(self) -> Mapping[str, SourceFile]:
        """Name → file, of those that are not in the source's folder, or not yet."""

    def start(self, wanted: Sequence[SourceFile]) -> Sequence[SourceFile]:
        """Begin to bring these; they are taken in the order that comes back."""

    def take(self, file: SourceFile) -> Generator[PipelineEvent, None, Path]:
        """Wait for a file; returns where it is. Raises R1Error when it cannot be had."""

    def poll(self) -> Iterator[PipelineEvent]:
        """What happened since the last time."""

    def release(self, file: SourceFile) -> None:
        """The file is not wanted any more."""

    def reject(self, file: SourceFile) -> None:
        """The file is not what its publisher says, and is brought again. Raises BadFile when that is of no use."""


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """A supply of files that are all there; of those in `files` somebody says what they are."""

    files: Mapping[str, SourceFile] = field(default_factory=dict)

    def start(self, wanted: Sequence[SourceFile]) -> Sequence[SourceFile]:
        return wanted

    def take(self, file: SourceFile) -> Generator[PipelineEvent, None, Path]:
        yield from ()
        return file.path

    def poll(self) -> Iterator[PipelineEvent]:
        return iter(())

    def release(self, file: SourceFile) -> None:
        pass

    def reject(self, file: SourceFile) -> None:
        raise BadFile(f"{file.path} is not what was fetched; r1 pull fetches it again")

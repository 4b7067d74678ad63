"""How the pipeline gets the files of a source: from this disk, or downloaded one by one."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from r1_quantize.errors import BadFile
from r1_quantize.events import PipelineEvent
from r1_quantize.files import SourceFile


class FileProvider(Protocol):
    """Provides the files of one source."""

    @property
    def files(self) -> Mapping[str, SourceFile]:
        """Name -> file, for files with a published digest and files that are not (yet) in the source's folder."""

    def start(self, wanted: Sequence[SourceFile]) -> Sequence[SourceFile]:
        """Start fetching files; returns them in the order in which to take them."""

    def take(self, file: SourceFile) -> Generator[PipelineEvent, None, Path]:
        """Wait for a file and return its path. Raises R1Error when it cannot be fetched."""

    def poll(self) -> Iterator[PipelineEvent]:
        """The events since the last call."""

    def release(self, file: SourceFile) -> None:
        """The file is no longer needed."""

    def reject(self, file: SourceFile) -> None:
        """The file does not match its published digest; fetch it again. Raises BadFile when that cannot help."""


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """Files that are all on this disk; `files` are those with a published digest."""

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
        raise BadFile(f"{file.path} does not match its published digest; r1 pull downloads it again")

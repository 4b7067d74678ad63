"""The kept states of one model: which one serves a prompt best, and whether a new one is worth its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from r1.engine import kv_file
from r1.engine.context import Context
from r1.engine.kv_file import Damaged, Header
from r1.engine.sequence import Chunks, Segments, Sequence
from r1.kv_store.kv_folder import KvFolder, NoRoom
from r1.kv_store.model_digest import model_digest
from r1_quantize.errors import R1Error

_READ_BPS = 200e6
"""Bytes a second that are assumed for reading before a file is read: those of a modest disk."""

_ASSUMED_TPS = 500.0  # tokens a second of a prefill, where it was not measured
_MIN_GAIN_S = 0.1  # a state that saves less is not kept

_FEW, _FEW_OF_OWNER = 256, 32
"""A state that differs by fewer tokens from what is kept is not written. An owner's replaces its older one, and so
takes no more place; others, such as those of several questions about one file, would pile up."""


class _Match(NamedTuple):
    """A file whose first `length` tokens serve a prompt."""

    length: int
    path: Path
    header: Header

    def gain_s(self, held: int) -> float:
        return _gain_s(self.header.size, self.length - held, self.header.prefill_tps)


class KvStates:
    """The states in a folder that belong to one model. Not thread-safe; other processes may use the folder, too.

    A state that does not fit counts as none, and so does a damaged one, which is removed. No error is raised: `trouble`
    says what prevented the last state from being kept, and is empty if that was by choice.
    """

    def __init__(self, folder: KvFolder, model: str) -> None:
        """`model` is the digest of its weights, from before they were loaded."""
        self.trouble = ""
        self._folder = folder
        self._model = model
        self._origin: tuple[Context, str] | None = None

    @classmethod
    def of(cls, folder: KvFolder, model: Path) -> KvStates | None:
        """The states of the model whose file this is; call it before the weights are loaded. None for no such file."""
        with suppress(OSError, R1Error):
            return cls(folder, model_digest(model))
        return None

    def restore_prompt(self, context: Context, segments: Segments, most: int) -> None:
        """`restore` into the sequence that holds least of the prompt, if there is more of it than any sequence holds.

        No sequence may be in use.
        """
        chunks = Chunks.of(segments, context.cut)
        held = {sequence: chunks.common(sequence, most) for sequence in context.sequences}
        least = min(held, key=lambda sequence: (held[sequence], len(sequence)))
        self.restore(context, least, chunks, most, max(held.values()))

    def keep_prompt(self, context: Context, segments: Segments, owner: str = "", prefill_tps: float = 0.0) -> str:
        """`keep` for the sequence that holds most of the prompt; returns the trouble. No sequence may be in use."""
        chunks = Chunks.of(segments, context.cut)
        held = {sequence: chunks.common(sequence, len(chunks.tokens)) for sequence in context.sequences}
        most = max(held, key=held.__getitem__)
        self.trouble = ""
        if held[most]:
            most.truncate(held[most])  # the rest is of something else
            self.keep(context, most, owner, prefill_tps)
        return self.trouble

    def keep_all(self, context: Context) -> str:
        """`keep` for every sequence, without an owner; returns the trouble. None may be in use."""
        troubles = []
        for sequence in sorted(context.sequences, key=len, reverse=True):  # what a longer one contains is not written
            self.keep(context, sequence)
            troubles.append(self.trouble)
        return next(filter(None, troubles), "")

    def restore(self, context: Context, sequence: Sequence, chunks: Chunks, most: int, held: int = 0) -> int:
        """Replaces what `sequence` holds by the kept state that serves most of a prompt, at most `most` tokens.

        Only if reading it is quicker than prefilling what it holds of the prompt beyond the first `held` tokens.
        Returns how many tokens of the prompt the sequence holds then, and it holds nothing else; 0 if it was not
        replaced. (It is empty if llama.cpp refuses a state that passed all checks.)
        """
        if most - held < _FEW_OF_OWNER:
            return 0
        matches = [match for match in self._matches(self._origin_of(context), chunks, most) if match.gain_s(held) > 0]
        for match in sorted(matches, key=lambda match: (-match.length, match.header.size)):
            began = perf_counter()
            if self._read(match, context, sequence):
                self._folder.touch(match.path)
                if len(match.header.tokens) < match.header.prefill_tps * (perf_counter() - began):
                    self._folder.remove(match.path)  # on this disk it is slower than prefilling all of it
                sequence.truncate(match.length)
                return match.length
        return 0

    def keep(self, context: Context, sequence: Sequence, owner: str = "", prefill_tps: float = 0.0) -> bool:
        """Writes what `sequence` holds; returns whether it is kept now. It takes the place of what is kept of its owner
        for such a context: the same type of cache, and as many sequences.

        `prefill_tps` is how many tokens a second were prefilled; 0: not known. What would be read more slowly than
        prefilled is not written, nor what differs by a few tokens from what is kept already. A state without an owner
        replaces those without an owner that it contains.
        """
        self.trouble = ""
        chunks = Chunks(sequence.tokens, sequence.edges[1:], [])
        length, size = len(chunks.tokens), kv_file.size_of(context, sequence)
        if not length or _gain_s(size, length, prefill_tps) < _MIN_GAIN_S:
            return False
        origin = self._origin_of(context)
        kept = list(self._matches(origin, chunks, length, owner))
        longest = max(kept, key=lambda match: match.length, default=None)
        if longest and length - longest.length < min(_FEW_OF_OWNER if owner else _FEW, longest.length):
            self._folder.touch(longest.path)
            return True
        try:
            with self._folder.new_file(owner, origin, size) as path:
                kv_file.write(path, context, sequence, origin, prefill_tps)
        except NoRoom:
            return False
        except (OSError, R1Error) as exc:
            self.trouble = str(exc)
            return False
        for match in kept:
            if owner or (self._folder.has_no_owner(match.path) and match.length == len(match.header.tokens)):
                self._folder.remove(match.path)
        return True

    def _origin_of(self, context: Context) -> str:
        if self._origin is None or self._origin[0] is not context:
            self._origin = context, kv_file.origin_of(context, self._model)
        return self._origin[1]

    def _matches(self, origin: str, chunks: Chunks, most: int, owner: str = "") -> Iterator[_Match]:
        """How much of a prompt each file of this origin serves; with `owner`, only those of this owner."""
        for file in self._folder.files(origin=origin, owner=owner):
            try:
                header = kv_file.read_header(file.path)
            except Damaged:
                self._folder.remove(file.path)
            except OSError:  # another process has just removed it
                continue
            else:
                if header.origin == origin:
                    yield _Match(chunks.common(header, most), file.path, header)

    def _read(self, match: _Match, context: Context, sequence: Sequence) -> bool:
        try:
            return kv_file.restore(match.path, context, sequence, match.header.origin)
        except Damaged:
            self._folder.remove(match.path)
        except OSError:
            pass
        return False


def _gain_s(size: int, tokens: int, prefill_tps: float) -> float:
    """The seconds that are saved by reading so many bytes instead of prefilling so many tokens."""
    return tokens / (prefill_tps or _ASSUMED_TPS) - size / _READ_BPS

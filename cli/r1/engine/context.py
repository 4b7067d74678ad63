"""llama.cpp's context: one KV cache for one or several sequences, and the batches that are decoded into it.

The sequences share the cells of one pool, so a long reply may use what short ones leave. Where a prefix is common, they
share its cells, too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Generator, Iterator
from collections.abc import Sequence as Row
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from r1.engine.kv_types import CPU_CUT, CPU_ROWS, GPU_CUT, GPU_ROWS, KV_TYPES, largest_batch, most_outputs
from r1.engine.llama import Stop, llama, log
from r1.engine.model import Model
from r1.engine.sequence import CellPool, Chunks, Segments, Sequence
from r1.machine.cores import Threads, default_threads
from r1_quantize.errors import NotEnoughSpace, R1Error, UsageError

_ABORTED = 2  # llama_decode's status when the abort callback returned true
_REPLY_TOKENS = 4096  # for a reply, in the context length that an error message suggests


class PromptTooLong(UsageError):
    """A prompt of `tokens` tokens leaves no room for a reply in a context of `length`.

    `count` is the number of tokens in words; with `is_estimate`, they were not counted to the end.
    """

    def __init__(self, tokens: int, length: int, trained: int, *, is_estimate: bool = False) -> None:
        count = f"about {tokens:,}" if is_estimate else f"{tokens:,}"
        larger = min(_round_up(tokens + _REPLY_TOKENS), trained)
        remedy = f", or use --ctx {larger}" if tokens < trained else f" (the model was trained for at most {trained:,})"
        super().__init__(f"the prompt has {count} tokens, and the context holds {length:,}; shorten the prompt{remedy}")
        self.tokens = tokens
        self.count = count
        self.length = length


class Stopped(Exception):
    """The engine's Stop was set in the middle of a batch; the cache holds what it held before that batch."""


@dataclass(frozen=True, slots=True)
class ContextParams:
    """`length` is how many tokens a sequence can hold; `threads` None takes the default number for this machine.

    Up to `sequences` sequences share `cells` tokens of memory; None: `length`, which is right for one.
    """

    length: int
    threads: Threads | None = None
    kv_type: str = "f16"
    sequences: int = 1
    cells: int | None = None


class Part(NamedTuple):
    """Tokens to append to one sequence in a batch. `edges` are the positions in it where chunks of a prompt end.

    The tokens of `draft` are decoded after them, with logits for each, but do not belong to the sequence: those that
    are accepted are to be appended, and the rest must be forgotten before the next batch.
    """

    sequence: Sequence
    tokens: Row[int]
    has_logits: bool = True
    edges: Row[int] = ()
    draft: Row[int] = ()


class Context:
    """A KV cache over a model, and the sequences of tokens that it holds.

    `length` is how many tokens fit a sequence, prompt and reply together; llama.cpp may allocate a few more cells.
    Prompts are cut by `cut`, and a batch has at most `rows` tokens of them.
    """

    def __init__(self, model: Model, params: ContextParams, stop: Stop | None = None) -> None:
        """`stop` ends any decoding with Stopped. Raises NotEnoughSpace when llama.cpp cannot allocate the cache."""
        self.model = model
        self.stop = stop or Stop()
        self._llama = llama()
        self.length = params.length
        self.kv_type = params.kv_type
        on_gpu = bool(model.placement.gpu_layers)
        self.cut, self.rows = (GPU_CUT, GPU_ROWS) if on_gpu else (CPU_CUT, CPU_ROWS)
        self.threads = params.threads or default_threads()
        self._batch = _Batch(largest_batch(self.rows, params.sequences), params.sequences)
        self._handle = self._create(model, params)
        self._pool = CellPool(self._llama.llama_get_memory(self._handle), params.cells or params.length)
        self.sequences = tuple(Sequence(number, self._pool) for number in range(params.sequences))

    def _create(self, model: Model, params: ContextParams) -> int:
        log.complaints.clear()
        handle = self._llama.llama_init_from_model(model.handle, self._native_params(params))
        if not handle:
            tokens = params.cells or params.length
            fewer = "fewer prompts at once (--parallel), a shorter context" if params.sequences > 1 else "a shorter one"
            raise NotEnoughSpace(
                f"llama.cpp cannot allocate a context of {tokens:,} tokens ({log.reason()}); "
                f"try {fewer} (--ctx), or close other programs"
            )
        return int(handle)

    def _native_params(self, params: ContextParams) -> Any:
        native = self._llama.llama_context_default_params()
        native.n_ctx = params.cells or params.length
        native.n_batch = native.n_ubatch = self._batch.capacity
        native.n_seq_max = params.sequences
        native.n_outputs_max = most_outputs(params.sequences)
        native.kv_unified = params.sequences > 1
        native.n_threads, native.n_threads_batch = self.threads.decode, self.threads.prefill
        native.type_k = native.type_v = KV_TYPES[params.kv_type]
        native.no_perf = True
        native.abort_callback = type(native.abort_callback)(self.stop.callback)
        native.abort_callback_data = self.stop.data
        return native

    @property
    def handle(self) -> int:
        """The `llama_context *`, for the sampler."""
        return self._handle

    @property
    def cells(self) -> int:
        """Tokens that fit all sequences together; a shared one counts once."""
        return self._pool.total

    @property
    def free_cells(self) -> int:
        return self._pool.free

    def set_threads(self, threads: Threads) -> None:
        """Sets the numbers of threads for the batches to come; costs nothing when they are unchanged.

        llama.cpp uses `decode` for batches of one token and `prefill` for all others.
        """
        if threads != self.threads:
            self._llama.llama_set_n_threads(self._handle, threads.decode, threads.prefill)
            self.threads = threads

    def require_room_for(self, prompt_tokens: int) -> None:
        """Raises PromptTooLong when a prompt leaves no room for a reply."""
        if prompt_tokens >= self.length:
            raise PromptTooLong(prompt_tokens, self.length, self.model.context_length)

    def prefill(self, sequence: Sequence, segments: Segments) -> Generator[int]:
        """Makes the sequence hold exactly these tokens, with the logits of the last one; yields the count done.

        Chunks that it already holds are kept, and the logits are bit for bit those of a prefill into an empty cache.
        Stop iterating between two chunks to cancel; the sequence then holds the chunks done so far.
        Raises PromptTooLong, Stopped.
        """
        total = sum(map(len, segments))
        self.require_room_for(total)
        kept = total - 1  # a cache holds no logits: decode the last token again
        yield from self._fill(sequence, segments, kept, self.rows.alone)

    def warm(self, sequence: Sequence, segments: Segments) -> Generator[int]:
        """Like `prefill`, for the start of a later prompt: produces no logits, and stops where the cache is full. Its
        batches are smaller, because a request that comes meanwhile waits for one.

        Raises Stopped.
        """
        yield from self._fill(sequence, segments, sum(map(len, segments)), self.rows.several)

    def _fill(self, sequence: Sequence, segments: Segments, max_kept: int, rows: int) -> Iterator[int]:
        chunks = Chunks.of(segments, self.cut)
        sequence.truncate(chunks.common(sequence, max_kept))
        yield len(sequence)
        while len(sequence) < len(chunks.tokens):
            start, end = len(sequence), chunks.batch_end(len(sequence), rows)
            if end >= self.length or end - start > self.free_cells:
                return
            self.decode([Part(sequence, chunks.tokens[start:end], edges=chunks.edges_within(start, end))])
            yield end

    def decode(self, parts: Row[Part]) -> list[int]:
        """Appends tokens to sequences, in one batch, no larger than `largest_batch`.

        Returns for each part the place of its last token in the batch, for the sampler; its draft follows. Raises
        Stopped, or R1Error when llama.cpp fails; either leaves all sequences unchanged.
        """
        if not self._handle:
            raise R1Error("the context is closed")
        places = self._batch.fill(parts)
        try:
            status = self._llama.llama_decode(self._handle, self._batch.native)
            if not status:
                for part in parts:
                    part.sequence.extend(part.tokens, part.edges)
                return places
        except BaseException:  # an interrupt: llama.cpp may hold the tokens already
            for part in parts:
                part.sequence.forget_undecoded()
            raise
        for part in parts:
            part.sequence.forget_undecoded()
        if status == _ABORTED:
            raise Stopped
        raise R1Error(f"llama.cpp cannot decode (status {status}): {log.reason()}")

    def close(self) -> None:
        if self._handle:
            self._pool.memory = None  # a reply that is dropped later must not touch it
            self._llama.llama_free(self._handle)
            self._handle = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Batch:
    """A `llama_batch` for `capacity` tokens, which each pass fills with its own."""

    def __init__(self, capacity: int, sequences: int) -> None:
        native = llama()
        self.capacity = capacity
        self._tokens = (ctypes.c_int32 * capacity)()
        self._positions = (ctypes.c_int32 * capacity)()
        self._counts = (ctypes.c_int32 * capacity)(*[1] * capacity)  # of sequences that a token belongs to
        self._owners = (ctypes.POINTER(ctypes.c_int32) * capacity)()
        self._has_logits = (ctypes.c_int8 * capacity)()
        self._numbers = (ctypes.c_int32 * sequences)(*range(sequences))
        size = ctypes.sizeof(ctypes.c_int32)
        base = ctypes.addressof(self._numbers)
        self._pointers = [
            ctypes.cast(base + number * size, ctypes.POINTER(ctypes.c_int32)) for number in range(sequences)
        ]
        self.native = native.llama_batch(
            n_tokens=0,
            token=ctypes.cast(self._tokens, ctypes.POINTER(native.llama_token)),
            pos=ctypes.cast(self._positions, ctypes.POINTER(native.llama_pos)),
            n_seq_id=ctypes.cast(self._counts, ctypes.POINTER(ctypes.c_int32)),
            seq_id=ctypes.cast(self._owners, ctypes.POINTER(ctypes.POINTER(native.llama_seq_id))),
            logits=ctypes.cast(self._has_logits, ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, parts: Row[Part]) -> list[int]:
        """The place of each part's last token, without its draft."""
        end = 0
        places = []
        for sequence, tokens, has_logits, _, draft in parts:
            start, last = end, end + len(tokens) - 1
            for place, token in enumerate((*tokens, *draft), start):
                self._tokens[place] = token
                self._positions[place] = len(sequence) + place - start
                self._owners[place] = self._pointers[sequence.number]
                self._has_logits[place] = has_logits and place >= last
            end = last + 1 + len(draft)
            places.append(last)
        self.native.n_tokens = end
        return places


def _round_up(tokens: int, step: int = 1024) -> int:
    return -(-tokens // step) * step

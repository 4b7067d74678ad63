"""The KV cache: tracks which tokens it holds, and prefills only what differs.

A prompt comes in segments, one per turn of the conversation, and no chunk spans two segments. After a prefill the cache
therefore depends on the tokens alone, to the last bit: not on the parts kept from an earlier prompt, nor on whether it
was filled at once or warmed while idle. Chunks are cut the same way for every prompt, because the batch size affects
the last bits of the logits, and the same seed must give the same text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from r1.engine.kv_types import CPU_CHUNK, GPU_CHUNK, KV_TYPES
from r1.engine.llama import Stop, llama, log
from r1.engine.model import Model
from r1.machine.cores import Threads, default_threads
from r1_quantize.errors import NotEnoughSpace, R1Error, UsageError

_SEQUENCE = 0
_ABORTED = 2  # llama_decode's status when the abort callback returned true
_REPLY_TOKENS = 4096  # room for a reply in the context length that an error message suggests

Segments = Sequence[Sequence[int]]
"""A prompt's token ids, split at the end of each turn."""


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
    """`length` in tokens; `threads` None takes the default number for this machine."""

    length: int
    threads: Threads | None = None
    kv_type: str = "f16"


class Context:
    """A KV cache over a model, and the one sequence of tokens that it holds.

    `length` is how many tokens fit, prompt and reply together; llama.cpp may allocate a few more.
    """

    def __init__(self, model: Model, params: ContextParams, stop: Stop | None = None) -> None:
        """`stop` ends any decoding with Stopped. Raises NotEnoughSpace when llama.cpp cannot allocate the cache."""
        self.model = model
        self._stop = stop or Stop()
        self._llama = llama()
        self.length = params.length
        self.kv_type = params.kv_type
        self.chunk = GPU_CHUNK if model.placement.gpu_layers else CPU_CHUNK
        self._buffer = (self._llama.llama_token * self.chunk)()
        self._handle = self._create(model, params)
        self._memory = self._llama.llama_get_memory(self._handle)
        self._tokens: list[int] = []
        self._edges = [0]  # positions where prefilled chunks ended, ascending

    def _create(self, model: Model, params: ContextParams) -> int:
        log.complaints.clear()
        handle = self._llama.llama_init_from_model(model.handle, self._native_params(params))
        if not handle:
            raise NotEnoughSpace(
                f"llama.cpp cannot allocate a context of {params.length:,} tokens ({log.reason()}); "
                "try a shorter one (--ctx), or close other programs"
            )
        return int(handle)

    def _native_params(self, params: ContextParams) -> Any:
        threads = params.threads or default_threads()
        native = self._llama.llama_context_default_params()
        native.n_ctx = params.length
        native.n_batch = native.n_ubatch = self.chunk
        native.n_seq_max = native.n_outputs_max = 1  # logits of the last token only
        native.n_threads, native.n_threads_batch = threads.decode, threads.prefill
        native.type_k = native.type_v = KV_TYPES[params.kv_type]
        native.no_perf = True
        native.abort_callback = type(native.abort_callback)(self._stop.callback)
        native.abort_callback_data = self._stop.data
        return native

    @property
    def handle(self) -> int:
        """The `llama_context *`, for the sampler."""
        return self._handle

    @property
    def tokens(self) -> Sequence[int]:
        """The tokens in the cache, by position."""
        return self._tokens

    @property
    def is_full(self) -> bool:
        return len(self._tokens) >= self.length

    def prefill(self, segments: Segments) -> Iterator[int]:
        """Makes the cache hold exactly these tokens, with the logits of the last one; yields the count done.

        Chunks already in the cache are kept, and the logits are bit for bit those of a prefill into an empty cache.
        Stop iterating between two chunks to cancel; the cache then holds the chunks done so far.
        Raises PromptTooLong, Stopped.
        """
        total = sum(map(len, segments))
        if total >= self.length:
            raise PromptTooLong(total, self.length, self.model.context_length)
        yield from self._fill(segments, total - 1)  # the cache holds no logits: decode the last token again

    def warm(self, segments: Segments) -> Iterator[int]:
        """Like `prefill`, for the start of a later prompt: produces no logits, and stops where the cache is full.

        Raises Stopped.
        """
        yield from self._fill(segments, sum(map(len, segments)))

    def _fill(self, segments: Segments, max_kept: int) -> Iterator[int]:
        tokens = [token for segment in segments for token in segment]
        edges = _edges(segments, self.chunk)
        common = min(common_length(self._tokens, tokens), max_kept)
        kept = max(edge for edge in {0, *edges}.intersection(self._edges) if edge <= common)
        self.truncate(kept)
        yield kept
        for edge in edges:
            if kept < edge < self.length:
                self.decode(tokens[kept:edge])
                self._edges.append(edge)
                kept = edge
                yield edge

    def truncate(self, length: int) -> None:
        """Drops every token from position `length` on."""
        if length < len(self._tokens):
            self._llama.llama_memory_seq_rm(self._memory, _SEQUENCE, length, -1)
            del self._tokens[length:]
            self._edges = [edge for edge in self._edges if edge <= length]

    def decode(self, tokens: Sequence[int]) -> None:
        """Appends at most `chunk` tokens to the cache; the logits of the last one can be sampled from.

        Raises Stopped, or R1Error when llama.cpp fails; either leaves the cache unchanged.
        """
        self._buffer[: len(tokens)] = tokens
        batch = self._llama.llama_batch_get_one(self._buffer, len(tokens))
        status = self._llama.llama_decode(self._handle, batch)
        if status:
            self._llama.llama_memory_seq_rm(self._memory, _SEQUENCE, len(self._tokens), -1)
            if status == _ABORTED:
                raise Stopped
            raise R1Error(f"llama.cpp cannot decode (status {status}): {log.reason()}")
        self._tokens.extend(tokens)

    def close(self) -> None:
        if self._handle:
            self._llama.llama_free(self._handle)
            self._handle = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _edges(segments: Segments, chunk: int) -> list[int]:
    """The positions where chunks end: after every `chunk` tokens of a segment, and at the end of each segment."""
    edges: list[int] = []
    start = 0
    for segment in segments:
        edges += [*range(start + chunk, start + len(segment), chunk), start + len(segment)]
        start += len(segment)
    return edges


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """The length of the common prefix of two token sequences."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))


def _round_up(tokens: int, step: int = 1024) -> int:
    return -(-tokens // step) * step

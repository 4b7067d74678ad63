"""The KV cache: knows which tokens it holds, and prefills only what differs.

A prompt comes in segments, one a turn of the conversation, and each segment is decoded in chunks of its own. So the
cache after a prefill, to the last bit, depends on the tokens alone: not on what was kept of an earlier prompt, nor on
whether it was filled at once or while nobody asked for anything. Chunks are cut alike for every prompt, because the
size of a batch shows in the last bits of the logits, and the same seed is to give the same text.

Knows: token ids and positions. Does not know: what they mean, how the next one is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from r1.engine.llama import Stop, llama, log
from r1.engine.model import Model
from r1.fit.needs import CHUNK, GPU_CHUNK
from r1.machine.cores import Threads, default_threads
from r1_quantize.errors import NotEnoughRoom, R1Error, UsageError

KV_TYPES = {
    "f32": 0,
    "f16": 1,
    "bf16": 30,
    "q8_0": 8,
    "q5_1": 7,
    "q5_0": 6,
    "q4_1": 3,
    "q4_0": 2,
    "iq4_nl": 20,
}
"""What the KV cache may be stored as → enum ggml_type."""

_SEQUENCE = 0
_ABORTED = 2  # what llama_decode returns when the abort callback said so

Segments = Sequence[Sequence[int]]
"""A prompt's token ids, cut where a turn ends."""


class PromptTooLong(UsageError):
    """A prompt of `tokens` tokens leaves no room for a reply in a context of `length`."""

    def __init__(self, tokens: int, length: int, trained: int) -> None:
        room = min(_round_up(tokens + 4096), trained)
        remedy = f"or give it more room: --ctx {room}" if tokens < trained else "this model was trained for no more"
        super().__init__(f"the prompt is {tokens} tokens long and the context holds {length}; shorten it, {remedy}")
        self.tokens = tokens
        self.length = length


class Stopped(Exception):
    """Someone asked to stop in the middle of a batch; the cache holds what it held before that batch."""


@dataclass(frozen=True, slots=True)
class ContextParams:
    """`length` in tokens; `threads` None: as many as are worth having."""

    length: int
    threads: Threads | None = None
    kv_type: str = "f16"


class Context:
    """A KV cache over a model, and the one sequence of tokens that it holds.

    `length` is how many tokens fit, prompt and reply together; llama.cpp may set aside a few more.
    """

    def __init__(self, model: Model, params: ContextParams, stop: Stop | None = None) -> None:
        """`stop` ends any decoding with Stopped. Raises NotEnoughRoom when the cache cannot be had."""
        self.model = model
        self._stop = stop or Stop()
        self._llama = llama()
        self.length = params.length
        self.kv_type = params.kv_type
        self.chunk = GPU_CHUNK if model.placement.gpu_layers else CHUNK
        self._buffer = (self._llama.llama_token * self.chunk)()
        self._handle = self._create(model, params)
        self._memory = self._llama.llama_get_memory(self._handle)
        self._tokens: list[int] = []
        self._edges = [0]  # where chunks ended that were prefilled, in order

    def _create(self, model: Model, params: ContextParams) -> int:
        threads = params.threads or default_threads()
        native = self._llama.llama_context_default_params()
        native.n_ctx = params.length
        native.n_batch = native.n_ubatch = self.chunk
        native.n_seq_max = native.n_outputs_max = 1  # no logits but those of the last token
        native.n_threads, native.n_threads_batch = threads.decode, threads.prefill
        native.type_k = native.type_v = KV_TYPES[params.kv_type]
        native.no_perf = True
        native.abort_callback = type(native.abort_callback)(self._stop.callback)
        native.abort_callback_data = self._stop.data
        log.complaints.clear()
        handle = self._llama.llama_init_from_model(model.handle, native)
        if not handle:
            raise NotEnoughRoom(
                f"llama.cpp was refused the memory for a context of {params.length:,} tokens ({log.reason()}); "
                "try a shorter one (--ctx), or close something"
            )
        return int(handle)

    @property
    def handle(self) -> int:
        """The `llama_context *`, for the sampler."""
        return self._handle

    @property
    def tokens(self) -> Sequence[int]:
        """What the cache holds, in order of position."""
        return self._tokens

    @property
    def is_full(self) -> bool:
        return len(self._tokens) >= self.length

    def prefill(self, segments: Segments) -> Iterator[int]:
        """Makes the cache hold exactly these tokens, and the logits of the last one ready; yields the count done.

        Chunks that the cache holds already are kept, so the logits are the very bits that an empty cache would give.
        Stop iterating between two chunks to cancel; the cache then holds what was done.
        Raises PromptTooLong, Stopped.
        """
        total = sum(map(len, segments))
        if total >= self.length:
            raise PromptTooLong(total, self.length, self.model.context_length)
        yield from self._fill(segments, total - 1)  # the last token's logits are not in the cache: decode it again

    def warm(self, segments: Segments) -> Iterator[int]:
        """Like `prefill` for tokens that a later prompt will begin with: no logits, and what has no room is left out.

        Raises Stopped.
        """
        yield from self._fill(segments, sum(map(len, segments)))

    def _fill(self, segments: Segments, most_kept: int) -> Iterator[int]:
        tokens = [token for segment in segments for token in segment]
        edges = _edges(segments, self.chunk)
        common = min(common_length(self._tokens, tokens), most_kept)
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
        """Forgets every token from position `length` on."""
        if length < len(self._tokens):
            self._llama.llama_memory_seq_rm(self._memory, _SEQUENCE, length, -1)
            del self._tokens[length:]
            self._edges = [edge for edge in self._edges if edge <= length]

    def decode(self, tokens: Sequence[int]) -> None:
        """Appends at most `chunk` tokens to the cache; the logits of the last one can be sampled from.

        Raises Stopped, or R1Error when llama.cpp fails; the cache is then as it was.
        """
        self._buffer[: len(tokens)] = tokens
        batch = self._llama.llama_batch_get_one(self._buffer, len(tokens))
        status = self._llama.llama_decode(self._handle, batch)
        if status:
            self._llama.llama_memory_seq_rm(self._memory, _SEQUENCE, len(self._tokens), -1)
            if status == _ABORTED:
                raise Stopped
            raise R1Error(f"llama.cpp could not decode (status {status}): {log.reason()}")
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
    """Where the chunks of a prompt end: after every `chunk` tokens of a segment, and where it ends."""
    edges: list[int] = []
    start = 0
    for segment in segments:
        edges += [*range(start + chunk, start + len(segment), chunk), start + len(segment)]
        start += len(segment)
    return edges


def common_length(held: Sequence[int], wanted: Sequence[int]) -> int:
    """How many tokens two sequences share from their beginning."""
    for index, (old, new) in enumerate(zip(held, wanted, strict=False)):
        if old != new:
            return index
    return min(len(held), len(wanted))


def _round_up(tokens: int, step: int = 1024) -> int:
    return -(-tokens // step) * step

"""The KV cache: knows which tokens it holds, and prefills only what differs.

Knows: token ids and positions. Does not know: what they mean, how the next one is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from r1.engine.devices import default_threads, free_memory
from r1.engine.llama import llama, log
from r1.engine.model import Model
from r1_quantize.errors import NotEnoughRoom, R1Error, UsageError

CHUNK = 128
"""Tokens prefilled at a time on a CPU. Between two chunks a prefill can be cancelled; longer ones gain nothing there.

A chunk is the same for every prompt, because the size of a batch shows in the last bits of the logits, and the same
seed is to give the same text.
"""

GPU_CHUNK = 512
"""The same where layers are on a GPU, which is only busy with more at a time."""

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


@dataclass(frozen=True, slots=True)
class ContextParams:
    """`length` in tokens; `threads` None: the physical cores."""

    length: int
    threads: int | None = None
    kv_type: str = "f16"


class Context:
    """A KV cache over a model, and the one sequence of tokens that it holds.

    `length` is how many tokens fit, prompt and reply together; llama.cpp may set aside a few more.
    """

    def __init__(self, model: Model, params: ContextParams) -> None:
        """Raises NotEnoughRoom when the cache cannot be had."""
        self.model = model
        self._llama = llama()
        self.length = params.length
        self.chunk = GPU_CHUNK if model.placement.gpu_layers else CHUNK
        self._buffer = (self._llama.llama_token * self.chunk)()
        self._handle = self._create(model, params)
        self._memory = self._llama.llama_get_memory(self._handle)
        self._tokens: list[int] = []
        self._prefilled = 0

    def _create(self, model: Model, params: ContextParams) -> int:
        threads = params.threads or default_threads()
        native = self._llama.llama_context_default_params()
        native.n_ctx = params.length
        native.n_batch = native.n_ubatch = self.chunk
        native.n_seq_max = 1
        native.n_threads = native.n_threads_batch = threads
        native.type_k = native.type_v = KV_TYPES[params.kv_type]
        native.no_perf = True
        log.complaints.clear()
        handle = self._llama.llama_init_from_model(model.handle, native)
        if not handle:
            raise NotEnoughRoom(_does_not_fit(model, params))
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

    def prefill(self, tokens: Sequence[int], *, exact: bool = False) -> Iterator[int]:
        """Makes the cache hold exactly `tokens`, and the logits of the last one ready; yields the count done.

        What the cache holds already and still fits is kept: every common token, or, when `exact`, every common
        whole chunk that was itself prefilled, which gives the very logits that an empty cache would. Stop
        iterating between two chunks to cancel; the cache then holds what was done.
        Raises UsageError when `tokens` leave no room for a reply.
        """
        if len(tokens) >= self.length:
            raise UsageError(self._too_long(len(tokens)))
        # the logits of the last token are not in the cache, so it is always decoded again
        kept = min(common_length(self._tokens, tokens), len(tokens) - 1)
        if exact:
            kept = min(kept, self._prefilled) // self.chunk * self.chunk
        self.truncate(kept)
        yield len(self._tokens)
        while len(self._tokens) < len(tokens):
            self.decode(tokens[len(self._tokens) : len(self._tokens) + self.chunk])
            self._prefilled = len(self._tokens)
            yield len(self._tokens)

    def _too_long(self, prompt: int) -> str:
        trained = self.model.context_length
        room = min(_round_up(prompt + 4096), trained)
        remedy = f"or give it more room: --ctx {room}" if prompt < trained else "this model was trained for no more"
        return f"the prompt is {prompt} tokens long and the context holds {self.length}; shorten it, {remedy}"

    def truncate(self, length: int) -> None:
        """Forgets every token from position `length` on."""
        if length < len(self._tokens):
            self._llama.llama_memory_seq_rm(self._memory, _SEQUENCE, length, -1)
            del self._tokens[length:]
            self._prefilled = min(self._prefilled, length)

    def decode(self, tokens: Sequence[int]) -> None:
        """Appends at most `chunk` tokens to the cache; the logits of the last one can be sampled from."""
        self._buffer[: len(tokens)] = tokens
        batch = self._llama.llama_batch_get_one(self._buffer, len(tokens))
        status = self._llama.llama_decode(self._handle, batch)
        if status:
            self._llama.llama_memory_seq_rm(self._memory, _SEQUENCE, len(self._tokens), -1)
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


def common_length(held: Sequence[int], wanted: Sequence[int]) -> int:
    """How many tokens two sequences share from their beginning."""
    for index, (old, new) in enumerate(zip(held, wanted, strict=False)):
        if old != new:
            return index
    return min(len(held), len(wanted))


def _does_not_fit(model: Model, params: ContextParams) -> str:
    """How much a context needs, how much is free, and which one would fit."""
    block = {"f32": 4.0, "f16": 2.0, "bf16": 2.0}.get(params.kv_type, 1.0)  # bytes a value, at most
    per_token = int(model.kv_values_per_token * block)
    free = free_memory()
    fits = free * 3 // 4 // per_token // 256 * 256  # a quarter for what is computed
    remedy = f"--ctx {fits} would fit" if 256 <= fits < params.length else "try a smaller one"
    return (
        f"a context of {params.length} tokens needs about {params.length * per_token / 1e9:.2f} GB and "
        f"{free / 1e9:.2f} GB are free ({log.reason()}); {remedy}"
    )


def _round_up(tokens: int, step: int = 1024) -> int:
    return -(-tokens // step) * step

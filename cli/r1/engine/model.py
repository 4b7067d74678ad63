"""A loaded GGUF: its weights in llama.cpp, its tokenizer, R1's control tokens."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from r1.engine import pages
from r1.engine.devices import Placement, handles
from r1.engine.llama import llama, log
from r1.engine.pages import Releasing, populating
from r1_quantize.control_tokens import CONTROL_TOKENS
from r1_quantize.errors import BadGGUF, NotEnoughSpace, R1Error

_USER_DEFINED = 1 << 4  # LLAMA_TOKEN_ATTR_USER_DEFINED, from llama.h
_NO_MAPPING, _MAPPING = 0, 1  # enum llama_load_mode: NONE, MMAP


class LoadCancelled(Exception):
    """The user cancelled while the weights were being loaded."""


class ControlTokens(NamedTuple):
    """The ids of R1's control tokens in this model's vocabulary."""

    bos: int
    eos: int
    user: int
    assistant: int
    think: int
    end_think: int

    @classmethod
    def of(cls, model: Model) -> ControlTokens:
        """Raises BadGGUF when one of them is missing: the model is not an R1 distill."""
        ids = {name: model.control_token(text) for name, text in CONTROL_TOKENS.items()}
        missing = [CONTROL_TOKENS[name] for name, token in ids.items() if token is None]
        if missing:
            raise BadGGUF(
                f"{model.path}: not a DeepSeek-R1 distill (its vocabulary lacks {', '.join(missing)}); "
                "choose another model with -m; `r1 list` shows them"
            )
        return cls(**{name: token for name, token in ids.items() if token is not None})


class Model:
    """A GGUF in memory. Close it, or use it as a context manager."""

    def __init__(
        self,
        path: Path,
        placement: Placement | None = None,
        *,
        mapped: bool = True,
        on_progress: Callable[[float], bool] = lambda _: True,
    ) -> None:
        """Loads `path`, through mmap if `mapped`.

        `on_progress` is called with the share that is loaded (0 to 1); it returns False to cancel.
        Raises BadGGUF when llama.cpp cannot read the file or it is not an R1 distill, NotEnoughSpace, LoadCancelled.
        """
        self.path = path
        self.until_exit = False
        self._llama = llama()
        self.placement = placement or Placement()
        self._handle = self._load(path, mapped, on_progress)
        self._releasing: Releasing | None = None
        self._vocab = self._llama.llama_model_get_vocab(self._handle)
        self._pieces: dict[int, bytes] = {}
        try:
            self.control = ControlTokens.of(self)
        except BadGGUF:
            self.close()
            raise
        self.stop_tokens = frozenset({self.control.user, self.control.eos})
        if mapped and pages.IS_SUPPORTED:
            with suppress(RuntimeError):  # no thread can start
                self._releasing = Releasing(path)

    def _load(self, path: Path, mapped: bool, on_progress: Callable[[float], bool]) -> int:
        _check_magic(path)
        cancelled = False
        has_begun = False

        def progress(share: float, _: object) -> bool:
            nonlocal cancelled, has_begun
            if not has_begun:  # all buffers are allocated
                has_begun = True
                populating.begin(path.stat().st_size)
            cancelled = not on_progress(share)
            return not cancelled

        params = self._llama.llama_model_default_params()
        callback = self._llama.llama_progress_callback(progress)
        params.progress_callback = callback
        params.load_mode = _MAPPING if mapped else _NO_MAPPING
        params.n_gpu_layers = self.placement.gpu_layers
        devices = handles(self.placement.devices)  # when empty, no GPU takes the KV cache
        params.devices = ctypes.addressof(devices)
        shares = (ctypes.c_float * max(1, self._llama.llama_max_devices()))(*self.placement.shares)
        params.tensor_split = shares
        log.complaints.clear()
        populating.note()
        handle = self._llama.llama_model_load_from_file(os.fsencode(path), params)
        if cancelled:
            raise LoadCancelled
        if not handle:
            raise _load_error(path)
        return int(handle)

    @property
    def handle(self) -> int:
        """The `llama_model *`, for the context."""
        return self._handle

    @property
    def vocabulary(self) -> int:
        """The `llama_vocab *`, for the grammar."""
        return int(self._vocab)

    @property
    def context_length(self) -> int:
        """The longest context, in tokens, that the model was trained for."""
        return int(self._llama.llama_model_n_ctx_train(self._handle))

    @property
    def vocabulary_size(self) -> int:
        """Tokens of the vocabulary, and so logits of each token."""
        return int(self._llama.llama_vocab_n_tokens(self._vocab))

    def control_token(self, text: str) -> int | None:
        """The id of the single token whose text is exactly `text`; None when the vocabulary has no such token."""
        ids = self._tokenize(text.encode(), parse_special=True)
        if len(ids) != 1 or self._llama.llama_vocab_get_text(self._vocab, ids[0]) != text.encode():
            return None
        return ids[0]

    def tokenize(self, text: str) -> list[int]:
        """Plain text → ids. Nothing in `text` becomes a control token, even if it is spelled like one.

        llama.cpp can be told not to match CONTROL tokens, but it always matches USER_DEFINED ones, and R1's `<think>`
        and `</think>` are USER_DEFINED. Where one is matched, the text is split before the token's last character so
        that it no longer matches; R1's pre-tokenizers end a word there anyway.
        """
        ids: list[int] = []
        pending = [text]
        while pending:
            segment = pending.pop()
            tokens = self._tokenize(segment.encode(), parse_special=False)
            markers = {self.piece(token).decode() for token in set(tokens) if self._is_user_defined(token)}
            parts = _split(segment, markers)
            if len(parts) > 1:
                pending.extend(reversed(parts))
            else:
                ids += tokens
        return ids

    def _tokenize(self, text: bytes, *, parse_special: bool) -> list[int]:
        capacity = len(text) + 1  # every token stands for at least one byte
        buffer = (self._llama.llama_token * capacity)()
        count = self._llama.llama_tokenize(self._vocab, text, len(text), buffer, capacity, False, parse_special)
        if count < 0:
            raise AssertionError(f"{len(text)} bytes became {-count} tokens")
        ids: list[int] = buffer[:count]
        return ids

    def _is_user_defined(self, token: int) -> bool:
        return bool(self._llama.llama_vocab_get_attr(self._vocab, token) & _USER_DEFINED)

    def piece(self, token: int) -> bytes:
        """The bytes of a token; a character may be split over several tokens."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._read_piece(token)
        return piece

    def _read_piece(self, token: int) -> bytes:
        capacity = 64
        while True:
            buffer = ctypes.create_string_buffer(capacity)
            count = self._llama.llama_token_to_piece(self._vocab, token, buffer, capacity, 0, True)
            if count >= 0:
                return buffer.raw[:count]
            capacity = -count

    def is_number(self, token: int) -> bool:
        """Whether the text of a token is digits, white space around them aside."""
        return self.piece(token).strip().isdigit()

    def is_control(self, token: int) -> bool:
        """Whether a token is not text, such as the one that begins a turn."""
        return bool(self._llama.llama_vocab_is_control(self._vocab, token))

    def is_end(self, token: int) -> bool:
        """Whether llama.cpp takes this token for the end of a text."""
        return bool(self._llama.llama_vocab_is_eog(self._vocab, token))

    @cached_property
    def turn_endings(self) -> frozenset[int]:
        """All tokens that end the model's turn. Takes a moment: the whole vocabulary is looked through."""
        return frozenset(filter(self.ends_turn, range(self.vocabulary_size)))

    def ends_turn(self, token: int) -> bool:
        """Whether this token ends the model's turn."""
        return token in self.stop_tokens or self.is_end(token)

    def close(self) -> None:
        """Frees the memory, unless the process ends with this model: the system is quicker at it."""
        if self.until_exit:
            return
        if self._releasing is not None:
            self._releasing.wait()
            self._releasing = None
        if self._handle:
            self._llama.llama_model_free(self._handle)
            self._handle = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _split(text: str, markers: set[str]) -> list[str]:
    """Splits `text` into parts that contain no marker: each marker is split before its last character.

    A marker of one character cannot be split, and stays.
    """
    longest_first = sorted((re.escape(marker) for marker in markers if len(marker) > 1), key=len, reverse=True)
    ends = [match.end() - 1 for match in re.finditer("|".join(longest_first), text)] if longest_first else []
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def _load_error(path: Path) -> R1Error:
    """The error for llama.cpp's complaint: not enough memory, or a bad file."""
    reason = log.reason()
    if re.search(r"allocat|memory", reason):
        return NotEnoughSpace(
            f"{path}: llama.cpp cannot allocate memory for the weights ({reason}); "
            "close other programs, or use a smaller quantization or checkpoint"
        )
    return BadGGUF(f"{path}: llama.cpp cannot load it: {reason}")


def _check_magic(path: Path) -> None:
    """Raises BadGGUF for a file that is not a GGUF; llama.cpp's own error would name neither the file nor a remedy."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as exc:
        raise BadGGUF(f"{path}: cannot be read ({exc.strerror})") from exc
    if magic != b"GGUF":
        raise BadGGUF(f"{path}: not a GGUF file; convert a checkpoint with `r1 quantize FOLDER`")

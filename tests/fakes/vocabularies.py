"""llama.cpp's own tokenizer, to check a GGUF's vocabulary."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from r1.engine.llama import llama


class Vocabulary:
    """The vocabulary of a GGUF, loaded without its weights. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._llama: Any = llama()
        params = self._llama.llama_model_default_params()
        params.vocab_only = True
        self._model = self._llama.llama_model_load_from_file(bytes(path), params)
        assert self._model, f"llama.cpp refuses {path}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._llama.llama_model_free(self._model)

    def encode(self, text: str, *, control: bool) -> list[int]:
        """The ids of a text; with `control`, the text of a control token becomes that token."""
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 1))()
        vocab = self._llama.llama_model_get_vocab(self._model)
        count = self._llama.llama_tokenize(vocab, data, len(data), ids, len(ids), False, control)
        assert count >= 0
        return ids[:count]

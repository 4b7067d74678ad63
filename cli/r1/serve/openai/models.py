"""OpenAI's `GET /v1/models` and `GET /v1/models/{id}` (https://platform.openai.com/docs/api-reference/models).

Beyond OpenAI's fields there are those by which clients learn how much a model can take: `max_model_len` as vLLM has it,
`context_length` as OpenRouter, and `meta` as llama-server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from r1.serve.errors import api_error
from r1.serve.http import json_response
from r1.serve.served_models import ServedModel
from r1.serve.service import Service
from r1_quantize.errors import BadGGUF, R1Error
from r1_quantize.gguf import reader

_Result = TypeVar("_Result")

_BYTE_PAIRS = 2
"""LLAMA_VOCAB_TYPE_BPE of llama.h: the vocabularies of all of R1's distilled models are of this kind."""


async def list_models(request: Request) -> Response:
    """All models that can be asked. Raises ApiError."""
    service: Service = request.app.state.service

    def listed() -> list[dict[str, Any]]:
        return [model_object(each, service.settings.ctx) for each in service.models.all()]

    return json_response({"object": "list", "data": await _in_thread(listed)})


async def retrieve_model(request: Request) -> Response:
    """The model that a name means. Raises ApiError."""
    service: Service = request.app.state.service
    name = await service.name_of(request.path_params["name"])
    return json_response(await _in_thread(lambda: model_object(service.models.get(name), service.settings.ctx)))


async def _in_thread(work: Callable[[], _Result]) -> _Result:
    """Files are read there. Raises ApiError."""
    try:
        return await asyncio.to_thread(work)
    except R1Error as exc:
        raise api_error(exc) from exc


def model_object(model: ServedModel, ctx: int | None) -> dict[str, Any]:
    """`ctx` is the most tokens of context that the server gives; None: as many as the model was trained for.

    A damaged file is listed, too, without what its header would tell.
    """
    stored = model.stored
    known = {"id": model.name, "object": "model", "created": int(stored.modified), "owned_by": "r1"}
    try:
        meta = _meta(stored.path, stored.size, stored.modified)
    except BadGGUF:
        return known
    trained = meta["n_ctx_train"]
    length = min((each for each in (trained, ctx) if each), default=None)
    return {**known, "context_length": length, "max_model_len": length, "meta": meta}


@lru_cache(256)
def _meta(path: Path, size: int, _modified: float) -> dict[str, Any]:
    """What a GGUF's header tells, in llama-server's words; remembered for as long as the file is the same. Raises
    BadGGUF.
    """
    file = reader.read(path)
    architecture = file.metadata.get("general.architecture")
    shapes = {tensor.name: tensor.shape for tensor in file.tensors}
    return {
        "vocab_type": _BYTE_PAIRS,
        "n_vocab": shapes.get("token_embd.weight", (None,))[-1],
        "n_ctx_train": _whole_number(file.metadata.get(f"{architecture}.context_length")),
        "n_embd": _whole_number(file.metadata.get(f"{architecture}.embedding_length")),
        "n_params": sum(map(prod, shapes.values())),
        "size": size,
    }


def _whole_number(value: object) -> int | None:
    return value if isinstance(value, int) else None

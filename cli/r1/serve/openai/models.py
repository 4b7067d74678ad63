"""OpenAI's `GET /v1/models` and `GET /v1/models/{id}` (https://platform.openai.com/docs/api-reference/models).

Beyond OpenAI's fields there are those by which clients learn how much a model can take: `max_model_len` as vLLM has it,
`context_length` as OpenRouter, and `meta` as llama-server.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from r1.serve.errors import in_thread
from r1.serve.http import json_response
from r1.serve.served_models import ServedModel
from r1.serve.service import Service
from r1_quantize.errors import BadGGUF

_BYTE_PAIRS = 2
"""LLAMA_VOCAB_TYPE_BPE of llama.h: the vocabularies of all of R1's distilled models are of this kind."""


async def list_models(request: Request) -> Response:
    """All models that can be asked. Raises ApiError."""
    service: Service = request.app.state.service

    def listed() -> list[dict[str, Any]]:
        return [model_object(each, service.settings.ctx) for each in service.models.all()]

    return json_response({"object": "list", "data": await in_thread(listed)})


async def retrieve_model(request: Request) -> Response:
    """The model that a name means. Raises ApiError."""
    service: Service = request.app.state.service
    name = await service.name_of(request.path_params["name"])
    return json_response(await in_thread(lambda: model_object(service.models.get(name), service.settings.ctx)))


def model_object(model: ServedModel, ctx: int | None) -> dict[str, Any]:
    """`ctx` is the most tokens of context that the server gives; None: as many as the model was trained for.

    A damaged file is listed, too, without what its header would say.
    """
    known = {"id": model.name, "object": "model", "created": int(model.stored.modified), "owned_by": "r1"}
    try:
        meta = _meta(model)
    except BadGGUF:
        return known
    length = model.context_within(ctx)
    return {**known, "context_length": length, "max_model_len": length, "meta": meta}


def _meta(model: ServedModel) -> dict[str, Any]:
    """What a GGUF's header says, in llama-server's words. Raises BadGGUF."""
    facts = model.facts
    return {
        "vocab_type": _BYTE_PAIRS,
        "n_vocab": facts.vocabulary,
        "n_ctx_train": facts.context_length,
        "n_embd": facts.embedding_length,
        "n_params": facts.elements,
        "size": model.stored.size,
    }

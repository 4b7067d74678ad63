"""Anthropic's `GET /v1/models` and `GET /v1/models/NAME`. OpenAI has the same paths; a header tells whose is meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from r1.serve.anthropic.objects import new_id
from r1.serve.errors import ApiError, bad_field, in_thread
from r1.serve.http import json_response
from r1.serve.served_models import ServedModel
from r1.serve.service import Service

_PAGE = 20
_MOST = 1_000
_NUMBER = re.compile(r"[1-9][0-9]{0,3}")

_YES, _NO = {"supported": True}, {"supported": False}

_CAPABILITIES = {
    "batch": _NO,
    "citations": _NO,
    "code_execution": _NO,
    "context_management": _NO,
    "effort": {**_YES, "low": _YES, "medium": _YES, "high": _YES, "xhigh": _YES, "max": _YES},
    "image_input": _NO,
    "pdf_input": _NO,
    "server_tools": {**_NO, "code_execution": _NO, "web_search": _NO},
    "structured_outputs": _YES,
    "thinking": {
        **_YES,
        "types": {"adaptive": _YES, "between_tools": _YES, "disabled": _YES, "enabled": _YES},
    },
}


async def list_models(request: Request) -> Response:
    """A page of the models, in the order of `r1 list`. Raises ApiError."""
    service: Service = request.app.state.service

    def listed() -> dict[str, Any]:
        chosen, has_more = _page(request, service.models.all())
        return {
            "data": [_model_object(model, service.settings.ctx) for model in chosen],
            "has_more": has_more,
            "first_id": chosen[0].name if chosen else None,
            "last_id": chosen[-1].name if chosen else None,
        }

    return await _response(listed)


async def get_model(request: Request) -> Response:
    """The model that a name means. Raises ApiError."""
    service: Service = request.app.state.service
    name = await service.name_of(request.path_params["model"])
    return await _response(lambda: _model_object(service.models.get(name), service.settings.ctx))


async def _response(work: Callable[[], dict[str, Any]]) -> Response:
    """Raises ApiError."""
    return json_response(await in_thread(work), headers={"request-id": new_id("req")})


def _page(request: Request, models: Sequence[ServedModel]) -> tuple[Sequence[ServedModel], bool]:
    """The models that are asked for, and whether there are more in that direction."""
    limit = _limit(request)
    if before := request.query_params.get("before_id"):
        end = _place(models, "before_id", before)
        return models[max(end - limit, 0) : end], end > limit
    after = request.query_params.get("after_id")
    start = _place(models, "after_id", after) + 1 if after else 0
    return models[start : start + limit], start + limit < len(models)


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(_PAGE))
    if not (_NUMBER.fullmatch(text) and int(text) <= _MOST):
        raise bad_field("limit", f"must be a whole number from 1 to {_MOST:,}, not {text!r:.40}")
    return int(text)


def _place(models: Sequence[ServedModel], name: str, value: str) -> int:
    place = next((place for place, model in enumerate(models) if model.name == value), None)
    if place is None:
        raise ApiError(400, f"{name} is no model of the list: {value!r:.80}", param=name)
    return place


def _model_object(model: ServedModel, ctx: int | None) -> dict[str, Any]:
    """`ctx` is the most tokens of context that the server gives; None: as many as the model was trained for.

    A damaged file is listed, too, without its length.
    """
    context = model.context_within(ctx)
    created = datetime.fromtimestamp(int(model.stored.modified), UTC)
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": created.isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
        "capabilities": _CAPABILITIES,
    }

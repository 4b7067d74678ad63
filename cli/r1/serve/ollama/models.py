"""Ollama's `GET /api/tags`, `GET /api/ps`, `POST /api/show` (https://docs.ollama.com/api): what is here."""

from __future__ import annotations

import hashlib
import math
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from r1.serve.errors import in_thread
from r1.serve.http import json_response, read_fields
from r1.serve.model_host import Presence
from r1.serve.ollama.objects import moment
from r1.serve.served_models import Facts, ServedModel
from r1.serve.service import Service
from r1.settings import Settings
from r1_quantize.errors import BadGGUF
from r1_quantize.recipe import RECIPES

_CAPABILITIES = ["completion", "thinking"]
_NS = 1_000_000_000
_FOR_EVER_S = 100 * 365 * 86_400.0
"""Ollama has no other word for it than a moment in centuries, and its own client shows one in 20 years as "Forever"."""

_NO_FACTS = Facts("", None, None, None, None, 0, 0)
"""Of a damaged file."""

_LONG = 5  # more values in an array are left out, unless all are asked for
_TEMPLATE = "tokenizer.chat_template"


async def tags(request: Request) -> Response:
    """All models that can be asked. Raises ApiError."""
    service: Service = request.app.state.service
    return json_response({"models": await in_thread(lambda: _rows(service))})


async def running(request: Request) -> Response:
    """The model that is loaded, if there is one. Raises ApiError."""
    service: Service = request.app.state.service
    presence = service.engine.presence
    if presence is None:
        return json_response({"models": []})
    row = await in_thread(lambda: _running_row(service.models.get(presence.name), presence))
    return json_response({"models": [row]})


async def show(request: Request) -> Response:
    """What is known of one model, from the header of its file. Raises ApiError."""
    service: Service = request.app.state.service
    fields = await read_fields(request)
    is_complete = bool(fields.flag("verbose"))
    earlier = fields.text("name")
    name = await service.name_of(fields.text("model") or earlier or fields.required_text("model"))
    settings = service.settings
    return json_response(await in_thread(lambda: _facts(service.models.get(name), settings, is_complete=is_complete)))


def _rows(service: Service) -> list[dict[str, Any]]:
    return [
        {
            **_head(model),
            "modified_at": _modified(model),
            "size": model.stored.size,
            "capabilities": _CAPABILITIES,
        }
        for model in service.models.all()
    ]


def _head(model: ServedModel) -> dict[str, Any]:
    return {"name": model.name, "model": model.name, "digest": _digest(model), "details": _details(model)}


def _running_row(model: ServedModel, presence: Presence) -> dict[str, Any]:
    left = _FOR_EVER_S if presence.seconds_left is None else presence.seconds_left
    return {
        **_head(model),
        "size": presence.plan.needs.total,
        "size_vram": presence.plan.needs.gpu,
        "expires_at": moment(time.time_ns() + round(left * _NS)),
        "context_length": presence.plan.context,
    }


def _modified(model: ServedModel) -> str:
    return moment(round(model.stored.modified * _NS))


def _digest(model: ServedModel) -> str:
    """The SHA-256 of the file, or, where that is not on record, of what distinguishes it from others."""
    stored = model.stored
    if stored.manifest is not None:
        return stored.manifest.sha256
    return hashlib.sha256(f"{model.name} {stored.size} {stored.modified}".encode()).hexdigest()


def _details(model: ServedModel) -> dict[str, Any]:
    """As Ollama has them. A damaged file is listed, too, without what its header would say."""
    quant = model.stored.quant
    try:
        facts = model.facts
    except BadGGUF:
        facts = _NO_FACTS
    lengths = {"context_length": facts.context_length, "embedding_length": facts.embedding_length}
    return {
        "parent_model": "",
        "format": "gguf",
        "family": facts.architecture,
        "families": [facts.architecture] if facts.architecture else [],
        "parameter_size": _in_short(facts.parameters) if facts.parameters else "",
        "quantization_level": quant or _file_type(facts.file_type),
        **{name: value for name, value in lengths.items() if value is not None},
    }


def _in_short(count: int) -> str:
    """A number of weights as Ollama writes it: 1.8B, 135M."""
    if count < 999_500_000:
        return f"{count / 1e6:.3g}M"
    return f"{count / 1e9:.1f}B"


def _file_type(number: object) -> str:
    return next((name for name, recipe in RECIPES.items() if recipe.number == number), "unknown")


def _facts(model: ServedModel, settings: Settings, *, is_complete: bool) -> dict[str, Any]:
    """Raises BadGGUF."""
    header = model.header
    values = {key: _json(header[key], is_complete=is_complete) for key in header if key != _TEMPLATE}
    return {
        "license": ", ".join(model.checkpoint.licences if model.checkpoint else ())
        or _text(header.get("general.license")),
        "parameters": f"{'temperature':<30} {settings.temp:g}\n{'top_p':<30} {settings.top_p:g}",
        "template": _text(header.get(_TEMPLATE)),
        "details": _details(model),
        "model_info": {**values, "general.parameter_count": model.facts.parameters},
        "capabilities": _CAPABILITIES,
        "modified_at": _modified(model),
    }


def _text(value: object) -> str:
    """A GGUF can have a value of any type under any key."""
    return value if isinstance(value, str) else ""


def _json(value: object, *, is_complete: bool) -> object:
    """A value of the header for JSON, which has no number that is none."""
    if isinstance(value, list):
        return [_json(item, is_complete=True) for item in value] if is_complete or len(value) <= _LONG else []
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

"""Anthropic's `POST /v1/messages/count_tokens`: how many tokens the prompt of a request has, counted as it would be
answered: by the model's own tokens, in its template, without old thinking.
"""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from r1.serve.anthropic.fields import question_in
from r1.serve.anthropic.objects import new_id
from r1.serve.http import json_response, read_fields, unless_gone
from r1.serve.service import Service


async def count_tokens(request: Request) -> Response:
    """Loads the model if it is not loaded. Raises ApiError."""
    service: Service = request.app.state.service
    question = await asyncio.to_thread(question_in, await read_fields(request))
    count = await unless_gone(request, service.prompt_tokens(question))
    return json_response({"input_tokens": count}, headers={"request-id": new_id("req")})

"""Why a request cannot be answered; each API writes that in a shape of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from r1.engine.context import PromptTooLong
from r1_quantize.errors import ModelNotFound, NotEnoughSpace, R1Error, UsageError

_Result = TypeVar("_Result")


class ApiError(Exception):
    """A refusal with an HTTP status.

    `param` is the field of the body that is wrong; `code` is OpenAI's word for the problem. A client may try again
    after `retry_after_s` seconds, which the message says. The log has `logged` in the place of the message.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
        logged: str | None = None,
    ) -> None:
        if retry_after_s is not None:
            message = f"{message}; try again in {retry_after_s} s"
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s
        self._logged = logged

    @property
    def logged(self) -> str:
        """What a log may say that has nothing of prompts: the message about a wrong field can quote what is in it."""
        if self._logged is not None or self.status != 400:
            return self._logged or self.message
        reason = f" ({self.code})" if self.code else ""
        return f"{self.param or 'the request'} cannot be used{reason}"


def bad_field(param: str, message: str) -> ApiError:
    """A field of the body that cannot be used; the message follows its name."""
    return ApiError(400, f"{param} {message}", param=param)


def api_error(error: Exception) -> ApiError:
    """The refusal for an error that was raised while a request was answered."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, PromptTooLong):
        return ApiError(400, str(error), param="messages", code="context_length_exceeded")
    if isinstance(error, ModelNotFound):
        return ApiError(404, str(error), param="model", code="model_not_found")
    if isinstance(error, UsageError):
        return ApiError(400, str(error))
    if isinstance(error, NotEnoughSpace):
        return ApiError(503, str(error), code="not_enough_memory", retry_after_s=60)
    if isinstance(error, R1Error):
        return ApiError(500, str(error))
    unexpected = f"unexpected error: {type(error).__name__}"
    return ApiError(500, f"{unexpected}: {error}", logged=f"{unexpected}; with R1_DEBUG=1 the log says where")


async def in_thread(work: Callable[[], _Result]) -> _Result:
    """The result of work that reads files. Raises ApiError."""
    try:
        return await asyncio.to_thread(work)
    except R1Error as exc:
        raise api_error(exc) from exc

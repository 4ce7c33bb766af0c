"""Refusals as OpenAI's API words them. Pure but for the response's type."""

from __future__ import annotations

import math

from aiohttp import web

from voxfleet_gateway.refusals import CallRefused

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error_type(status: int) -> str:
    if status in _TYPES:
        return _TYPES[status]
    return "server_error" if status >= 500 else "invalid_request_error"


def error_object(refusal: CallRefused) -> dict[str, object]:
    """The value of `error`, in whichever format it is sent."""
    return {
        "message": refusal.message,
        "type": error_type(refusal.status),
        "param": refusal.param,
        "code": refusal.code,
    }


def error_response(refusal: CallRefused) -> web.Response:
    headers: dict[str, str] = {}
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_after_seconds)))
    if refusal.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="voxfleet"'
    return web.json_response({"error": error_object(refusal)}, status=refusal.status, headers=headers)

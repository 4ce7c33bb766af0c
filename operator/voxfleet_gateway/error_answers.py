"""Refusals as answers over HTTP."""

from __future__ import annotations

import math

from aiohttp import web

from voxfleet_gateway.refusals import CallRefused


def error_response(refusal: CallRefused) -> web.Response:
    headers: dict[str, str] = {}
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_after_seconds)))
    if refusal.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="voxfleet"'
    return web.json_response(refusal.error_object(), status=refusal.status, headers=headers)

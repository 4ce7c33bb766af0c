"""JSON responses, bounded request bodies and query parameters."""

from __future__ import annotations

import json

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from voxfleet_agent.attempts.admission import Refusal
from voxfleet_api.base import ApiModel
from voxfleet_api.protocol import Problem

MAX_BODY_BYTES = 4 * 1024 * 1024


class RequestRefused(Exception):
    """Ends a request with a Problem response."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.problem.message)
        self.refusal = refusal

    @classmethod
    def of(cls, status: int, message: str) -> RequestRefused:
        return cls(Refusal(status, Problem(message=message)))


def json_response(content: ApiModel, status: int = 200) -> Response:
    return Response(json.dumps(content.dump()), status, media_type="application/json")


def refusal_response(refusal: Refusal) -> Response:
    response = json_response(refusal.problem, refusal.status)
    if refusal.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(refusal.retry_after_seconds)
    if refusal.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def read_body(request: Request) -> bytes:
    """Raises RequestRefused: 413 as soon as the body is too long, whatever it announces; 400 if it breaks off."""
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > MAX_BODY_BYTES:
                raise RequestRefused.of(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
    except ClientDisconnect as error:
        raise RequestRefused.of(400, "the caller hung up in the middle of the body") from error
    return bytes(content)


def whole_number(text: str | None, name: str, *, least: int, most: int, default: int) -> int:
    """Parses a query parameter. Raises RequestRefused (400) with its name."""
    if text is None:
        return default
    try:
        number = int(text) if len(text) < 20 else most + 1
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise RequestRefused.of(400, f"{name} must be a whole number from {least} to {most}")
    return number

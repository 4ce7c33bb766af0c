"""What can become of a call to the gateway, and the exit code that says so. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from voxfleet_cli.command_line import Exit

MAX_MESSAGE_CHARACTERS = 500
_HINTS: Mapping[int, str] = {
    401: "the endpoint does not know this key, or there is none: set VOXFLEET_API_KEY, or write --key-file or"
    " --service-account; spec.auth of the endpoint says who is let in",
    403: "the key is known, but may not use this endpoint",
    404: "the gateway serves no such endpoint, or none that this key may use",
    413: "the recording is larger than the endpoint's session.maxUploadBytes",
    429: "the endpoint has no room now",
    503: "no lane of the endpoint is warm now",
}


class GatewayRefused(Exception):
    """The gateway's answer to a call: its status, and its words where it had any."""

    def __init__(self, status: int, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class GatewayLost(Exception):
    """The gateway gave no answer, or none to its end. The same call may succeed when it is made again."""


def refused(status: int, body: bytes, retry_after: str | None = None) -> GatewayRefused:
    """From an answer in OpenAI's form, or in any other."""
    words = None if status == HTTPStatus.UNAUTHORIZED else _message(body)  # it speaks of headers
    said = words or _HINTS.get(status) or f"HTTP {status}"
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE) and retry_after:
        said = f"{said.rstrip('.')}; try again in {retry_after} s"
    return GatewayRefused(status, said, float(retry_after) if retry_after and retry_after.isdigit() else None)


def late_failure(line: Mapping[str, object]) -> GatewayLost | GatewayRefused | None:
    """The error of a line or a message that ends a stream, if it is one.

    OpenAI's error objects tell by their type whose fault it was, mlx-audio's messages by `retryable`.
    """
    error = line.get("error")
    if error is None:
        return None
    if isinstance(error, dict):
        said, callers_fault = error.get("message"), error.get("type") == "invalid_request_error"
    else:
        said, callers_fault = error, line.get("retryable") is False
    message = _bounded(str(said))
    return GatewayRefused(HTTPStatus.BAD_REQUEST, message) if callers_fault else GatewayLost(message)


def exit_of(error: GatewayRefused | GatewayLost) -> Exit:
    if isinstance(error, GatewayLost) or error.status == HTTPStatus.TOO_MANY_REQUESTS or error.status >= 500:
        return Exit.UNAVAILABLE
    return Exit.NOT_FOUND if error.status == HTTPStatus.NOT_FOUND else Exit.REFUSED


def _message(body: bytes) -> str | None:
    try:
        content = json.loads(body)
    except ValueError:
        return None
    error = content.get("error") if isinstance(content, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return _bounded(message) if isinstance(message, str) and message else None


def _bounded(message: str) -> str:
    """On one line, and no longer than a person reads."""
    return " ".join(message.split())[:MAX_MESSAGE_CHARACTERS]

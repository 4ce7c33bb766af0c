"""Identifies the caller of a request from its headers."""

from __future__ import annotations

import hmac

from starlette.requests import Request

from voxfleet_agent.attempts.admission import Caller
from voxfleet_api.protocol import CONTROL_PLANE_HEADER, EPOCH_HEADER


class Authenticator:
    def __init__(self, token: str) -> None:
        self._expected = token.encode()

    def caller(self, request: Request) -> Caller:
        scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
        # The time of the comparison must not depend on where the tokens differ.
        token_matches = hmac.compare_digest(presented.strip().encode(), self._expected)
        return Caller(
            authenticated=token_matches and scheme.lower() == "bearer",
            control_plane=request.headers.get(CONTROL_PLANE_HEADER),
            epoch=_epoch(request.headers.get(EPOCH_HEADER)),
        )


def _epoch(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 15:
        return None
    return int(text)

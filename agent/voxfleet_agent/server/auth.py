"""Identifies the caller of a request from its headers."""

from __future__ import annotations

import hmac

from starlette.requests import HTTPConnection

from voxfleet_agent.agent_tokens import AgentTokens
from voxfleet_agent.attempts.admission import Caller
from voxfleet_api.protocol import CONTROL_PLANE_HEADER, EPOCH_HEADER


class Authenticator:
    """Who has one token is nobody where the other one counts."""

    def __init__(self, tokens: AgentTokens) -> None:
        self._operator = tokens.operator.encode()
        self._session = None if tokens.session is None else tokens.session.encode()

    @property
    def takes_sessions(self) -> bool:
        return self._session is not None

    def caller(self, request: HTTPConnection) -> Caller:
        """As an operator."""
        return _caller(request, self._operator)

    def session_caller(self, request: HTTPConnection) -> Caller:
        """As one who opens sessions."""
        return _caller(request, self._session)


def _caller(request: HTTPConnection, expected: bytes | None) -> Caller:
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    # The time of the comparison must not depend on where the tokens differ.
    token_matches = expected is not None and hmac.compare_digest(presented.strip().encode(), expected)
    return Caller(
        authenticated=token_matches and scheme.lower() == "bearer",
        control_plane=request.headers.get(CONTROL_PLANE_HEADER),
        epoch=_epoch(request.headers.get(EPOCH_HEADER)),
    )


def _epoch(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 15:
        return None
    return int(text)

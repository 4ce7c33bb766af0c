"""Why a socket ends, and with which close code. Pure. docs/how-to/stream-speech.md has the table."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from voxfleet_api.kinds.endpoint_session import SessionLimits
from voxfleet_api.session_protocol import Ended
from voxfleet_gateway.failure_refusals import refusal_of_failure
from voxfleet_gateway.refusals import CallRefused

DONE = 1000
GOING_AWAY = 1001
REFUSED = 1008
FAILED = 1011
TRY_AGAIN = 1013

_MOST_REASON_BYTES = 123
"""Of a close frame (RFC 6455, section 5.5)."""


@dataclass(frozen=True, slots=True)
class Ending:
    close_code: int
    code: str = ""
    """For programs; empty: in order, and the client is told nothing but the close code."""
    message: str = ""
    param: str | None = None
    retryable: bool = False
    """The same audio may succeed in a new session. The gateway never sends it again itself."""

    @property
    def is_failure(self) -> bool:
        return self.code != ""

    @property
    def close_reason(self) -> bytes:
        """Of the close frame."""
        return self.message.encode()[:_MOST_REASON_BYTES].decode(errors="ignore").encode()


FINISHED = Ending(DONE)
DRAINING = Ending(GOING_AWAY, "gateway_draining", "the gateway is going away; open a new session", retryable=True)
FAULTY = Ending(FAILED, "internal_error", "the gateway failed; its log says where")


def idle_too_long(limits: SessionLimits) -> Ending:
    return Ending(
        REFUSED,
        "session_idle",
        f"nothing was said for {limits.idle_seconds} s, the endpoint's session.idleSeconds; open a new session",
    )


def too_old(limits: SessionLimits) -> Ending:
    return Ending(
        REFUSED,
        "session_expired",
        f"the session is {limits.max_seconds} s old, the endpoint's session.maxSeconds; open a new one",
    )


def refused(call: CallRefused) -> Ending:
    """Of a refusal that comes after the upgrade."""
    retryable = call.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
    other = FAILED if call.status >= HTTPStatus.INTERNAL_SERVER_ERROR else REFUSED
    return Ending(TRY_AGAIN if retryable else other, call.code, call.message, param=call.param, retryable=retryable)


def lane_ended(ended: Ended, *, asked_for: bool) -> Ending:
    """`asked_for`: by the end of the audio. A lane that ends in order without being asked is one that went away."""
    if ended.failure_class is not None:
        return refused(refusal_of_failure(ended.failure_class, ended.reason))
    if asked_for:
        return FINISHED
    return Ending(TRY_AGAIN, "session_lost", "the lane ended the session; open a new one", retryable=True)

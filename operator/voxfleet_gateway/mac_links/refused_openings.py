"""Why a lane did not open a session, and whether another lane might. Pure."""

from __future__ import annotations

import math
from enum import StrEnum

from voxfleet_api.session_protocol import Ended
from voxfleet_gateway.failure_refusals import refusal_of_failure

FULL_SECONDS = 1.0
"""For how long a lane that is full is not asked again, where its agent does not say."""
GONE_SECONDS = 5.0
MAX_RETRY_SECONDS = 60.0
"""More than that nobody believes of an agent."""


class Refusal(StrEnum):
    FULL = "full"  # as many sessions as the lane has room for
    NOT_READY = "not-ready"  # it loads, drains, or is another generation
    SILENT = "silent"  # it did not answer in time, though its agent did
    UNREACHABLE = "unreachable"  # no answer, or none that an agent gives
    NOT_ADMITTED = "not-admitted"  # the agent takes the gateway's token for none
    REQUEST = "request"  # what was asked for is at fault: no lane of the endpoint would take it


class OpeningRefused(Exception):
    def __init__(self, refusal: Refusal, message: str, *, retry_after_seconds: float = FULL_SECONDS) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.message = message
        self.retry_after_seconds = retry_after_seconds


def refused_upgrade(status: int, retry_after: str | None) -> OpeningRefused:
    """The agent answered before the upgrade."""
    match status:
        case 429:
            return OpeningRefused(
                Refusal.FULL, "the lane is full", retry_after_seconds=believed_seconds(retry_after, FULL_SECONDS)
            )
        case 404 | 503:
            return OpeningRefused(
                Refusal.NOT_READY,
                "the lane is not ready",
                retry_after_seconds=believed_seconds(retry_after, GONE_SECONDS),
            )
        case 401 | 403:
            return OpeningRefused(
                Refusal.NOT_ADMITTED,
                f"the agent answered {status} to the token of spec.sessionTokenSecretRef; store its sessionTokenFile"
                " there",
                retry_after_seconds=GONE_SECONDS,
            )
        case _:
            return OpeningRefused(
                Refusal.NOT_READY, f"the agent answered {status}; look into its log", retry_after_seconds=GONE_SECONDS
            )


def refused_session(ended: Ended) -> OpeningRefused:
    """The agent ended the session before it was open."""
    if ended.failure_class is None:
        return OpeningRefused(Refusal.NOT_READY, "the lane ended the session", retry_after_seconds=GONE_SECONDS)
    refusal = refusal_of_failure(ended.failure_class, ended.reason, ended.retry_after_seconds)
    if refusal.status == 422:
        return OpeningRefused(Refusal.REQUEST, refusal.message)
    if refusal.status == 429:
        wait_seconds = _bounded(refusal.retry_after_seconds or FULL_SECONDS)
        return OpeningRefused(Refusal.FULL, refusal.message, retry_after_seconds=wait_seconds)
    wait_seconds = _bounded(ended.retry_after_seconds or GONE_SECONDS)
    return OpeningRefused(Refusal.NOT_READY, refusal.message, retry_after_seconds=wait_seconds)


def believed_seconds(header: str | None, otherwise: float) -> float:
    """What a Retry-After says, as far as it is believed."""
    try:
        return _bounded(otherwise if header is None else float(header))
    except ValueError:
        return otherwise


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_SECONDS) if math.isfinite(seconds) else MAX_RETRY_SECONDS

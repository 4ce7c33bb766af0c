"""What a client is told of a session that failed on its lane. Pure."""

from __future__ import annotations

import re

from voxfleet_api.failures import FailureClass, Remedy, rule_of
from voxfleet_gateway.refusals import CallRefused

RETRY_AFTER_SECONDS = 1.0
_OF_THE_LANE = frozenset(
    {
        FailureClass.LANE_CRASHED,
        FailureClass.MEMORY_EXCEEDED,
        FailureClass.MODEL_UNAVAILABLE,
        FailureClass.MODEL_MISMATCH,
        FailureClass.ACCESS_DENIED,
        FailureClass.INPUT_NOT_FOUND,
    }
)
"""Of a clip in a batch these are nobody else's. Here the lane may have ended by a neighbour, or have no model yet."""


def refusal_of_failure(failure_class: str, reason: str, retry_after_seconds: float | None = None) -> CallRefused:
    """422 for what fails again, 429 for a lane that is full, 503 for what another lane may do better.

    `failure_class`: as an agent says it, also one that only a newer agent knows. `reason` holds no text of a client.
    """
    code = re.sub(r"(?<!^)(?=[A-Z])", "_", failure_class).lower()
    message = f"{failure_class}: {reason}" if reason else failure_class
    if failure_class == FailureClass.THROTTLED:
        return CallRefused(429, code, message, retry_after_seconds=retry_after_seconds or RETRY_AFTER_SECONDS)
    if failure_class in _OF_THE_LANE or rule_of(failure_class).remedy is not Remedy.NOTHING:
        return CallRefused(503, code, message, retry_after_seconds=retry_after_seconds or RETRY_AFTER_SECONDS)
    return CallRefused(422, code, message)

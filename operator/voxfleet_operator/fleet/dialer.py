"""The seam between a session and the transport that reaches the agent."""

from __future__ import annotations

from voxfleet_api.conditions import Reason


class DialError(Exception):
    """No SSH connection; `reason` goes into a condition, `message` says which field or Secret to mend."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

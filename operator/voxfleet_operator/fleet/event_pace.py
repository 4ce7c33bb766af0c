"""How fast the events of one Mac are read: none of them takes the operator's time from the others. Pure."""

from __future__ import annotations

EVENTS_A_SECOND = 200.0
"""An honest agent tells progress once a second for each attempt, and some changes and rows for each."""
BURST_EVENTS = 2000.0
"""What happened while nobody listened is read at once."""


class EventPace:
    def __init__(self, now_seconds: float) -> None:
        self._at_seconds = now_seconds
        self._allowed = BURST_EVENTS

    def wait_seconds(self, now_seconds: float) -> float:
        """Counts one event; returns how long to wait before it is handled. What waits stays on the Mac's side."""
        earned = max(0.0, now_seconds - self._at_seconds) * EVENTS_A_SECOND
        self._allowed = min(BURST_EVENTS, self._allowed + earned) - 1
        self._at_seconds = now_seconds
        return max(0.0, -self._allowed / EVENTS_A_SECOND)

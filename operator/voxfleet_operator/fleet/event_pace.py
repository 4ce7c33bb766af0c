"""How fast the events of one Mac are read: none of them takes the operator's time from the others. Pure."""

from __future__ import annotations

EVENTS_A_SECOND = 200.0
"""An honest agent tells progress once a second for each attempt, and some changes and rows for each."""
BURST_EVENTS = 2000.0
"""What happened while nobody listened is read at once."""
BYTES_AN_EVENT = 4096.0
"""What is longer takes as much time to read as several."""


class EventPace:
    """Of all connections to the Mac, one after the other: another connection allows no other burst."""

    def __init__(self, now_seconds: float) -> None:
        self._at_seconds = now_seconds
        self._allowed = BURST_EVENTS

    def wait_seconds(self, chunk: bytes, now_seconds: float) -> float:
        """Counts what was read at once: its events, or as many as its bytes are worth, and at least one.

        Returns how long to wait before it is parsed. What waits stays on the Mac's side.
        """
        events = sum(map(bool, chunk.split(b"\n")))
        earned = max(0.0, now_seconds - self._at_seconds) * EVENTS_A_SECOND
        self._allowed = min(BURST_EVENTS, self._allowed + earned) - max(1.0, events, len(chunk) / BYTES_AN_EVENT)
        self._at_seconds = now_seconds
        return max(0.0, -self._allowed / EVENTS_A_SECOND)

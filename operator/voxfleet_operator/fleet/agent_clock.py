"""What an agent's own clock shows, told from its answers: until when, on that clock, an order holds. Pure."""

from __future__ import annotations

from voxfleet_api.order_age import ClockReading


class AgentClock:
    def __init__(self) -> None:
        self._read: tuple[ClockReading, float] | None = None

    def answered(self, header: str | None, now: float) -> None:
        """Takes what an answer says. It was read before now, so that orders never hold for longer than they say."""
        reading = None if header is None else ClockReading.parse(header)
        if reading is not None:
            self._read = reading, now

    def good_until(self, seconds: float, now: float) -> ClockReading | None:
        """So many seconds from now; None if the agent does not say what its clock shows."""
        if self._read is None:
            return None
        reading, read_at = self._read
        return reading._replace(milliseconds=reading.milliseconds + int((now - read_at + seconds) * 1000))

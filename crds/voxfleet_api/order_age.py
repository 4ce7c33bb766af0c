"""How an agent tells an order that waited too long, though operator and agent share no clock.

Every answer of an agent says what its own clock shows. The operator sends with what grants a lease until when, on that
clock, it holds. A PUT that waited in the socket of a sleeping Mac is refused when the Mac wakes: by then another Mac
may have what it was about.
"""

from __future__ import annotations

import re
from typing import NamedTuple

CLOCK_HEADER = "VoxFleet-Clock"
"""Of an answer. An agent without it is sent no GOOD_UNTIL_HEADER."""
GOOD_UNTIL_HEADER = "VoxFleet-Good-Until"
"""Of a call. One without it holds whenever it arrives, as from an operator that does not know it."""

_READING = re.compile(r"(?P<boot_id>[!-~]{1,64}) (?P<milliseconds>[0-9]{1,15})")


class ClockReading(NamedTuple):
    """A time on an agent's lease clock, which runs while its Mac sleeps and begins anew when it starts."""

    boot_id: str
    milliseconds: int

    def __str__(self) -> str:
        return f"{self.boot_id} {self.milliseconds}"

    @classmethod
    def parse(cls, text: str) -> ClockReading | None:
        """None if the text is no reading."""
        found = _READING.fullmatch(text)
        return None if found is None else cls(found["boot_id"], int(found["milliseconds"]))

    def is_over(self, now: ClockReading) -> bool:
        """Whether this time has passed. One of before the Mac started has."""
        return self.boot_id != now.boot_id or self.milliseconds < now.milliseconds

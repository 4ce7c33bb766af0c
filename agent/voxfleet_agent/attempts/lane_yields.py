"""Where attempts meet the sessions of their Mac: a lane that stands still, an attempt that is called back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator

from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.attempts.paused_time import Payer
from voxfleet_api.ledger import Activity


class LaneYield:
    """Of one lane for batches. Whoever pauses the lane names the payer before, and the lane says when it stands."""

    def __init__(self, now_seconds: Callable[[], float]) -> None:
        self._now_seconds = now_seconds
        self._meter: LaneMeter | None = None
        self._payer: Payer | None = None
        self._still_since_seconds: float | None = None
        self._paused_seconds = 0.0
        self.called_back = asyncio.Event()
        """Set when the attempt on it has to end after the clips in flight."""

    @property
    def held(self) -> bool:
        """Whether an attempt holds the lane."""
        return self._meter is not None and not self._meter.stopped

    @property
    def works(self) -> bool:
        """Whether that attempt is past its setup, in which a ladder may be measured."""
        return self._meter is not None and self.held and self._meter.activity is Activity.WORK

    @property
    def still(self) -> bool:
        return self._still_since_seconds is not None

    @property
    def paused_seconds(self) -> float:
        """For how long it has stood still so far, since the agent started."""
        since = self._still_since_seconds
        return self._paused_seconds + (0.0 if since is None else self._now_seconds() - since)

    def attempt_begins(self, meter: LaneMeter) -> None:
        self._meter = meter
        self.called_back.clear()
        self._settle()

    def pays(self, payer: Payer | None) -> None:
        """Who pays for the time in which the lane stands still."""
        self._payer = payer
        self._settle()

    def stands(self, still: bool) -> None:
        self._paused_seconds = self.paused_seconds
        self._still_since_seconds = self._now_seconds() if still else None
        self._settle()

    def _settle(self) -> None:
        if self._meter is not None:
            self._meter.pay(self._payer if self.still else None)


class LaneYields:
    """Of every lane for batches of this agent, by its name."""

    def __init__(self, now_seconds: Callable[[], float] = time.monotonic) -> None:
        self._now_seconds = now_seconds
        self._lanes: dict[str, LaneYield] = {}
        self.takes_batches = True
        """Whether the Mac takes further attempts that need a lane."""
        self.evictions: Counter[str] = Counter()
        """Shards that went back, by cause."""
        self.long_steps: Counter[str] = Counter()
        """Steps that took longer than a quantum, by lane."""

    def of(self, lane: str) -> LaneYield:
        return self._lanes.setdefault(lane, LaneYield(self._now_seconds))

    def __iter__(self) -> Iterator[tuple[str, LaneYield]]:
        return iter(sorted(self._lanes.items()))

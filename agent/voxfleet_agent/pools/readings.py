"""A lane's readings over the lives of several children. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from voxfleet_agent.pools.messages import ChildReadings
from voxfleet_api.results import LaneReadings


@dataclass(slots=True)
class Tally:
    """Since the last `load` of a lane."""

    ring_bytes: int = 0
    restarts: Counter[str] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)
    """Of rings that went with their child."""
    ended: ChildReadings = field(default_factory=ChildReadings)
    living: ChildReadings = field(default_factory=ChildReadings)
    """As the living child last told."""

    def child_gone(self) -> None:
        self.ended = merged(self.ended, self.living)
        self.living = ChildReadings()

    def readings(self, batch_size: int) -> LaneReadings:
        total = merged(self.ended, self.living)
        return LaneReadings(
            ring_bytes=self.ring_bytes,
            ring_high_water_bytes=total.ring_high_water_bytes,
            ring_underruns=total.ring_underruns,
            ring_resets=dict(sorted((Counter(total.ring_resets) + self.resets).items())),
            peak_rss_bytes=total.peak_rss_bytes,
            metal_peak_bytes=total.metal_peak_bytes,
            restarts=dict(sorted(self.restarts.items())),
            batch_size=batch_size,
        )


def merged(first: ChildReadings, second: ChildReadings) -> ChildReadings:
    """Peaks are the higher of the two, counts their sum."""
    metal = [peak for peak in (first.metal_peak_bytes, second.metal_peak_bytes) if peak is not None]
    return ChildReadings(
        ring_high_water_bytes=max(first.ring_high_water_bytes, second.ring_high_water_bytes),
        ring_underruns=first.ring_underruns + second.ring_underruns,
        ring_resets=dict(Counter(first.ring_resets) + Counter(second.ring_resets)),
        peak_rss_bytes=max(first.peak_rss_bytes, second.peak_rss_bytes),
        metal_peak_bytes=max(metal, default=None),
    )

"""Rows of one lane that claim the same time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from voxfleet_billing.finding import Check, Finding


@dataclass(frozen=True, slots=True)
class HeldTime:
    """When a row held its lane."""

    month: str
    hardware_id: str
    lane: str
    start: datetime
    end: datetime
    row_name: str


def overlaps(mac: str, held: Iterable[HeldTime]) -> Iterator[Finding]:
    """Names the later row of each pair that overlaps."""
    ordered = sorted(held, key=attrgetter("hardware_id", "lane", "start", "end"))
    for _, lane in groupby(ordered, key=attrgetter("hardware_id", "lane")):
        latest: HeldTime | None = None
        for item in lane:
            if latest is not None and item.start < latest.end and item.start < item.end:
                message = f"holds {item.lane} from {_text(item.start)}, and {latest.row_name} until {_text(latest.end)}"
                yield Finding(mac, item.month, Check.OVERLAP, item.row_name, message)
            if latest is None or item.end > latest.end:
                latest = item


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")

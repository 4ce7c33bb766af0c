"""A VoiceEndpoint's machine time. It is always summed from what statements count and never kept as a counter. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.kinds.endpoint_status import EndpointUsage
from voxfleet_api.moments import timestamp
from voxfleet_api.quantities import seconds_milliseconds, seconds_text

INTERVAL = timedelta(hours=1)
"""As statements: an idle endpoint still holds lanes, so that its usage grows for ever."""


@dataclass(frozen=True, slots=True)
class EndpointSum:
    productive_milliseconds: int = 0
    overhead_milliseconds: int = 0
    rows: int = 0


def endpoint_sums(statements: Iterable[MachineHourStatement]) -> Mapping[str, EndpointSum]:
    """By the endpoint's UID: over all Macs and months."""
    sums: dict[str, EndpointSum] = {}
    for statement in statements:
        for time in statement.status.endpoints:
            before = sums.get(time.uid, EndpointSum())
            sums[time.uid] = EndpointSum(
                before.productive_milliseconds + seconds_milliseconds(time.productive_seconds),
                before.overhead_milliseconds + seconds_milliseconds(time.overhead_seconds),
                before.rows + time.rows,
            )
    return sums


def endpoint_usage(old: EndpointUsage | None, found: EndpointSum | None, now: datetime) -> EndpointUsage | None:
    """The usage to show: what was found, once an hour and if it differs; else the old one.

    A time of the old one that lies ahead is of a clock that was fast, and holds nothing up.
    """
    if found is None:
        return old
    productive, overhead = found.productive_milliseconds, found.overhead_milliseconds
    new = EndpointUsage(
        machine_seconds=seconds_text(productive + overhead),
        productive_seconds=seconds_text(productive),
        overhead_seconds=seconds_text(overhead),
        rows=found.rows,
        updated_at=timestamp(now),
    )
    if old is None or old.updated_at is None:
        return new
    age = now - datetime.fromisoformat(old.updated_at)
    differs = new.model_copy(update={"updated_at": old.updated_at}) != old
    return new if differs and not timedelta(0) <= age < INTERVAL else old

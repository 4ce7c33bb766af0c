"""What of a statement's time VoiceEndpoints took, within a bound. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from voxfleet_api.kinds.machine_hour_statement import MAX_ENDPOINTS, EndpointTime
from voxfleet_api.quantities import seconds_milliseconds, seconds_text
from voxfleet_billing.archive_format import TimeClass


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """What of a row of a warm lane is counted."""

    uid: str
    time_class: TimeClass
    milliseconds: int


def with_endpoint_rows(before: Iterable[EndpointTime], rows: Iterable[EndpointRow]) -> tuple[EndpointTime, ...]:
    """Adds rows of the statement's month. Where there is no room, those that took least are left out.

    Those with rows among these come first: one that is in use would else lose its time with each write, and never grow
    as large as those that are gone.
    """
    times, grown = {item.uid: item for item in before}, set[str]()
    for row in rows:
        times[row.uid] = _added(times.get(row.uid, EndpointTime(uid=row.uid)), row)
        grown.add(row.uid)
    kept_first = sorted(times.values(), key=lambda item: (item.uid not in grown, -machine_milliseconds(item), item.uid))
    most = kept_first[:MAX_ENDPOINTS]
    return tuple(sorted(most, key=lambda item: item.uid))


def machine_milliseconds(time: EndpointTime) -> int:
    return seconds_milliseconds(time.productive_seconds) + seconds_milliseconds(time.overhead_seconds)


def _added(time: EndpointTime, row: EndpointRow) -> EndpointTime:
    field = "productive_seconds" if row.time_class is TimeClass.PRODUCTIVE else "overhead_seconds"
    milliseconds = seconds_milliseconds(getattr(time, field)) + row.milliseconds
    changed: Mapping[str, object] = {field: seconds_text(milliseconds), "rows": time.rows + 1}
    return time.model_copy(update=changed)

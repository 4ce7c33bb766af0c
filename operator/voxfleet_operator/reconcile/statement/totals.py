"""The totals of a statement: machine time by namespace, billing key and class, within a bound. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from voxfleet_api.kinds.machine_hour_statement import (
    MAX_TOTALS,
    MachineHourStatementStatus,
    StatementCorrection,
    StatementTotal,
)
from voxfleet_api.quantities import hours_text, seconds_milliseconds, seconds_text
from voxfleet_api.stored_size import stored_bytes
from voxfleet_billing.archive_format import TimeClass
from voxfleet_operator.fleet.verified_row import NO_MONTH

TOTALS_BYTES = 4_000
LONGEST_KEY = 63
OTHERS = ""
"""The namespace of those that are not listed."""
FIELDS = {
    TimeClass.PRODUCTIVE: "productive_seconds",
    TimeClass.RETRY: "retry_seconds",
    TimeClass.OVERHEAD: "overhead_seconds",
    TimeClass.ORPHANED: "orphaned_seconds",
}

NO_CORRECTION = StatementCorrection(month=NO_MONTH, machine_seconds="0.000", rows=0)
"""To begin one with."""

_Group = tuple[str, str | None, str]


@dataclass(frozen=True, slots=True)
class CountedRow:
    """What totals need of a row."""

    month: str
    """That it belongs to."""
    namespace: str
    billing_key: str | None
    time_class: TimeClass
    milliseconds: int
    audio_milliseconds: int
    clips: int


def with_rows(status: MachineHourStatementStatus, month: str, rows: Iterable[CountedRow]) -> MachineHourStatementStatus:
    """Adds rows to the totals of a month's statement, and those of other months to its corrections."""
    counted = [row for row in rows if row.time_class is not TimeClass.FOREIGN]
    own = [row for row in counted if row.month == month]
    sums = {field: seconds_milliseconds(getattr(status, field)) for field in (*FIELDS.values(), "audio_seconds")}
    for row in own:
        sums[FIELDS[row.time_class]] += row.milliseconds
        sums["audio_seconds"] += row.audio_milliseconds
    machine = sum(sums[field] for field in FIELDS.values())
    return status.model_copy(
        update={
            "machine_hours": hours_text(machine),
            "machine_seconds": seconds_text(machine),
            **{field: seconds_text(milliseconds) for field, milliseconds in sums.items()},
            "clips": status.clips + sum(row.clips for row in own),
            "rows": status.rows + len(own),
            "totals": _totals(status.totals, own),
            "corrections": _corrections(status.corrections, (row for row in counted if row.month != month)),
        }
    )


@dataclass(slots=True)
class _Sum:
    machine: int = 0
    audio: int = 0
    clips: int = 0

    def add(self, machine: int, audio: int, clips: int) -> None:
        self.machine, self.audio, self.clips = self.machine + machine, self.audio + audio, self.clips + clips


def _totals(before: Iterable[StatementTotal], rows: Iterable[CountedRow]) -> tuple[StatementTotal, ...]:
    sums: dict[_Group, _Sum] = {}
    for item in before:
        group = (item.namespace, item.billing_key, item.time_class)
        milliseconds = seconds_milliseconds(item.machine_seconds), seconds_milliseconds(item.audio_seconds)
        sums.setdefault(group, _Sum()).add(*milliseconds, item.clips)
    for row in rows:
        group = (row.namespace, (row.billing_key or "")[:LONGEST_KEY] or None, row.time_class.value)
        sums.setdefault(group, _Sum()).add(row.milliseconds, row.audio_milliseconds, row.clips)
    return _fitted(sums)


def _fitted(sums: Mapping[_Group, _Sum]) -> tuple[StatementTotal, ...]:
    """The largest; the others are added up by class."""
    others: dict[str, _Sum] = {item.value: _Sum() for item in FIELDS}
    listed: list[StatementTotal] = []
    left_bytes, left = TOTALS_BYTES, MAX_TOTALS - len(others)
    by_size = sorted(sums.items(), key=lambda item: (-item[1].machine, str(item[0])))
    for (namespace, billing_key, time_class), found in by_size:
        total = _total(namespace, billing_key, time_class, found)
        left_bytes, left = left_bytes - stored_bytes(total), left - 1
        if namespace == OTHERS or left_bytes < 0 or left < 0:
            others.setdefault(time_class, _Sum()).add(found.machine, found.audio, found.clips)
        else:
            listed.append(total)
    rest = [_total(OTHERS, None, time_class, found) for time_class, found in others.items() if found != _Sum()]
    ordered = sorted(listed, key=lambda item: (item.namespace, item.billing_key or "", item.time_class))
    return (*ordered, *sorted(rest, key=lambda item: item.time_class))


def _total(namespace: str, billing_key: str | None, time_class: str, found: _Sum) -> StatementTotal:
    return StatementTotal(
        namespace=namespace,
        billing_key=billing_key,
        time_class=time_class,
        machine_seconds=seconds_text(found.machine),
        audio_seconds=seconds_text(found.audio),
        clips=found.clips,
    )


def _corrections(before: Iterable[StatementCorrection], rows: Iterable[CountedRow]) -> tuple[StatementCorrection, ...]:
    corrections = {item.month: item for item in before}
    sums = {item.month: (seconds_milliseconds(item.machine_seconds), item.rows) for item in corrections.values()}
    for row in rows:
        milliseconds, count = sums.get(row.month, (0, 0))
        sums[row.month] = milliseconds + row.milliseconds, count + 1
    return tuple(
        corrections.get(month, NO_CORRECTION).model_copy(
            update={"month": month, "machine_seconds": seconds_text(milliseconds), "rows": count}
        )
        for month, (milliseconds, count) in sorted(sums.items())
    )

"""The totals of a statement: machine time by namespace, billing key and class, within a bound. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

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
from voxfleet_operator.reconcile.statement.endpoint_times import EndpointRow, with_endpoint_rows

TOTALS_BYTES = 4_000
LONGEST_KEY = 63
OTHERS = ""
"""The namespace of those that are not listed."""
MIXED = "Mixed"
"""The class of a payer's time for which there is no room by class."""
FIELDS = {
    TimeClass.PRODUCTIVE: "productive_seconds",
    TimeClass.RETRY: "retry_seconds",
    TimeClass.OVERHEAD: "overhead_seconds",
    TimeClass.ORPHANED: "orphaned_seconds",
}

NO_CORRECTION = StatementCorrection(month=NO_MONTH, machine_seconds="0.000", rows=0)
"""To begin one with."""

_Payer = tuple[str, str | None]
_Group = tuple[str, str | None, str]
OTHERS_ENTRIES = len(FIELDS) + 1


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
    endpoint_uid: str | None = None
    """Of the VoiceEndpoint whose warm lane it is of; None: of an attempt."""


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
            "endpoints": with_endpoint_rows(
                status.endpoints,
                (
                    EndpointRow(row.endpoint_uid, row.time_class, row.milliseconds)
                    for row in own
                    if row.endpoint_uid is not None
                ),
            ),
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
    """Each payer by class. Where there is no room for that, the smaller payers have one entry for all classes, because
    budgets ask who has used how much; where there is none for that either, the smallest are added up by class.
    """
    all_payers, others = _by_payer(sums)
    payers = all_payers[: MAX_TOTALS - OTHERS_ENTRIES]
    apart = [[_total(*payer, name, found) for name, found in classes.items()] for payer, classes in payers]
    merged = [[_merged(payer, classes)] for payer, classes in payers]
    split = next((number for number in range(len(payers), 0, -1) if _fit(apart[:number] + merged[number:])), 0)
    listed = apart[:split] + merged[split:]
    while not _fit(listed):
        listed.pop()
    for _, classes in all_payers[len(listed) :]:
        for name, found in classes.items():
            others.setdefault(name, _Sum()).add(found.machine, found.audio, found.clips)
    ordered = sorted(
        chain.from_iterable(listed), key=lambda item: (item.namespace, item.billing_key or "", item.time_class)
    )
    return (*ordered, *(_total(OTHERS, None, name, found) for name, found in sorted(others.items())))


_Classes = dict[str, _Sum]


def _by_payer(sums: Mapping[_Group, _Sum]) -> tuple[list[tuple[_Payer, _Classes]], _Classes]:
    """The payers, who used most first, and what is of nobody that is listed."""
    payers: dict[_Payer, _Classes] = {}
    others: _Classes = {}
    for (namespace, billing_key, time_class), found in sums.items():
        classes = others if namespace == OTHERS else payers.setdefault((namespace, billing_key), {})
        classes.setdefault(time_class, _Sum()).add(found.machine, found.audio, found.clips)
    for payer, classes in payers.items():
        if MIXED in classes:  # of before: nobody knows any more of which classes
            payers[payer] = {MIXED: _added_up(classes)}
    return sorted(payers.items(), key=lambda item: (-_added_up(item[1]).machine, str(item[0]))), others


def _merged(payer: _Payer, classes: _Classes) -> StatementTotal:
    name = MIXED if len(classes) > 1 else next(iter(classes))
    return _total(*payer, name, _added_up(classes))


def _added_up(classes: _Classes) -> _Sum:
    added = _Sum()
    for found in classes.values():
        added.add(found.machine, found.audio, found.clips)
    return added


def _fit(listed: Iterable[Iterable[StatementTotal]]) -> bool:
    entries = [*chain.from_iterable(listed)]
    return len(entries) <= MAX_TOTALS - OTHERS_ENTRIES and sum(map(stored_bytes, entries)) <= TOTALS_BYTES


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

"""What one fleet run left behind, held against what was promised. Pure: the promises are the simulator's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tests.sim.history import Span
from tests.sim.invariants import (
    EndedJob,
    Left,
    an_attempt_has_one_machine,
    every_clip_has_one_row,
    macs_do_not_share_a_shard,
    nothing_is_left,
    status_is_bounded,
    usage_is_what_was_signed,
)
from tests.soak.findings import Findings, count_rows, double_billed_seconds

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.ledger import LedgerRow
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_api.rows import ClipStatus, ResultRow

NOTICED_SECONDS = 5.0
"""In which an agent that was frozen notices that its lease is over, and frees its lane."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time in which a Mac's agent was stopped, so that it could not know of its lease."""

    mac: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class RunFacts:
    """All of one run, gathered once its job has ended and once more when the job was deleted."""

    job: EndedJob
    clips: Sequence[tuple[str, str | None]]
    """Id and expected text of each clip; no text: it is to be quarantined."""
    rows: Sequence[ResultRow]
    signed: Mapping[str, Sequence[LedgerRow]]
    """The rows that each Mac signed for the job."""
    unverified_attempts: int = 0
    seen: Mapping[AttemptKey, set[str]] = field(default_factory=dict)
    """The Macs that were seen to have each attempt."""
    freezes: Sequence[Freeze] = ()
    late_seconds: float = 0.0
    """By how much a message may have arrived after the operator's margin."""
    largest_status_bytes: Mapping[str, int] = field(default_factory=dict)
    left: Left = field(default_factory=Left)
    residue_bytes: int = 0
    troubles: Sequence[str] = ()
    """What was seen on the way that must never be."""


def judge(facts: RunFacts) -> Findings:
    lost, duplicated = count_rows(facts.rows, len(facts.clips))
    return Findings(
        lost=lost,
        duplicated=duplicated,
        double_billed_seconds=round(sum(double_billed_seconds(rows) for rows in facts.signed.values()), 3),
        residue_bytes=facts.residue_bytes,
        failures=[
            *facts.troubles,
            *job_is_complete(facts.job),
            *every_clip_has_one_row(facts.job),
            *rows_are_what_was_said(facts.rows, facts.clips),
            *usage_is_what_was_signed(facts.job),
            *all_rows_are_verified(facts),
            *an_attempt_has_one_machine(machines(facts)),
            *macs_do_not_share_a_shard(worked(facts.signed, facts.freezes), facts.late_seconds),
            *status_is_bounded(facts.largest_status_bytes),
            *nothing_is_left(facts.left),
        ],
    )


@dataclass(frozen=True, slots=True)
class BookedMac:
    """A Mac at the end of its life: every row that it signed, and its statements."""

    rows: Sequence[LedgerRow]
    statements: list[MachineHourStatement]


def statements_are_what_was_signed(macs: Mapping[str, BookedMac]) -> list[str]:
    """Every row is counted in exactly one month, and no second of a lane was signed twice."""
    broken = []
    for name, mac in macs.items():
        if seconds := double_billed_seconds(mac.rows):
            broken.append(f"{name} signed {seconds} s twice")
        counted = sum(statement.status.rows for statement in mac.statements)
        if counted != len(mac.rows):
            broken.append(f"the statements of {name} count {counted} of {len(mac.rows)} signed rows")
        signed = sum(row.monotonic_milliseconds for row in mac.rows)
        told = sum(seconds_milliseconds(statement.status.machine_seconds) for statement in mac.statements)
        if told != signed:
            broken.append(f"the statements of {name} bill {told} ms, {signed} ms were signed")
    return broken


def job_is_complete(job: EndedJob) -> list[str]:
    """No fault of the soak is one for which a job may fail."""
    return [] if job.complete else [f"{job.name} ended without being complete"]


def rows_are_what_was_said(rows: Iterable[ResultRow], clips: Sequence[tuple[str, str | None]]) -> list[str]:
    """Whatever was hurt: each clip's text is what a quiet run hears."""
    broken = []
    for row in rows:
        if row.index >= len(clips):
            continue  # counted as duplicated
        name, text = clips[row.index]
        wanted = ClipStatus.QUARANTINED if text is None else ClipStatus.SUCCEEDED
        if (row.custom_id, row.status, row.text) != (name, wanted, text):
            broken.append(
                f"clip {row.index} is {row.custom_id}, {row.status}, {row.text!r}; expected {name}, {wanted}, {text!r}"
            )
    return broken


def all_rows_are_verified(facts: RunFacts) -> list[str]:
    broken = [] if facts.job.settled else [f"{facts.job.name} is not settled"]
    if facts.unverified_attempts:
        broken.append(f"{facts.unverified_attempts} attempts of {facts.job.name} are given up as unverified")
    return broken


def machines(facts: RunFacts) -> dict[AttemptKey, set[str]]:
    """The Macs that had each attempt: seen while it ran, or told by the rows that they signed."""
    found = {key: set(macs) for key, macs in facts.seen.items()}
    for mac, rows in facts.signed.items():
        for row in rows:
            found.setdefault(AttemptKey(row.shard_uid, row.attempt), set()).add(mac)
    return found


def worked(signed: Mapping[str, Sequence[LedgerRow]], freezes: Sequence[Freeze]) -> list[Span]:
    """When each Mac held a lane for which attempt, without the times in which its agent could not know better."""
    return [
        Span(AttemptKey(row.shard_uid, row.attempt), mac, began, ended)
        for mac, rows in signed.items()
        for row in rows
        for began, ended in _without(
            (_seconds(row.wall_start), _seconds(row.wall_end)),
            [(freeze.began, freeze.ended + NOTICED_SECONDS) for freeze in freezes if freeze.mac == mac],
        )
    ]


def _without(time: tuple[float, float], excused: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    began, ended = time
    for first, last in sorted(excused):
        if last <= began or first >= ended:
            continue
        if first > began:
            yield began, first
        began = last
    if began < ended:
        yield began, ended


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()

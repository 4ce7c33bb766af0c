"""What no signed row proves, because a Mac is gone: from its shards into the archive's index, and what a statement says
of it. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.machine_hour_statement import MachineHourStatementStatus
from voxfleet_api.ledger import RowOwner
from voxfleet_api.quantities import seconds_text
from voxfleet_billing.archive_format import (
    MonthIndex,
    ReplacedEstimate,
    SettledAttempt,
    SettlementRecord,
    TimeClass,
)
from voxfleet_billing.archive_writer import Change, Revision, SegmentOf
from voxfleet_operator.reconcile.statement.decide import SettledRow, SettledRun
from voxfleet_operator.reconcile.statement.totals import NO_CORRECTION

Estimates = Mapping[AttemptKey, SettlementRecord]
"""Each record is of one attempt."""


def estimated_macs(shard: AudioShard) -> frozenset[str]:
    """The Macs that had attempts of the shard of which something was estimated."""
    return frozenset(
        record.mac for record in shard.status.attempts if record.usage is not None and record.usage.estimate is not None
    )


def estimates_of(
    shard: AudioShard, job: AudioBatchJob | None, mac: str, now: str
) -> dict[str, dict[AttemptKey, SettlementRecord]]:
    """By month: what the Mac's attempts of the shard are estimated at."""
    found: dict[str, dict[AttemptKey, SettlementRecord]] = {}
    ref = shard.spec.job_ref
    owner = RowOwner(kind=AudioBatchJob.crd.kind, namespace=shard.metadata.namespace, name=ref.name, uid=ref.uid)
    for record in shard.status.attempts:
        usage = record.usage
        if record.mac != mac or usage is None or usage.estimate is None:
            continue
        delivered = shard.status.commit is not None and shard.status.commit.attempt == record.attempt
        settled = SettledAttempt(
            attempt=record.attempt,
            hardware_id=None if record.machine is None else record.machine.hardware_id,
            work=TimeClass.PRODUCTIVE if delivered else TimeClass.RETRY,
            estimated_milliseconds=usage.estimate.milliseconds,
            proven_chain_id=usage.chain_id if usage.rows else None,
            proven_sequence=usage.last_sequence if usage.rows else -1,
        )
        found.setdefault(usage.estimate.month, {})[AttemptKey(shard.metadata.uid, record.attempt)] = SettlementRecord(
            owner=owner,
            shard_uid=shard.metadata.uid,
            billing_key=None if job is None else job.spec.billing_key,
            settled_at=now,
            attempts=(settled,),
        )
    return found


def archived_estimates(index: MonthIndex) -> Estimates:
    return {
        AttemptKey(record.shard_uid, item.attempt): record for record in index.estimates for item in record.attempts
    }


def lacks(index: MonthIndex, wanted: Estimates) -> bool:
    return bool(wanted.keys() - archived_estimates(index).keys())


def adding(wanted: Estimates) -> Change:
    """Adds those that the index does not have yet."""

    def change(index: MonthIndex, _: SegmentOf) -> Revision | None:
        known = archived_estimates(index)
        new = tuple(record for key, record in sorted(wanted.items()) if key not in known)
        return Revision(index.next(estimates=(*index.estimates, *new))) if new else None

    return change


def removing(replaced: Iterable[AttemptKey]) -> Change:
    """Takes out those that signed rows replace."""
    gone = frozenset(replaced)

    def change(index: MonthIndex, _: SegmentOf) -> Revision | None:
        left = tuple(record for key, record in archived_estimates(index).items() if key not in gone)
        return Revision(index.next(estimates=left)) if len(left) < len(index.estimates) else None

    return change


def correcting(month: str, replaced: Estimates) -> Change:
    """Notes that signed rows have replaced estimates of a month that never changes."""

    def change(index: MonthIndex, _: SegmentOf) -> Revision | None:
        known = {AttemptKey(item.shard_uid, item.attempt) for item in index.replaced_estimates}
        new = tuple(
            ReplacedEstimate(shard_uid=key.shard_uid, attempt=key.attempt, month=month, milliseconds=milliseconds)
            for key, record in sorted(replaced.items())
            if key not in known and (milliseconds := sum(item.estimated_milliseconds for item in record.attempts))
        )
        return Revision(index.next(replaced_estimates=(*index.replaced_estimates, *new))) if new else None

    return change


def replaced_by(index: MonthIndex, run: SettledRun) -> Estimates:
    """The estimates of attempts that the run has rows of which were not known when they were estimated."""
    estimates = archived_estimates(index)
    return {
        item.row.attempt: record
        for item in run.rows
        if item.row.ours and (record := estimates.get(item.row.attempt)) is not None and _is_new(item, record)
    }


def _is_new(item: SettledRow, record: SettlementRecord) -> bool:
    known = record.attempts[0]
    return item.row.chain_id != known.proven_chain_id or item.row.sequence > known.proven_sequence


def classed(run: SettledRun, estimates: Estimates) -> SettledRun:
    """Rows of a shard that is gone have the class under which their attempt was estimated."""
    return replace(
        run,
        rows=tuple(
            replace(item, work=TimeClass(estimates[item.row.attempt].attempts[0].work))
            if item.work is TimeClass.ORPHANED and item.row.attempt in estimates
            else item
            for item in run.rows
        ),
    )


def with_estimates(status: MachineHourStatementStatus, index: MonthIndex) -> MachineHourStatementStatus:
    """What the first statement of a month says of estimates: its own, and those of other months that rows replaced."""
    sums: Counter[str] = Counter()
    for item in index.replaced_estimates:
        sums[item.month] += item.milliseconds
    corrections = {item.month: item for item in status.corrections}
    for month, milliseconds in sums.items():
        corrections[month] = corrections.get(month, NO_CORRECTION).model_copy(
            update={"month": month, "estimated_seconds": seconds_text(milliseconds)}
        )
    return status.model_copy(
        update={
            "estimated_seconds": seconds_text(index.estimated_milliseconds),
            "corrections": tuple(corrections[month] for month in sorted(corrections)),
        }
    )


def says_estimates(status: MachineHourStatementStatus, index: MonthIndex) -> bool:
    return with_estimates(status, index) == status


def months_between(first: str, last: str, most: int) -> list[str]:
    """From the first to the last month, but no more than so many: the newest."""
    year, number = int(last[:4]), int(last[5:])
    months = [last]
    while months[0] > first and len(months) < most:
        year, number = (year, number - 1) if number > 1 else (year - 1, 12)
        months.insert(0, f"{year:04d}-{number:02d}")
    return months

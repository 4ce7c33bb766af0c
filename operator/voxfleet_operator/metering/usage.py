"""A job's machine time. It is always summed from its shards' attempts and never kept as a counter. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptUsage, Stage
from voxfleet_api.kinds.job_status import JobUsage
from voxfleet_api.machine_time import MAX_MACS, MachineTime, MacTime
from voxfleet_api.protocol import AttemptStatus
from voxfleet_api.quantities import hours_text, seconds_text
from voxfleet_api.results import SpentBudget

NO_ROWS = AttemptUsage(chain_id="", first_sequence=0, last_sequence=-1, rows=0, complete=True)
"""The usage of an attempt that is over and never held a lane."""


def attempt_usage(
    report: AttemptStatus | None,
    verified: AttemptUsage | None,
    *,
    expecting: bool,
) -> AttemptUsage | None:
    """The usage to record for an attempt that ended, or None while its last rows are still expected.

    `report` is what the Mac says about it, and `verified` is the sum of its rows verified so far. `expecting` says that
    the Mac is in contact and its ledger verifies, so missing rows are on their way. No outcome says that there are
    none: an attempt that was refused or taken back may have run before, and a new process has no report of it yet.
    """
    if _sealed(report, verified, expecting=expecting):
        return (verified or NO_ROWS).model_copy(update={"complete": True})
    return None if expecting else verified


def _sealed(report: AttemptStatus | None, verified: AttemptUsage | None, *, expecting: bool) -> bool:
    """Whether no more rows can arrive."""
    if report is None:
        return expecting  # the agent has sealed everything and forgotten the attempt
    if not report.has_ended:
        return False
    if report.ledger is None:
        return True
    return verified is not None and (verified.chain_id, verified.first_sequence, verified.last_sequence) == (
        report.ledger.chain_id,
        report.ledger.first_sequence,
        report.ledger.last_sequence,
    )


def newer(recorded: AttemptUsage | None, found: AttemptUsage | None) -> bool:
    """Whether `found` covers more than `recorded`. Sums never shrink."""
    if found is None or recorded is None:
        return found is not None
    return (found.rows, found.complete) > (recorded.rows, recorded.complete)


@dataclass(frozen=True, slots=True)
class UsageBound:
    """What a job's attempts can have used by now, although not all of it is known."""

    seconds: float
    growing_lanes: int
    """By how many seconds it grows each second."""


def usage_bound(shards: Iterable[AudioShard], now: datetime, lost_seconds: Mapping[str, float]) -> UsageBound:
    """Verified rows, and for what is not all verified the time since, or for which, it was assigned.

    An attempt holds one lane, not before it is assigned and not once its Mac is lost, so that the job's usage never
    exceeds this bound. `lost_seconds`: for how long that has been so, by the shard's UID. Such an attempt still counts
    as a lane that grows, because its Mac may come back at any time.
    """
    milliseconds, lanes = 0.0, 0
    for shard in shards:
        if shard.spec.stage is not Stage.PROCESS:
            continue
        milliseconds += 0 if shard.status.folded is None else shard.status.folded.machine_milliseconds
        for record in shard.status.attempts:
            usage = record.usage or NO_ROWS
            held_seconds: float = 0 if record.usage is not None and usage.complete else record.held_seconds or 0
            if record.outcome is AttemptOutcome.ASSIGNED:
                lanes += 1
                if shard.status.assigned_at is not None:
                    held_seconds = (now - datetime.fromisoformat(shard.status.assigned_at)).total_seconds()
                    held_seconds -= lost_seconds.get(shard.metadata.uid, 0.0)
            milliseconds += max(usage.machine_milliseconds, 1000 * held_seconds)
    return UsageBound(milliseconds / 1000, lanes)


def job_usage(shards: Iterable[AudioShard], *, ended: bool) -> JobUsage:
    """Counts the work of committed attempts as productive, of others as retry, and setup and cleanup as overhead.

    `ended` says that the job assigns no more attempts. Usage is settled once the job and all its attempts have ended
    and all rows are verified.
    """
    productive = retry = overhead = audio = rows = unverified = estimated = 0
    settled = ended
    for shard in shards:
        if shard.spec.stage is not Stage.PROCESS:
            continue  # it holds no lane, so there is nothing to pay for
        commit, folded = shard.status.commit, shard.status.folded
        if folded is not None:
            overhead += folded.setup_milliseconds + folded.cleanup_milliseconds
            audio += folded.audio_milliseconds
            rows += folded.rows
            unverified += folded.unsettled
            retry += folded.work_milliseconds
        for record in shard.status.attempts:
            usage = record.usage or NO_ROWS
            if record.outcome is AttemptOutcome.ASSIGNED or record.usage is None or not usage.complete:
                settled = False
            overhead += usage.setup_milliseconds + usage.cleanup_milliseconds
            audio += usage.audio_milliseconds
            rows += usage.rows
            unverified += usage.given_up
            estimated += 0 if usage.estimate is None else usage.estimate.milliseconds
            if commit is not None and commit.attempt == record.attempt:
                productive += usage.work_milliseconds
            else:
                retry += usage.work_milliseconds
    machine = productive + retry + overhead
    return JobUsage(
        machine_hours=hours_text(machine),
        machine_seconds=seconds_text(machine),
        productive_seconds=seconds_text(productive),
        retry_seconds=seconds_text(retry),
        overhead_seconds=seconds_text(overhead),
        audio_seconds=seconds_text(audio),
        estimated_seconds=seconds_text(estimated) if estimated else None,
        rows=rows,
        unverified_attempts=unverified,
        settled=settled,
    )


def machine_time(shards: Iterable[AudioShard]) -> MachineTime:
    """Machine time by Mac, of the rows that are verified now. Its sums are those of `job_usage`."""
    sums: dict[str | None, Counter[str]] = {}
    audio = still_open = unverified = 0
    spent: list[SpentBudget] = []
    for shard in shards:
        if shard.spec.stage is not Stage.PROCESS:
            continue
        spent += [] if shard.status.spent_budget is None else [shard.status.spent_budget]
        commit, folded = shard.status.commit, shard.status.folded
        if folded is not None and folded.attempts:
            overhead = folded.setup_milliseconds + folded.cleanup_milliseconds
            _add(sums, None, retry=folded.work_milliseconds, overhead=overhead, rows=folded.rows)
            audio += folded.audio_milliseconds
            unverified += folded.unsettled
        for record in shard.status.attempts:
            usage = record.usage or NO_ROWS
            delivered = commit is not None and commit.attempt == record.attempt
            if record.outcome is AttemptOutcome.ASSIGNED or record.usage is None or not usage.complete:
                still_open += 1
            audio += usage.audio_milliseconds
            unverified += usage.given_up
            if usage.rows:
                _add(
                    sums,
                    record.mac,
                    overhead=usage.setup_milliseconds + usage.cleanup_milliseconds,
                    rows=usage.rows,
                    **{"productive" if delivered else "retry": usage.work_milliseconds},
                )
    return MachineTime(
        macs=_most_used(sums),
        audio_milliseconds=audio,
        open_attempts=still_open,
        unverified_attempts=unverified,
        spent_budget=most_spent(spent),
    )


def most_spent(spent: Sequence[SpentBudget]) -> SpentBudget | None:
    """Of any Mac. Each attempt tells what was spent on its Mac until then, so the largest counts. None: none told."""
    if not spent:
        return None
    return SpentBudget(
        retries_in_an_hour=max(item.retries_in_an_hour for item in spent),
        quarantined_audio_milliseconds=max(item.quarantined_audio_milliseconds for item in spent),
    )


def _add(sums: dict[str | None, Counter[str]], mac: str | None, **parts: int) -> None:
    sums.setdefault(mac, Counter()).update(parts)


def _most_used(sums: Mapping[str | None, Counter[str]]) -> tuple[MacTime, ...]:
    """The Macs that used most, and the rest as one."""
    times = [_mac_time(mac, parts) for mac, parts in sums.items() if mac is not None]
    times.sort(key=lambda time: (-time.machine_milliseconds, time.mac))
    rest = sum([sums[time.mac] for time in times[MAX_MACS:]], sums.get(None, Counter[str]()))
    return (*times[:MAX_MACS], *([_mac_time(None, rest)] if rest else []))


def _mac_time(mac: str | None, parts: Counter[str]) -> MacTime:
    return MacTime(
        mac=mac,
        productive_milliseconds=parts["productive"],
        retry_milliseconds=parts["retry"],
        overhead_milliseconds=parts["overhead"],
        rows=parts["rows"],
    )

"""What must hold in every run, whatever fails. Each check returns what it found broken, as text. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.sim.history import PaidTime, Span

from voxfleet_api.attempt_spec import AttemptKey

OVERLAP_SECONDS = 0.0
"""How long two Macs may work on one shard, given that no message arrives later than network.LATEST_SECONDS.

The margin of 60 s covers a message's way and the second in which an agent looks at its leases. Work counts until the
agent decides to stop it: a child may take another 25 s to die, but nothing that it does then is recorded.
"""
STATUS_LIMIT_BYTES = 64_000
"""ADR 44."""
TIE_SECONDS = 1e-6


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job as its status shows it once it has ended, and what the store holds of it."""

    name: str
    complete: bool
    total: int
    counts: Mapping[str, int]
    """Clips by outcome, as status says."""
    rows: Mapping[int, Sequence[str]] | None
    """Clip index to its rows in the results; None if the job was never finalized."""
    usage_milliseconds: int
    settled: bool
    signed_milliseconds: int
    """The sum of all rows that machines signed for it."""
    reachable: bool = True
    """Whether all machines that signed rows for it can still deliver them."""


@dataclass(frozen=True, slots=True)
class ExhaustedShard:
    """A shard that failed for good because it had no attempt left."""

    name: str
    costly: int
    """Its attempts that failed or were lost; refused ones cost nothing."""


@dataclass(frozen=True, slots=True)
class Left:
    """What is left after everything was deleted, and time was given."""

    jobs: Sequence[str] = ()
    shards: Sequence[str] = ()
    attempts: Mapping[str, Sequence[str]] = ()  # type: ignore[assignment] # by host; an empty tuple is an empty mapping
    lanes: Mapping[str, int] = ()  # type: ignore[assignment]


def every_clip_has_one_row(job: EndedJob) -> list[str]:
    if job.rows is None:
        return [f"{job.name} is complete without results"] if job.complete else []
    broken = [f"{job.name}: clip {index} has rows {list(rows)}" for index, rows in job.rows.items() if len(rows) != 1]
    if sorted(job.rows) != list(range(job.total)):
        broken.append(f"{job.name}: {len(job.rows)} of {job.total} clips are in the results")
    found: dict[str, int] = defaultdict(int)
    for rows in job.rows.values():
        for outcome in rows:
            found[outcome] += 1
    if not broken and dict(found) != {name: count for name, count in job.counts.items() if count}:
        broken.append(f"{job.name}: status counts {dict(job.counts)}, the results {dict(found)}")
    return broken


def no_second_is_signed_twice(paid: Iterable[PaidTime]) -> list[str]:
    """On one lane of one machine, the times that rows stand for do not overlap."""
    lanes: dict[tuple[str, str], list[PaidTime]] = defaultdict(list)
    for item in paid:
        lanes[item.signed.row.hardware_id, item.signed.row.lane].append(item)
    broken = []
    for items in lanes.values():
        items.sort(key=lambda item: (item.began_milliseconds, item.ended_milliseconds))
        for one, other in pairwise(items):
            if other.began_milliseconds < one.ended_milliseconds:
                broken.append(f"rows {one.signed.name} and {other.signed.name} stand for the same time")
    return broken


@dataclass(frozen=True, slots=True)
class CountedMonth:
    """A Mac's month as its statements count it, and as the ledger archive has it up to their cursors."""

    name: str
    counted_milliseconds: int
    archived_milliseconds: int
    counted_estimate_milliseconds: int = 0
    archived_estimate_milliseconds: int = 0


def statements_count_what_is_archived(months: Sequence[CountedMonth], archived: Sequence[str]) -> list[str]:
    """`archived`: the hash of each row, in all months of all Macs."""
    broken = [
        f"{month.name} counts {month.counted_milliseconds} ms, its archive has {month.archived_milliseconds} ms"
        for month in months
        if month.counted_milliseconds != month.archived_milliseconds
    ]
    broken += [
        f"{month.name} estimates {month.counted_estimate_milliseconds} ms,"
        f" its archive {month.archived_estimate_milliseconds} ms"
        for month in months
        if month.counted_estimate_milliseconds != month.archived_estimate_milliseconds
    ]
    twice = len(archived) - len(set(archived))
    return [*broken, f"{twice} rows are archived twice"] if twice else broken


def usage_is_what_was_signed(job: EndedJob) -> list[str]:
    """Never more, and once usage is settled not less."""
    if job.usage_milliseconds > job.signed_milliseconds:
        return [f"{job.name} is billed {job.usage_milliseconds} ms, {job.signed_milliseconds} ms were signed"]
    if job.settled and job.reachable and job.usage_milliseconds < job.signed_milliseconds:
        return [f"{job.name} is settled at {job.usage_milliseconds} of {job.signed_milliseconds} ms"]
    return []


def refusals_cost_no_retry(shard: ExhaustedShard, limit: int) -> list[str]:
    if shard.costly >= limit:
        return []
    return [f"{shard.name} has no attempt left after {shard.costly} of {limit} that failed; busy Macs took the others"]


def an_attempt_has_one_machine(accepted: Mapping[AttemptKey, set[str]]) -> list[str]:
    return [
        f"attempt {key} was taken by {', '.join(sorted(machines))}"
        for key, machines in accepted.items()
        if len(machines) > 1
    ]


def macs_do_not_share_a_shard(spans: Iterable[Span], window_seconds: float = OVERLAP_SECONDS) -> list[str]:
    """No two machines work on a shard at the same time for longer than the window."""
    shards: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        shards[span.key.shard_uid].append(span)
    broken = []
    for items in shards.values():
        items.sort(key=lambda span: (span.began, span.ended))
        for number, one in enumerate(items):
            for other in items[number + 1 :]:
                if other.began >= one.ended - window_seconds - TIE_SECONDS:
                    break
                shared = min(one.ended, other.ended) - other.began
                if one.hardware != other.hardware and shared > window_seconds + TIE_SECONDS:
                    broken.append(
                        f"{one.key} on {one.hardware} and {other.key} on {other.hardware} both ran"
                        f" for {shared:.1f} s from {other.began:.1f}"
                    )
    return broken


def no_work_begins_behind_its_successor(spans: Iterable[Span], assignments: Mapping[AttemptKey, float]) -> list[str]:
    """Once the next attempt is on its way into the shard's status, no Mac starts or resumes an earlier one."""
    broken = []
    for span in spans:
        successor = AttemptKey(span.key.shard_uid, span.key.attempt + 1)
        sent = assignments.get(successor)
        if sent is not None and not span.continued and span.began > sent + TIE_SECONDS:
            broken.append(
                f"{span.key} began on {span.hardware} {span.began - sent:.1f} s after {successor} was assigned"
            )
    return broken


def status_is_bounded(largest_bytes: Mapping[str, int], limit_bytes: int = STATUS_LIMIT_BYTES) -> list[str]:
    return [f"a status of {kind} has {size} bytes" for kind, size in largest_bytes.items() if size > limit_bytes]


def nothing_is_left(left: Left) -> list[str]:
    return [
        *(f"job {name} is left" for name in left.jobs),
        *(f"shard {name} is left" for name in left.shards),
        *(f"{host} holds {', '.join(keys)}" for host, keys in dict(left.attempts).items() if keys),
        *(f"{host} holds {count} lanes for nobody" for host, count in dict(left.lanes).items() if count),
    ]


def tables_forget(tables: Mapping[str, Sequence[str]]) -> list[str]:
    """No table of operator or agent mentions what is gone. `tables` holds what each still says of it."""
    return [f"{table} still has {', '.join(entries)}" for table, entries in tables.items() if entries]

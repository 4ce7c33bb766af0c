"""What each namespace has used of the Macs lately: machine time, of which half counts after twelve hours. Pure.

It is known from what is stored: statements hold it up to their cursors, and shards the attempts behind those.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import exp2

from voxfleet_api.kinds import AudioShard, MachineHourStatement
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.machine_hour_statement import MAX_NAMESPACES, NamespaceUse
from voxfleet_api.ledger import ChainHead
from voxfleet_api.quantities import seconds_milliseconds, seconds_text
from voxfleet_operator.metering.statements import SignedChain

HALF_LIFE_SECONDS = 12 * 3600.0
"""What a night used counts a quarter on the next one."""


def decay(age_seconds: float) -> float:
    """How much of what was used so long ago still counts; all of what a fast clock dates in the future."""
    return exp2(-max(0.0, age_seconds) / HALF_LIFE_SECONDS)


def age_seconds(since: str | None, now: datetime) -> float:
    """0 for what has no time."""
    return max(0.0, (now - datetime.fromisoformat(since)).total_seconds()) if since else 0.0


def with_use(
    before: Iterable[NamespaceUse], since: str | None, added_milliseconds: Mapping[str, int], now: datetime
) -> tuple[NamespaceUse, ...]:
    """What a statement says of each namespace when it counts more rows; `since`: when it last counted some.

    A row counts from then on and not from when the work was done, which is up to an hour earlier. If there are more
    namespaces than a statement lists, those that used least are left out.
    """
    left = decay(age_seconds(since, now))
    used: Counter[str] = Counter()
    for item in before:
        used[item.namespace] += int(seconds_milliseconds(item.machine_seconds) * left)
    for namespace, milliseconds in added_milliseconds.items():
        used[namespace] += milliseconds
    most = sorted(used.items(), key=lambda item: (-item[1], item[0]))[:MAX_NAMESPACES]
    return tuple(
        NamespaceUse(namespace=namespace, machine_seconds=seconds_text(milliseconds))
        for namespace, milliseconds in sorted(most)
        if milliseconds > 0
    )


def counted_use_seconds(statements: Iterable[MachineHourStatement], now: datetime) -> dict[str, float]:
    """What statements count, by namespace."""
    used: dict[str, float] = defaultdict(float)
    for statement in statements:
        status = statement.status
        if not status.recent_use:
            continue
        left = decay(age_seconds(status.updated_at, now)) / 1000
        for item in status.recent_use:
            used[item.namespace] += seconds_milliseconds(item.machine_seconds) * left
    return dict(used)


@dataclass(frozen=True, slots=True)
class VerifiedTime:
    """Machine time of one attempt, up to one row of a chain."""

    chain: SignedChain
    last_sequence: int
    milliseconds: int


def verified_times(shards: Iterable[AudioShard]) -> tuple[VerifiedTime, ...]:
    """Of the attempts that shards list."""
    return tuple(
        VerifiedTime((record.machine.ledger_key, usage.chain_id), usage.last_sequence, usage.machine_milliseconds)
        for shard in shards
        if shard.status.attempts and shard.spec.stage is Stage.PROCESS
        for record in shard.status.attempts
        if (usage := record.usage) is not None and usage.rows and record.machine is not None
    )


def uncounted_milliseconds(times: Iterable[VerifiedTime], heads: Mapping[SignedChain, ChainHead]) -> int:
    """What no statement counts yet. `heads`: how far statements have counted."""
    return sum(
        time.milliseconds
        for time in times
        if (head := heads.get(time.chain)) is None or head.sequence < time.last_sequence
    )


def uncounted_use_seconds(shards: Iterable[AudioShard], heads: Mapping[SignedChain, ChainHead]) -> dict[str, float]:
    """By namespace."""
    by_namespace: dict[str, list[AudioShard]] = defaultdict(list)
    for shard in shards:
        by_namespace[shard.metadata.namespace].append(shard)
    return {
        namespace: uncounted_milliseconds(verified_times(own), heads) / 1000 for namespace, own in by_namespace.items()
    }


def added_up(*uses: Mapping[str, float]) -> dict[str, float]:
    used: dict[str, float] = defaultdict(float)
    for use in uses:
        for namespace, seconds in use.items():
            used[namespace] += seconds
    return dict(used)

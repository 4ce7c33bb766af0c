"""What each namespace has used of the Macs lately: machine time, of which half counts after twelve hours. Pure.

It is known from what is stored: statements hold it up to their cursors, and shards the attempts behind those.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from math import exp2

from voxfleet_api.kinds import AudioShard, MachineHourStatement
from voxfleet_api.kinds.audio_shard import AttemptRecord, Stage
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


def uncounted_use_seconds(shards: Iterable[AudioShard], heads: Mapping[SignedChain, ChainHead]) -> dict[str, float]:
    """Verified machine time that no statement counts yet, by namespace. `heads`: how far statements have counted."""
    used: dict[str, float] = defaultdict(float)
    for shard in shards:
        if shard.status.attempts and shard.spec.stage is Stage.PROCESS:
            milliseconds = sum(_uncounted_milliseconds(record, heads) for record in shard.status.attempts)
            used[shard.metadata.namespace] += milliseconds / 1000
    return dict(used)


def _uncounted_milliseconds(record: AttemptRecord, heads: Mapping[SignedChain, ChainHead]) -> int:
    usage, machine = record.usage, record.machine
    if usage is None or usage.rows == 0 or machine is None:
        return 0
    head = heads.get((machine.ledger_key, usage.chain_id))
    return usage.machine_milliseconds if head is None or head.sequence < usage.last_sequence else 0


def added_up(*uses: Mapping[str, float]) -> dict[str, float]:
    used: dict[str, float] = defaultdict(float)
    for use in uses:
        for namespace, seconds in use.items():
            used[namespace] += seconds
    return dict(used)

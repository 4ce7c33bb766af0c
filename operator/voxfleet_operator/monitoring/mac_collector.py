"""Every Mac that has a MacAgent. What is told of one that was deleted is gone with the next scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import MacAgent
from voxfleet_api.machine_messages import PoolFacts
from voxfleet_api.pools import PoolKind
from voxfleet_operator import metric_list
from voxfleet_operator.cache import Cache
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.stored_statements import StoredStatements
from voxfleet_shared.metric_specs import MetricSpec


@dataclass(frozen=True, slots=True)
class MacReading:
    """A Mac at a scrape. None: it is not known."""

    mac: MacAgent
    view: MacView
    contact_age_seconds: float | None
    statement_age_seconds: float


def lanes(reading: MacReading, kind: PoolKind) -> int | None:
    pools = _pools(reading, kind)
    return None if pools is None else sum(pool.lanes for pool in pools)


def busy_lanes(reading: MacReading, kind: PoolKind) -> int | None:
    """Not told of a Mac out of contact: it may have done anything since."""
    pools = _pools(reading, kind)
    return None if pools is None or not reading.view.connected else sum(pool.lanes - pool.free_lanes for pool in pools)


def _pools(reading: MacReading, kind: PoolKind) -> list[PoolFacts] | None:
    """None: the Mac was not reached, or has no Interactive pool."""
    machine = reading.view.machine
    if machine is None:
        return None
    found = [pool for pool in machine.pools if pool.kind == kind]
    return found if found or kind is PoolKind.OFFLINE else None


def unsettled_seconds(reading: MacReading) -> float:
    return sum(row.machine_milliseconds for row in reading.view.rows if row.ours) / 1000


def _scratch_reserved(reading: MacReading) -> float | None:
    return None if reading.view.machine is None else reading.view.machine.scratch_reserved_bytes


def _scratch_quota(reading: MacReading) -> float | None:
    return None if reading.view.machine is None else reading.view.machine.scratch_quota_bytes


def _lacks_scratch(reading: MacReading) -> float | None:
    return None if reading.view.machine is None else reading.view.machine.lacks_scratch


GAUGES: tuple[tuple[MetricSpec, Callable[[MacReading], float | None]], ...] = (
    (metric_list.MAC_REACHABLE, lambda reading: reading.view.connected),
    (metric_list.MAC_AVAILABLE, lambda reading: is_true(reading.mac.status.conditions, ConditionType.AVAILABLE)),
    (metric_list.MAC_CONTACT_SECONDS, lambda reading: reading.contact_age_seconds),
    (metric_list.MAC_LEDGER, lambda reading: reading.view.ledger_error is None),
    (metric_list.MAC_EXCLUDED, lambda reading: reading.mac.status.exclusion is not None),
    (metric_list.MAC_CONTENDED, lambda reading: is_true(reading.mac.status.conditions, ConditionType.CONTENDED)),
    (metric_list.MAC_DRAINING, lambda reading: reading.mac.spec.drain is not None),
    (metric_list.MAC_SCRATCH_RESERVED, _scratch_reserved),
    (metric_list.MAC_SCRATCH_QUOTA, _scratch_quota),
    (metric_list.MAC_LACKS_SCRATCH, _lacks_scratch),
    (metric_list.MAC_HUNG_DELETIONS, lambda reading: len(reading.view.hung_deletions)),
    (metric_list.MAC_UNSETTLED_SECONDS, unsettled_seconds),
    (metric_list.MAC_STATEMENT_AGE_SECONDS, lambda reading: reading.statement_age_seconds),
)


LANE_GAUGES: tuple[tuple[MetricSpec, Callable[[MacReading, PoolKind], int | None]], ...] = (
    (metric_list.MAC_LANES, lanes),
    (metric_list.MAC_BUSY_LANES, busy_lanes),
)


class Contacts(Protocol):
    """fleet.fleet.MacFleet implements it."""

    def view(self, mac: str) -> MacView: ...

    def last_answer_seconds(self, mac: str) -> float | None: ...


class MacCollector(Collector):
    """`clock` is the fleet's, in seconds."""

    def __init__(
        self,
        cache: Cache,
        fleet: Contacts,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cache = cache
        self._fleet = fleet
        self._clock = clock
        self._now = now
        self._statements = StoredStatements(cache)

    def collect(self) -> Iterator[Metric]:
        readings = [self._read(mac) for mac in self._cache.all(MacAgent)]
        for spec, value_of in GAUGES:
            family = spec.gauge_family()
            for reading in readings:
                value = value_of(reading)
                if value is not None:
                    family.add_metric([reading.mac.metadata.name], float(value))
            yield family
        for spec, lanes_of in LANE_GAUGES:
            family = spec.gauge_family()
            for reading in readings:
                for kind in PoolKind:
                    count = lanes_of(reading, kind)
                    if count is not None:
                        family.add_metric([reading.mac.metadata.name, kind], count)
            yield family

    def _read(self, mac: MacAgent) -> MacReading:
        name = mac.metadata.name
        view, answered = self._fleet.view(name), self._fleet.last_answer_seconds(name)
        return MacReading(
            mac=mac,
            view=view,
            contact_age_seconds=None if answered is None else self._clock() - answered,
            statement_age_seconds=self._statement_age_seconds(mac) if _awaits_statement(view) else 0.0,
        )

    def _statement_age_seconds(self, mac: MacAgent) -> float:
        times = (mac.metadata.creation_timestamp, *self._statements.written_at(mac.metadata.name))
        ages_seconds = [(self._now() - datetime.fromisoformat(time)).total_seconds() for time in times]
        return min((age for age in ages_seconds if age >= 0), default=0.0)  # one ahead is of a clock that was fast


def _awaits_statement(view: MacView) -> bool:
    """The rows of an attempt that goes on are not due yet: its setup is sealed when its work begins."""
    attempts = view.attempts
    return any(row.ours and (row.attempt not in attempts or attempts[row.attempt].has_ended) for row in view.rows)

"""The parts of a leading operator and how they belong together; whoever runs them brings API server, Lease, clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import structlog

from voxfleet_api.kinds import Resource, VoiceEndpoint
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.events import EventRecorder
from voxfleet_operator.fleet.dialer import Dialer, SecretReader
from voxfleet_operator.fleet.fleet import MacFleet
from voxfleet_operator.fleet.mac_view import AgentUnreachable
from voxfleet_operator.fleet.session_context import SessionTiming
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import KubeError
from voxfleet_operator.leader import Leader, NotLeader
from voxfleet_operator.ledger_archive import LedgerArchive
from voxfleet_operator.metering.budget_accounts import BudgetAccounts
from voxfleet_operator.metrics import OperatorMetrics
from voxfleet_operator.queue import WorkQueue
from voxfleet_operator.reconcile.context import Context, ReconcileOptions
from voxfleet_operator.reconcile.registration import Reconciler
from voxfleet_operator.reconcile.stored_statements import StoredStatements
from voxfleet_operator.registry import reconcilers, triggers
from voxfleet_operator.workers import Workers

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OperatorEnvironment:
    """What an operator stands on once it leads."""

    kube: Kube
    cache: Cache
    queue: WorkQueue
    leader: Leader
    events: EventRecorder
    metrics: OperatorMetrics
    secrets: SecretReader
    dialer: Dialer
    options: ReconcileOptions
    synced: Callable[[], bool]
    run_errand: Callable[[Coroutine[object, object, None], str], object]
    """Starts a task that may end, but not fail."""
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    timing: SessionTiming | None = None
    archive: LedgerArchive | None = None
    budgets: BudgetAccounts = field(default_factory=BudgetAccounts)


@dataclass(frozen=True, slots=True)
class Operator:
    fleet: MacFleet
    reconcilers: Mapping[str, Reconciler]
    workers: Workers


def compose(environment: OperatorEnvironment) -> Operator:
    fleet = _make_fleet(environment)
    made = reconcilers(
        Context(
            api=environment.kube,
            cache=environment.cache,
            fleet=fleet,
            leader=environment.leader,
            queue=environment.queue,
            triggers=triggers(),
            events=environment.events,
            options=environment.options,
            clock=environment.clock,
            now=environment.now,
            synced=environment.synced,
            metrics=environment.metrics.work,
            archive=environment.archive,
            budgets=environment.budgets,
        )
    )
    return Operator(fleet, made, Workers(environment.queue, made, environment.leader, environment.metrics))


def wake_by_change(queue: WorkQueue, cache: Cache) -> Callable[[Resource], None]:
    """For the watch: each change of an object wakes the keys that depend on it."""

    woken_by = triggers()

    def on_change(resource: Resource) -> None:
        for key in woken_by.keys_of_change(resource, cache):
            queue.add(key)

    return on_change


def _make_fleet(environment: OperatorEnvironment) -> MacFleet:
    leader, cache, queue = environment.leader, environment.cache, environment.queue
    woken_by = triggers()

    def on_change(mac: str, shard_uids: frozenset[str]) -> None:
        for key in woken_by.keys_of_mac_change(mac, shard_uids, cache):
            queue.add(key)

    def on_sessions(endpoint_uid: str) -> None:
        endpoint = cache.by_uid(VoiceEndpoint, endpoint_uid)
        if endpoint is not None:
            queue.add(key_of(endpoint))

    async def raise_epoch(held: int) -> None:
        if leader.epoch > held:
            return
        try:
            epoch = await leader.raise_epoch(held)
        except (NotLeader, KubeError) as error:
            log.warning("epoch not raised; the next refusal tries again", held=held, error=str(error))
            return
        note = f"an agent has seen epoch {held}, which is not older than ours; the Lease now says {epoch}"
        log.warning("epoch raised", held=held, epoch=epoch)
        environment.events.publish(leader.lease, EventReason.EPOCH_RAISED, note)

    def on_stale_epoch(held: int) -> None:
        environment.run_errand(raise_epoch(held), "raise-epoch")

    return MacFleet(
        control_plane=environment.options.control_plane,
        leader=leader.identity,
        epoch=partial(acting_epoch, leader),
        secrets=environment.secrets,
        dialer=environment.dialer,
        on_change=on_change,
        on_sessions=on_sessions,
        on_stale_epoch=on_stale_epoch,
        clock=environment.clock,
        now=environment.now,
        timing=environment.timing,
        stored_head=StoredStatements(cache).head,
        settles=lambda: environment.archive is None or environment.archive.answers,
    )


def acting_epoch(leader: Leader) -> int:
    """Returns the epoch to send with a call that changes something on a Mac; a renewal is such a call, too.

    Raises AgentUnreachable if the Lease is not held, so that no such call is sent without it.
    """
    try:
        leader.check()
    except NotLeader as error:
        raise AgentUnreachable(str(error)) from error
    return leader.epoch

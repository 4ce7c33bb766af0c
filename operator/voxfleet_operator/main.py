"""The composition root: makes the parts, starts them in order, and stops them in reverse order."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import Resource
from voxfleet_operator.background import BackgroundEnded, BackgroundTasks
from voxfleet_operator.cache import Cache
from voxfleet_operator.events import EventRecorder
from voxfleet_operator.fleet.dialer import Dialer, SecretReader
from voxfleet_operator.fleet.fleet import MacFleet
from voxfleet_operator.fleet.mac_view import AgentUnreachable, SecretMissing
from voxfleet_operator.fleet.ssh.dialer import SshDialer
from voxfleet_operator.health import HealthServer
from voxfleet_operator.heartbeat import Heartbeat
from voxfleet_operator.kube import Kube, KubeError, SecretForbidden, SecretNotFound
from voxfleet_operator.leader import Leader, NotLeader
from voxfleet_operator.metrics import OperatorMetrics
from voxfleet_operator.options import OperatorOptions
from voxfleet_operator.queue import PLACEMENT, WorkQueue
from voxfleet_operator.reconcile.context import Context, ReconcileOptions
from voxfleet_operator.reconcile.stored_statements import StoredStatements
from voxfleet_operator.registry import reconcilers, triggers
from voxfleet_operator.triggers import all_keys
from voxfleet_operator.watch import CrdsMissing, Watch
from voxfleet_operator.workers import Workers

WORKERS = 8
STOP_SECONDS = 10.0
DRAIN_SECONDS = 2.0

log = structlog.get_logger(__name__)

MakeDialer = Callable[[SecretReader], Dialer]


class WatchEnded(Exception):
    """The watches on the API server have ended."""


def run(options: OperatorOptions, make_dialer: MakeDialer = SshDialer) -> int:
    """Runs the operator until SIGTERM or SIGINT; returns the exit code. `make_dialer`: the transport to all Macs."""
    try:
        asyncio.run(_operate(options, make_dialer))
    except (KubeError, CrdsMissing, WatchEnded, BackgroundEnded, OSError) as error:
        log.critical("the operator cannot run", error=str(error))
        return 1
    return 0


async def _operate(options: OperatorOptions, make_dialer: MakeDialer) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        background, heartbeat = BackgroundTasks(), Heartbeat()
        background.start(stack, heartbeat.run(), "heartbeat")
        kube = await stack.enter_async_context(await Kube.connect(options.kubeconfig))
        control_plane = await kube.kube_system_uid()

        cache, queue, metrics = Cache(), WorkQueue(standby=True), OperatorMetrics()
        watch, ended = _start_watch(stack, kube, cache, queue, stop, background.ended)
        if options.health_port is not None:
            health = HealthServer(heartbeat, watch.synced.is_set, metrics.registry)
            await health.start(options.health_host, options.health_port)
            stack.push_async_callback(health.stop)
        if not await _before(ended, watch.synced.wait()):
            return

        leader = Leader(partial(Kube.connect, options.kubeconfig), options.namespace, heartbeat)
        stack.push_async_callback(leader.release)
        log.info("waiting for the lease", identity=leader.identity)
        if not await _before(ended, leader.acquire()):
            return

        recorder = EventRecorder(kube, leader.identity)
        background.start(stack, recorder.run(), "events")
        stack.push_async_callback(_drain, recorder)
        secrets = secret_reader(kube, options.namespace)
        fleet = _make_fleet(control_plane, cache, queue, leader, recorder, secrets, make_dialer(secrets))
        stack.push_async_callback(fleet.close)
        metrics.watch_state(queue, leader.holds, partial(_connected, fleet))
        context = Context(
            api=kube,
            cache=cache,
            fleet=fleet,
            leader=leader,
            queue=queue,
            triggers=triggers(),
            events=recorder,
            options=ReconcileOptions(
                control_plane=control_plane,
                lost_margin_seconds=options.lost_margin_seconds,
                progress_interval_seconds=options.progress_interval_seconds,
                retry_limit=options.retry_limit,
            ),
            clock=time.monotonic,
            now=lambda: datetime.now(UTC),
            synced=watch.synced.is_set,
        )
        workers = Workers(queue, reconcilers(context), leader, metrics)
        working = [background.start(stack, workers.run(), f"worker-{number}") for number in range(WORKERS)]
        stack.push_async_callback(_stop_workers, queue, working)
        stack.callback(background.stopping)
        queue.start()
        for key in all_keys(cache):
            queue.add(key)
        log.info("operator started", epoch=leader.epoch)
        await ended
        log.info("operator stops")


def _start_watch(
    stack: AsyncExitStack,
    kube: Kube,
    cache: Cache,
    queue: WorkQueue,
    stop: asyncio.Event,
    background_ended: asyncio.Future[None],
) -> tuple[Watch, asyncio.Task[None]]:
    """Returns the watch, and a task that ends when the operator is to stop.

    The task raises if the watch or a background task has failed.
    """

    def on_change(resource: Resource) -> None:
        for key in triggers().keys_of_change(resource, cache):
            queue.add(key)

    watch, watch_stop = Watch(kube, cache, on_change, lambda: queue.add(PLACEMENT)), asyncio.Event()
    watching = asyncio.create_task(watch.run(watch_stop))

    async def until_end() -> None:
        stopping = asyncio.create_task(stop.wait())
        ends: list[asyncio.Future[Any]] = [watching, stopping, background_ended]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            return
        stopping.cancel()
        if background_ended.done():
            background_ended.result()
        error = watching.exception()
        if isinstance(error, KubeError | CrdsMissing):
            raise error
        raise WatchEnded(f"the watches ended: {error}") from error

    ended = asyncio.create_task(until_end())

    async def stop_watch() -> None:
        watch_stop.set()
        ended.cancel()
        await asyncio.wait([watching, ended])

    stack.push_async_callback(stop_watch)
    return watch, ended


async def _before(ended: asyncio.Task[None], wanted: Awaitable[object]) -> bool:
    """True once `wanted` is done, False if the operator is to stop first. Raises what either raises."""
    waiting = asyncio.ensure_future(wanted)
    await asyncio.wait([ended, waiting], return_when=asyncio.FIRST_COMPLETED)
    if waiting.done():
        waiting.result()
        return True
    waiting.cancel()
    ended.result()
    return False


def _make_fleet(
    control_plane: str,
    cache: Cache,
    queue: WorkQueue,
    leader: Leader,
    recorder: EventRecorder,
    secrets: SecretReader,
    dialer: Dialer,
) -> MacFleet:
    raising: set[asyncio.Task[None]] = set()

    def on_change(mac: str, shard_uids: frozenset[str]) -> None:
        for key in triggers().keys_of_mac_change(mac, shard_uids, cache):
            queue.add(key)

    async def raise_epoch(held: int) -> None:
        if leader.epoch > held:
            return
        try:
            epoch = await leader.raise_epoch(held)
        except (NotLeader, KubeError) as error:
            log.warning("epoch not raised; the next refusal tries again", held=held, error=str(error))
            return
        except Exception:
            log.exception("epoch not raised; the next refusal tries again", held=held)
            return
        note = f"an agent has seen epoch {held}, which is not older than ours; the Lease now says {epoch}"
        log.warning("epoch raised", held=held, epoch=epoch)
        recorder.publish(leader.lease, "EpochRaised", note, warning=True, action="RaiseEpoch")

    def on_stale_epoch(held: int) -> None:
        task = asyncio.create_task(raise_epoch(held))
        raising.add(task)
        task.add_done_callback(raising.discard)

    return MacFleet(
        control_plane=control_plane,
        leader=leader.identity,
        epoch=partial(acting_epoch, leader),
        secrets=secrets,
        dialer=dialer,
        on_change=on_change,
        on_stale_epoch=on_stale_epoch,
        stored_head=StoredStatements(cache).head,
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


def secret_reader(kube: Kube, namespace: str) -> SecretReader:
    async def read(name: str, key: str) -> bytes:
        try:
            data = await kube.secret(namespace, name)
        except SecretNotFound as error:
            raise SecretMissing(f"{error} with the key {key}") from error
        except SecretForbidden as error:
            raise SecretMissing(str(error), Reason.SECRET_FORBIDDEN) from error
        except KubeError as error:
            message = f"Secret {namespace}/{name} cannot be read now: {error}"
            raise SecretMissing(message, Reason.SECRET_UNREADABLE) from error
        if key not in data:
            raise SecretMissing(f"Secret {namespace}/{name} has no key {key}; add it", Reason.SECRET_INCOMPLETE)
        return data[key]

    return read


def _connected(fleet: MacFleet) -> tuple[int, int]:
    views = fleet.views().values()
    return sum(view.connected for view in views), len(views)


async def _stop_workers(queue: WorkQueue, working: list[asyncio.Task[None]]) -> None:
    """Lets running reconciles finish. Cancels those that take too long; the next leader runs them again."""
    queue.close()
    _, late = await asyncio.wait(working, timeout=STOP_SECONDS)
    for task in late:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)


async def _drain(recorder: EventRecorder) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            await recorder.drain()

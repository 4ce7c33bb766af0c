"""The composition root: makes the parts, starts them in order, and stops them in reverse order."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from voxfleet_billing.archive_store import ArchiveError, open_archive
from voxfleet_billing.nights import NightClock, night_clock
from voxfleet_operator.background import BackgroundEnded, BackgroundTasks
from voxfleet_operator.cache import Cache
from voxfleet_operator.composition import OperatorEnvironment, compose, wake_by_change
from voxfleet_operator.crd_age import tell_of_older_crds
from voxfleet_operator.events import EventRecorder
from voxfleet_operator.first_calls import patiently
from voxfleet_operator.fleet.dialer import Dialer, SecretReader
from voxfleet_operator.fleet.fleet_secrets import secret_reader
from voxfleet_operator.fleet.transports import Transports
from voxfleet_operator.health import HealthServer
from voxfleet_operator.heartbeat import Heartbeat
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import KubeError
from voxfleet_operator.leader import Leader
from voxfleet_operator.ledger_archive import LedgerArchive
from voxfleet_operator.metering.budget_accounts import BudgetAccounts
from voxfleet_operator.metrics import OperatorMetrics
from voxfleet_operator.monitoring.budget_collector import BudgetCollector
from voxfleet_operator.monitoring.endpoint_collector import EndpointCollector
from voxfleet_operator.monitoring.job_collector import JobCollector
from voxfleet_operator.monitoring.mac_collector import MacCollector
from voxfleet_operator.monitoring.process_collector import EventCollector, ProcessCollector
from voxfleet_operator.monitoring.queue_collector import QueueCollector
from voxfleet_operator.monitoring.schedule_collector import ScheduleCollector
from voxfleet_operator.nightly.writer import NightlyEnvironment, NightlyWriter
from voxfleet_operator.options import OperatorOptions
from voxfleet_operator.price_book_file import PriceBookFile
from voxfleet_operator.price_book_watch import PriceBookWatch
from voxfleet_operator.queue import PLACEMENT, WorkQueue
from voxfleet_operator.reconcile.context import ReconcileOptions
from voxfleet_operator.triggers import all_keys
from voxfleet_operator.watch import CrdsMissing, Watch

WORKERS = 8
STOP_SECONDS = 10.0
DRAIN_SECONDS = 2.0

log = structlog.get_logger(__name__)

MakeDialer = Callable[[SecretReader], Dialer]


class WatchEnded(Exception):
    """The watches on the API server have ended."""


def run(options: OperatorOptions, make_dialer: MakeDialer = Transports) -> int:
    """Runs the operator until SIGTERM or SIGINT; returns the exit code. `make_dialer`: the transport to all Macs."""
    try:
        asyncio.run(_operate(options, make_dialer))
    except (KubeError, CrdsMissing, WatchEnded, BackgroundEnded, ArchiveError, OSError) as error:
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
        metrics = OperatorMetrics()
        archive = _archive(options.archive, metrics)
        if archive is not None:
            await archive.refuse_overwriting()
        connect = partial(Kube.connect, options.kubeconfig, observe=metrics.api_requested)
        kube = await stack.enter_async_context(await connect())
        control_plane = await patiently(kube.kube_system_uid, stop)
        await tell_of_older_crds(kube)

        cache, queue = Cache(), WorkQueue(observer=metrics)
        watch, ended = _start_watch(stack, kube, options.watch_namespaces, cache, queue, stop, background.ended)
        leader = Leader(connect, options.namespace, heartbeat)
        metrics.registry.register(ProcessCollector(leader, heartbeat, watch.health))
        metrics.registry.register(QueueCollector(queue))
        if options.health_port is not None:
            health = HealthServer(heartbeat, watch.not_ready, metrics.registry)
            await health.start(options.health_host, options.health_port)
            stack.push_async_callback(health.stop)
        if not await _before(ended, watch.synced.wait()):
            return

        stack.push_async_callback(leader.release)
        log.info("waiting for the lease", identity=leader.identity)
        if not await _before(ended, leader.acquire()):
            return

        recorder = EventRecorder(kube, leader.identity)
        background.start(stack, recorder.run(), "events")
        stack.push_async_callback(_drain, recorder)
        secrets = secret_reader(kube, options.namespace)
        prices = None if options.price_book is None else PriceBookFile(options.price_book)
        budgets = BudgetAccounts() if prices is None else BudgetAccounts(lambda: prices.book)
        operator = compose(
            OperatorEnvironment(
                kube=kube,
                cache=cache,
                queue=queue,
                leader=leader,
                events=recorder,
                metrics=metrics,
                secrets=secrets,
                dialer=make_dialer(secrets),
                options=ReconcileOptions(
                    control_plane=control_plane,
                    lost_margin_seconds=options.lost_margin_seconds,
                    progress_interval_seconds=options.progress_interval_seconds,
                    retry_limit=options.retry_limit,
                    gateway_url=options.gateway_url,
                ),
                synced=watch.synced.is_set,
                run_errand=background.run_errand,
                archive=archive,
                budgets=budgets,
            )
        )
        stack.push_async_callback(operator.fleet.close)
        for collector in (
            EventCollector(recorder),
            JobCollector(cache, options.retry_limit),
            ScheduleCollector(cache),
            EndpointCollector(cache),
            MacCollector(cache, operator.fleet, time.monotonic),
            BudgetCollector(prices, budgets),
        ):
            metrics.registry.register(collector)
        if prices is not None:
            told = PriceBookWatch(prices, budgets, recorder.publish, lambda: leader.lease, lambda: queue.add(PLACEMENT))
            await told.look()  # before the first shard is placed
            background.start(stack, told.run(), "price-book")
        if archive is not None:
            nightly = NightlyWriter(
                NightlyEnvironment(
                    archive=archive,
                    cache=cache,
                    views=lambda: operator.fleet.views().values(),
                    leader=leader,
                    night_clock=partial(_night_clock, prices),
                    publish=recorder.publish,
                    synced=watch.synced.is_set,
                    now=lambda: datetime.now(UTC),
                    metrics=metrics.nightly,
                )
            )
            background.start(stack, nightly.run(), "nightly")
        working = [background.start(stack, operator.workers.run(), f"worker-{number}") for number in range(WORKERS)]
        stack.push_async_callback(_stop_workers, queue, working)
        stack.callback(background.stopping)
        queue.start(all_keys(cache))
        log.info("operator started", epoch=leader.epoch)
        await ended
        log.info("operator stops")


def _archive(uri: str | None, metrics: OperatorMetrics) -> LedgerArchive | None:
    """Asks it nothing yet. Raises ArchiveError for what is no address."""
    if uri is None:
        return None
    return LedgerArchive(open_archive(uri), clock=time.monotonic, metrics=metrics.archive)


def _night_clock(prices: PriceBookFile | None) -> NightClock | None:
    """None while there is a price book that was never read: nights are not closed by another clock than its own."""
    if prices is not None and prices.book is None:
        return None
    return night_clock(None if prices is None else prices.book)


def _start_watch(
    stack: AsyncExitStack,
    kube: Kube,
    namespaces: Sequence[str],
    cache: Cache,
    queue: WorkQueue,
    stop: asyncio.Event,
    background_ended: asyncio.Future[None],
) -> tuple[Watch, asyncio.Task[None]]:
    """Returns the watch, and a task that ends when the operator is to stop.

    The task raises if the watch or a background task has failed.
    """

    on_change = wake_by_change(queue, cache)
    watch = Watch(kube, cache, on_change, lambda: queue.add(PLACEMENT), namespaces=namespaces)
    watch_stop = asyncio.Event()
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

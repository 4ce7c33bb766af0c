"""The composition root of the gateway: makes the parts, starts them in order, and stops them in reverse order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog

from voxfleet_api.kinds import MacAgent, Resource, VoiceEndpoint
from voxfleet_gateway import http_api, realtime
from voxfleet_gateway.access.gate import Gate
from voxfleet_gateway.access.key_secrets import KeySecrets
from voxfleet_gateway.access.service_accounts import ServiceAccounts
from voxfleet_gateway.api_call import ApiRoute
from voxfleet_gateway.calls import Calls
from voxfleet_gateway.endpoint_sessions import EndpointSessions
from voxfleet_gateway.gateway_metrics import GatewayCollector, GatewayMetrics, make_registry
from voxfleet_gateway.listener import Listener
from voxfleet_gateway.mac_links.links import SPARE_CONNECTIONS, MacLinks
from voxfleet_gateway.options import GatewayOptions
from voxfleet_operator.background import BackgroundEnded, BackgroundTasks
from voxfleet_operator.cache import Cache
from voxfleet_operator.first_calls import patiently
from voxfleet_operator.fleet.fleet_secrets import secret_reader
from voxfleet_operator.fleet.transports import Transports
from voxfleet_operator.health import HealthServer
from voxfleet_operator.heartbeat import Heartbeat
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import KubeError
from voxfleet_operator.watch import CrdsMissing, Watch

USER_AGENT = "voxfleet-gateway"
KINDS = (VoiceEndpoint, MacAgent)
ROUTES = (*http_api.ROUTES, *realtime.ROUTES)
API_SECONDS = 5.0

log = structlog.get_logger(__name__)


def run(options: GatewayOptions, routes: Sequence[ApiRoute] = ROUTES) -> int:
    """Runs the gateway until SIGTERM or SIGINT, and through its drain; returns the exit code."""
    try:
        asyncio.run(_serve(options, routes))
    except (KubeError, CrdsMissing, BackgroundEnded, OSError) as error:
        log.critical("the gateway cannot run", error=str(error))
        return 1
    return 0


async def _serve(options: GatewayOptions, routes: Sequence[ApiRoute]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        background, heartbeat = BackgroundTasks(), Heartbeat()
        background.start(stack, heartbeat.run(), "heartbeat")
        registry = make_registry()
        metrics = GatewayMetrics(registry)
        kube = await stack.enter_async_context(
            await Kube.connect(options.kubeconfig, user_agent=USER_AGENT, observe=metrics.api_requested)
        )
        control_plane = await patiently(kube.kube_system_uid, stop)

        cache = Cache()
        secrets = secret_reader(kube, options.namespace)
        max_connections = options.max_sessions + SPARE_CONNECTIONS
        transports = Transports(secrets, max_connections=max_connections)
        stack.callback(transports.close)
        links = MacLinks(transports, secrets, control_plane=control_plane, max_connections=max_connections)
        stack.push_async_callback(links.close)
        sessions = EndpointSessions(cache, links, metrics)
        gate = Gate(cache, KeySecrets(kube.secret, loop.time), ServiceAccounts(partial(_ask, kube), loop.time))
        calls = Calls(cache, gate, sessions, metrics, max_calls=options.max_sessions)

        watch = Watch(
            kube,
            cache,
            partial(_changed, cache, links, sessions),
            namespaces=options.watch_namespaces,
            kinds=KINDS,
            namespace_labels=False,
        )
        watch_stop = asyncio.Event()
        stack.callback(watch_stop.set)
        background.start(stack, watch.run(watch_stop), "watch")
        registry.register(GatewayCollector(sessions, calls, links))

        def not_ready() -> str | None:
            return "the gateway drains" if calls.draining else watch.not_ready()

        if options.health_port is not None:
            health = HealthServer(heartbeat, not_ready, registry)
            await health.start(options.health_host, options.health_port)
            stack.push_async_callback(health.stop)
        if not await _before(stop, background.ended, watch.synced.wait()):
            return
        for endpoint in cache.all(VoiceEndpoint):  # it may have been listed before its Macs were
            _changed(cache, links, sessions, endpoint)
        listener = Listener(calls.application(routes))
        await listener.start(options.host, options.port)
        stack.push_async_callback(listener.stop)
        try:
            await _before(stop, background.ended, asyncio.Event().wait())
        finally:  # sessions need no API server: they go on for as long where it is that which failed
            log.info("gateway drains", open_calls=calls.open_calls, seconds=options.drain_seconds)
            await calls.drain(options.drain_seconds)
        background.stopping()
        log.info("gateway stops")


async def _before(stop: asyncio.Event, failed: asyncio.Future[None], wanted: Awaitable[object]) -> bool:
    """True once `wanted` is done, False if the gateway is to stop first. Raises what ended a background task."""
    waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(wanted), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait([*waiting, failed], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
        return waiting[0].done()
    finally:
        for future in waiting:
            future.cancel()


async def _ask(kube: Kube, path: str, body: Mapping[str, object]) -> Mapping[str, Any]:
    return await kube.request("POST", path, body=body, timeout_seconds=API_SECONDS)


def _changed(cache: Cache, links: MacLinks, sessions: EndpointSessions, resource: Resource) -> None:
    """The link of a Mac that is deleted ends with its sessions; one to a Mac with a new lane is opened beforehand."""
    if isinstance(resource, MacAgent) and cache.by_uid(MacAgent, resource.metadata.uid) is None:
        links.forget(resource)
    elif isinstance(resource, VoiceEndpoint) and resource.spec.auth is not None:
        sessions.wake(resource)

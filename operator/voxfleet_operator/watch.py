"""Keeps the cache up to date. Uses kopf for its watches only; no other module imports it.

Consistency: the cache may lag behind the API server, but never behind this process's own writes, which enter it at
once. Each relist sees every object again, so a lost event causes a delay but no error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aiohttp
import kopf
import structlog

from voxfleet_api import GROUP, VERSION
from voxfleet_api.kinds import KINDS, Resource
from voxfleet_operator.cache import Cache, version_number
from voxfleet_operator.first_calls import patiently
from voxfleet_operator.kube import Connection, Json, Kube
from voxfleet_operator.kube_errors import KubeError, NotFound
from voxfleet_operator.kube_objects import Unreadable, parse, resource_path
from voxfleet_operator.watch_health import RELIST_SECONDS, WATCH_SECONDS, WatchHealth

PAGE_SIZE = 500
NAMESPACES = "namespaces"
# An early second list finds deletions between the first list and the start of kopf's own watches.
SECOND_LIST_SECONDS = 10.0
LOGIN_SECONDS = 600.0
ERROR_BACKOFF_SECONDS = (1, 1, 2, 3, 5, 8, 13, 21, *[30] * 18)
"""The waits cover ten minutes without an API server; after that the process ends and is restarted."""
CLOSE_SECONDS = 0.1

log = structlog.get_logger(__name__)


class CrdsMissing(Exception):
    """The API server does not know this project's kinds."""


class Watch:
    """Calls `on_change` with every object that changed or was deleted, once the cache knows."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        on_change: Callable[[Resource], None],
        on_namespaces: Callable[[], None] = lambda: None,
        *,
        namespaces: Sequence[str] = (),
        kinds: Sequence[type[Resource]] = KINDS,
        namespace_labels: bool = True,
    ) -> None:
        """`namespaces`: where objects are watched that belong to one; empty for everywhere. `kinds`: of which objects
        the cache is to know. `namespace_labels`: whether it is to know those, too.
        """
        self._kube = kube
        self._cache = cache
        self._on_change = on_change
        self._on_namespaces = on_namespaces
        self._kinds = tuple(kinds)
        self._namespace_labels = namespace_labels
        watched = (*((NAMESPACES,) if namespace_labels else ()), *(kind.crd.plural for kind in kinds))
        self.health = WatchHealth(watched, time.monotonic)
        self._namespaces = tuple(dict.fromkeys(namespaces))
        self.synced = asyncio.Event()
        """Set once every kind has been listed while the watches are running."""

    async def run(self, stop: asyncio.Event) -> None:
        """Returns once `stop` is set or the watches have failed for good. Raises CrdsMissing, KubeError."""
        await patiently(self._check_crds, stop)
        loop, ready, stop_kopf = asyncio.get_running_loop(), Future[None](), Future[None]()
        watching = asyncio.create_task(asyncio.to_thread(asyncio.run, self._watch(loop, ready, stop_kopf)))
        listing = asyncio.create_task(self._list_forever(ready))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([watching, listing, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop_kopf.set_result(None)
            listing.cancel()
            stopping.cancel()
            await asyncio.wait([watching, listing, stopping])
        for task in (listing, watching):
            if not task.cancelled():
                task.result()

    async def _watch(self, loop: asyncio.AbstractEventLoop, ready: Future[None], stop: Future[None]) -> None:
        """Runs kopf in a loop of its own, because on stopping it cancels every task in its loop, whoever started it."""
        own_loop, stop_flag = asyncio.get_running_loop(), asyncio.Event()

        def pass_on(_: Future[None]) -> None:
            if not own_loop.is_closed():
                own_loop.call_soon_threadsafe(stop_flag.set)

        # kopf does not get the future itself: it would wait for it in a thread that lives on if kopf fails.
        stop.add_done_callback(pass_on)
        try:
            await kopf.operator(
                registry=self._registry(loop),
                settings=_settings(),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=stop_flag,
                ready_flag=ready,
            )
        finally:
            # aiohttp closes its TLS connections in the background, for which the loop has to run a little longer.
            await asyncio.sleep(CLOSE_SECONDS)

    def not_ready(self) -> str | None:
        """What keeps the cache from being as new as it should be, for people; None if nothing does."""
        return self.health.stale() if self.synced.is_set() else "the caches are not synced yet"

    async def relist(self) -> None:
        """Updates the cache with a full list of every watched kind. Raises KubeError."""
        for kind in self._kinds:
            await self._relist_kind(kind)
        if not self._namespace_labels:
            return
        items, _ = await self._kube.list_objects("/api/v1/namespaces")
        labels = {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in items}
        if self._cache.replace_namespaces(labels):
            self._on_namespaces()

    async def _relist_kind(self, kind: type[Resource]) -> None:
        items, version = await self._list(kind)
        readable: list[Resource] = []
        unreadable: set[str] = set()
        for item in items:
            try:
                readable.append(parse(kind, item))
            except Unreadable as error:
                log.error("object ignored", error=str(error))
                unreadable.add(item["metadata"]["uid"])
        changed = self._cache.replace(kind, readable, version, unreadable)
        if self.synced.is_set():
            self.health.missed[kind.crd.plural] += len(changed)
        for resource in changed:
            self._on_change(resource)

    async def _list(self, kind: type[Resource]) -> tuple[Sequence[Json], str]:
        """The objects of every place, and the resourceVersion at which each of them was listed or later."""
        lists = [await self._kube.list_objects(path) for path in self._paths(kind)]
        version = min((version for _, version in lists), key=version_number)
        return [item for items, _ in lists for item in items], version

    def _paths(self, kind: type[Resource]) -> list[str]:
        if kind.crd.scope == "Cluster" or not self._namespaces:
            return [resource_path(kind)]
        return [resource_path(kind, namespace) for namespace in self._namespaces]

    async def _list_forever(self, ready: Future[None]) -> None:
        await asyncio.wrap_future(ready)
        pause_seconds = SECOND_LIST_SECONDS
        while True:
            try:
                await self.relist()
            except KubeError as error:
                log.warning("list failed, tried again soon", error=str(error))
                await asyncio.sleep(SECOND_LIST_SECONDS)
                continue
            self.health.listed()
            if not self.synced.is_set():
                log.info("caches synced")
                self.synced.set()
            await asyncio.sleep(pause_seconds)
            pause_seconds = RELIST_SECONDS

    async def _check_crds(self) -> None:
        for kind in self._kinds:
            try:
                await self._kube.request("GET", self._paths(kind)[0], query={"limit": "1"})
            except NotFound as error:
                raise CrdsMissing(
                    f"the API server does not know {kind.crd.plural}.{GROUP}; run: kubectl apply -k crds/"
                ) from error

    def _registry(self, loop: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
        """Makes handlers that pass events on to `loop`, in which the cache is used."""
        registry = kopf.OperatorRegistry()

        async def login(**_: Any) -> kopf.AiohttpSession:
            asked = asyncio.run_coroutine_threadsafe(self._kube.connection(), loop)
            connection = await asyncio.wrap_future(asked)
            expiration = datetime.now(UTC) + timedelta(seconds=LOGIN_SECONDS)
            return kopf.AiohttpSession(
                server=connection.server, expiration=expiration, aiohttp_session=self._session(connection)
            )

        def hand_over(receive: Callable[[str | None, Json], None]) -> Callable[..., Any]:
            async def handler(event: Mapping[str, Any], **_: Any) -> None:
                loop.call_soon_threadsafe(receive, event["type"], event["object"])

            return handler

        kopf.on.login(registry=registry)(login)
        if self._namespace_labels:
            kopf.on.event("", "v1", NAMESPACES, registry=registry, id=NAMESPACES)(hand_over(self._observe_namespace))
        for kind in self._kinds:
            handler = hand_over(partial(self._observe, kind))
            kopf.on.event(GROUP, VERSION, kind.crd.plural, registry=registry, id=kind.crd.plural)(handler)
        return registry

    def _session(self, connection: Connection) -> aiohttp.ClientSession:
        """As kopf would make it, but for what notices the answers to watches."""
        access = kopf.ConnectionInfo(
            server=connection.server,
            ca_path=connection.ca_file,
            insecure=connection.insecure,
            token=connection.token,
            certificate_path=connection.certificate_file,
            private_key_path=connection.key_file,
        )
        traced = aiohttp.TraceConfig()

        async def answered(_: object, __: object, params: aiohttp.TraceRequestEndParams) -> None:
            if params.url.query.get("watch") == "true":
                self.health.watch_answered(params.url.name, params.response.status)

        async def failed(_: object, __: object, params: aiohttp.TraceRequestExceptionParams) -> None:
            if params.url.query.get("watch") == "true":
                self.health.watch_answered(params.url.name, None)

        traced.on_request_end.append(answered)
        traced.on_request_exception.append(failed)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=access.as_ssl_context()),
            headers=access.as_http_headers(),
            trace_configs=[traced],
        )

    def _observe(self, kind: type[Resource], event_type: str | None, data: Json) -> None:
        try:
            resource = parse(kind, data)
        except Unreadable as error:
            log.error("object ignored", error=str(error))
            if event_type == "DELETED":
                self._cache.remove_uid(data["metadata"]["uid"])
            return
        changed = self._cache.remove(resource) if event_type == "DELETED" else self._cache.put(resource)
        if changed:
            self._on_change(resource)

    def _observe_namespace(self, event_type: str | None, data: Json) -> None:
        name = data["metadata"]["name"]
        if event_type == "DELETED":
            self._cache.remove_namespace(name)
        elif self._cache.put_namespace(name, data["metadata"].get("labels") or {}):
            self._on_namespaces()


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.watching.chunk_size = PAGE_SIZE
    settings.watching.server_timeout = WATCH_SECONDS
    settings.networking.error_backoffs = ERROR_BACKOFF_SECONDS
    return settings

"""Opens sessions of endpoints on their warm lanes, and counts them."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import structlog

from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.kinds import MacAgent, VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLaneState
from voxfleet_gateway.gateway_metrics import GatewayMetrics
from voxfleet_gateway.lane_choice import Avoidance, OfferedLane, lane_order, nobody_took_it
from voxfleet_gateway.lane_session import LaneSession, OpensSessions
from voxfleet_gateway.mac_links.lane_socket import LaneSocket, OpenRequest
from voxfleet_gateway.mac_links.links import MacLinks
from voxfleet_gateway.mac_links.refused_openings import OpeningRefused, Refusal
from voxfleet_gateway.refusals import CallRefused
from voxfleet_operator.cache import Cache

ROOM_SECONDS = 0.2
"""For so long a caller is kept waiting for room, from the first lane's refusal on."""
TRY_SECONDS = 2.0
"""For so long further lanes are tried after one that did not answer."""
COLD_SECONDS, SUSPENDED_SECONDS = 5.0, 60.0

log = structlog.get_logger(__name__)


class EndpointSessions:
    """`clock` is monotonic, in seconds."""

    def __init__(
        self, cache: Cache, links: MacLinks, metrics: GatewayMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cache = cache
        self._links = links
        self._metrics = metrics
        self._clock = clock
        self._open: Counter[LaneKey] = Counter()
        self._avoided: dict[LaneKey, Avoidance] = {}

    @property
    def open_sessions(self) -> int:
        return self._open.total()

    def opener(self, namespace: str, name: str) -> OpensSessions:
        """For one endpoint, as it is when a session is opened."""

        def opens(request: OpenRequest) -> AbstractAsyncContextManager[LaneSession]:
            return self._session(namespace, name, request)

        return opens

    @asynccontextmanager
    async def _session(self, namespace: str, name: str, request: OpenRequest) -> AsyncIterator[LaneSession]:
        endpoint = self._cache.get(VoiceEndpoint, namespace, name)
        if endpoint is None:
            raise CallRefused(404, "not_found", "the endpoint was deleted")
        if endpoint.spec.suspend:
            raise CallRefused(
                503,
                "endpoint_suspended",
                "the endpoint is suspended (spec.suspend)",
                retry_after_seconds=SUSPENDED_SECONDS,
            )
        async with AsyncExitStack() as stack:
            session = await self._first_taken(endpoint, request, stack)
            try:
                yield session
            finally:
                self._metrics.session_ended(session.ended)

    async def _first_taken(self, endpoint: VoiceEndpoint, request: OpenRequest, stack: AsyncExitStack) -> LaneSocket:
        offered = self._offered(endpoint)
        if not offered:
            raise CallRefused(
                503,
                "no_warm_lane",
                "no lane of the endpoint is warm now; `voxfleet why` says what it waits for",
                retry_after_seconds=COLD_SECONDS,
            )
        max_per_lane = endpoint.spec.session.max_per_lane
        began_seconds = self._clock()
        until_seconds = began_seconds + TRY_SECONDS
        refusals: list[OpeningRefused] = []
        for lane in lane_order(offered, max_per_lane, began_seconds):
            if refusals and self._clock() > until_seconds:
                break
            try:
                return await self._taken(lane, request, stack)
            except OpeningRefused as refusal:
                if refusal.refusal is Refusal.REQUEST:
                    raise CallRefused(422, "invalid_request", refusal.message) from refusal
                refusals.append(refusal)
                log.info("lane took no session", mac=lane.mac, why=str(refusal.refusal), message=refusal.message)
                if refusal.refusal in (Refusal.FULL, Refusal.NOT_READY):
                    self._avoided[lane.key] = Avoidance(
                        self._clock() + refusal.retry_after_seconds, refusal.refusal is Refusal.FULL
                    )
                    until_seconds = min(until_seconds, self._clock() + ROOM_SECONDS)
        raise nobody_took_it(offered, max_per_lane, refusals, self._clock())

    async def _taken(self, lane: OfferedLane, request: OpenRequest, stack: AsyncExitStack) -> LaneSocket:
        mac = self._cache.get(MacAgent, "", lane.mac)
        if mac is None:
            raise OpeningRefused(Refusal.UNREACHABLE, "its MacAgent was deleted")
        async with AsyncExitStack() as attempt:
            self._open[lane.key] += 1
            attempt.callback(self._left, lane.key)
            session = await attempt.enter_async_context(self._links.link(mac).session(lane.key, request))
            await stack.enter_async_context(attempt.pop_all())
            return session

    def _left(self, key: LaneKey) -> None:
        self._open[key] -= 1
        if self._open[key] <= 0:
            del self._open[key]

    def _offered(self, endpoint: VoiceEndpoint) -> list[OfferedLane]:
        """Its warm lanes, equals in no order: two gateways do not always begin with the same one."""
        now = self._clock()
        self._avoided = {key: avoided for key, avoided in self._avoided.items() if avoided.until_seconds > now}
        offered: list[OfferedLane] = []
        for lane in endpoint.status.macs:
            mac = self._cache.get(MacAgent, "", lane.mac)
            if lane.state != EndpointLaneState.WARM or mac is None:
                continue
            key = LaneKey(endpoint.metadata.uid, lane.generation)
            # All of them are woken, so that another Mac is at hand when one is lost.
            self._links.link(mac).wake()
            offered.append(OfferedLane(lane.mac, key, self._links.state(mac), self._open[key], self._avoided.get(key)))
        random.shuffle(offered)
        return offered

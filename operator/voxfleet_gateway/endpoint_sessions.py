"""Opens sessions of endpoints on their warm lanes, and counts them."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress

import structlog

from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.kinds import MacAgent, VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLaneState
from voxfleet_gateway.gateway_metrics import GatewayMetrics
from voxfleet_gateway.lane_choice import Avoidance, OfferedLane, lane_order, nobody_took_it
from voxfleet_gateway.lane_session import LaneSession, OpensSessions
from voxfleet_gateway.mac_links.lane_socket import LaneSocket, OpenRequest
from voxfleet_gateway.mac_links.link_state import LinkState
from voxfleet_gateway.mac_links.links import MacLinks
from voxfleet_gateway.mac_links.refused_openings import OpeningRefused, Refusal
from voxfleet_gateway.refusals import CallRefused
from voxfleet_operator.cache import Cache

ROOM_SECONDS = 0.2
"""For so long a caller is kept waiting for room."""
TRY_SECONDS = 2.0
"""For so long further lanes are tried after one that did not answer."""
AGAIN_SECONDS = 0.05
"""So often lanes that are full are asked again meanwhile."""
DIAL_SECONDS = 5.0
"""So long a caller waits for a Mac that is being dialled, where no other one is at hand."""
ANSWER_SECONDS, IMPATIENT_SECONDS = 5.0, 1.5
"""For a lane's answer, which may have to wait for a step of its model; and where another lane is still to be asked."""
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
        self._freed = asyncio.Event()
        """Set, and replaced, when a session of this gateway leaves its place."""

    @property
    def open_sessions(self) -> int:
        return self._open.total()

    def opener(self, endpoint: VoiceEndpoint) -> OpensSessions:
        """For this endpoint, as it is when a session is opened, and for no later one of its name."""

        def opens(request: OpenRequest) -> AbstractAsyncContextManager[LaneSession]:
            return self._session(endpoint.metadata.uid, request)

        return opens

    @asynccontextmanager
    async def _session(self, uid: str, request: OpenRequest) -> AsyncIterator[LaneSession]:
        endpoint = self._cache.by_uid(VoiceEndpoint, uid)
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
        namespace, name = endpoint.metadata.namespace, endpoint.metadata.name
        now = self._clock()
        room_until_seconds, tries_until_seconds = now + ROOM_SECONDS, now + TRY_SECONDS
        avoided: dict[LaneKey, Avoidance] = {}
        refusals: list[OpeningRefused] = []
        try:
            while True:
                freed = self._freed
                lanes = lane_order(offered, max_per_lane, self._clock())
                for lane in lanes:
                    if refusals and self._clock() > tries_until_seconds:
                        break
                    try:
                        is_last = lane is lanes[-1] or self._clock() + IMPATIENT_SECONDS > tries_until_seconds
                        answer_seconds = ANSWER_SECONDS if is_last else IMPATIENT_SECONDS
                        return await self._taken(lane, offered, request, stack, answer_seconds)
                    except OpeningRefused as refusal:
                        if refusal.refusal is Refusal.REQUEST:
                            raise CallRefused(422, "invalid_request", refusal.message) from refusal
                        refusals.append(refusal)
                        if refusal.refusal in (Refusal.FULL, Refusal.NOT_READY, Refusal.SILENT):
                            # A silent one at once: others need not wait for it, too.
                            kept = self._avoided if refusal.refusal is Refusal.SILENT else avoided
                            until_seconds = self._clock() + refusal.retry_after_seconds
                            kept[lane.key] = Avoidance(until_seconds, refusal.refusal is Refusal.FULL)
                left_seconds = room_until_seconds - self._clock()
                if left_seconds <= 0:
                    told = sorted({refusal.message for refusal in refusals})
                    log.info("no lane took a session", namespace=namespace, endpoint=name, lanes=len(offered), why=told)
                    raise nobody_took_it(offered, max_per_lane, refusals, self._clock())
                # A place that was just left is free in a moment: its agent may not have seen it yet.
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left_seconds, AGAIN_SECONDS)):
                        await freed.wait()
                offered = self._offered(endpoint)
        finally:
            self._avoided |= avoided

    async def _taken(
        self,
        lane: OfferedLane,
        offered: list[OfferedLane],
        request: OpenRequest,
        stack: AsyncExitStack,
        answer_seconds: float,
    ) -> LaneSocket:
        mac = self._cache.get(MacAgent, "", lane.mac)
        if mac is None:
            raise OpeningRefused(Refusal.UNREACHABLE, "its MacAgent was deleted")
        others_are_up = any(other.link is LinkState.UP for other in offered)
        async with AsyncExitStack() as attempt:
            place = _Place(self, lane.key)
            attempt.callback(place.leave)
            opening = self._links.link(mac).session(
                lane.key,
                request,
                place.leave,
                wait_seconds=ROOM_SECONDS if others_are_up else DIAL_SECONDS,
                answer_seconds=answer_seconds,
            )
            session = await attempt.enter_async_context(opening)
            place.taken = True
            await stack.enter_async_context(attempt.pop_all())
            return session

    def _enter(self, key: LaneKey) -> None:
        self._open[key] += 1

    def _leave(self, key: LaneKey, *, was_taken: bool) -> None:
        self._open[key] -= 1
        if self._open[key] <= 0:
            del self._open[key]
        if was_taken:
            self._avoided.pop(key, None)
            self._freed.set()
            self._freed = asyncio.Event()

    def wake(self, endpoint: VoiceEndpoint) -> None:
        """Dials the Macs of its warm lanes, which are about to be needed: they have just become so, or it changed."""
        self._offered(endpoint)

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


class _Place:
    """One session's place on a lane, which is left once: at its end, or when nobody wants it any more."""

    def __init__(self, sessions: EndpointSessions, key: LaneKey) -> None:
        self._sessions = sessions
        self._key = key
        self._held = True
        self.taken = False
        """Whether the lane opened the session."""
        sessions._enter(key)

    def leave(self) -> None:
        if self._held:
            self._held = False
            self._sessions._leave(self._key, was_taken=self.taken)

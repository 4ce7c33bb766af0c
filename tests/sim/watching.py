"""The operator's own Watch over modelled streams, which lag, break and come back with a full list instead of kopf's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

from tests.sim.kinds import KIND_OF, NEVER_MADE
from tests.sim.kube_access import ApiLink, SimKube

from voxfleet_api.kinds import Resource
from voxfleet_operator.cache import Cache
from voxfleet_operator.kube import Json
from voxfleet_operator.watch import Watch


class SimWatch:
    def __init__(
        self,
        link: ApiLink,
        cache: Cache,
        on_change: Callable[[Resource], None],
        on_namespaces: Callable[[], None],
    ) -> None:
        self._link = link
        self._watch = Watch(SimKube(link), cache, on_change, on_namespaces)
        self._arrivals: dict[str, float] = {}
        self._broken: dict[str, float] = {}
        """Until when the stream of a kind is broken."""
        self.lag_seconds = 0.0
        self.synced = self._watch.synced

    def start(self) -> None:
        """Begins to watch and to list; ends with its process."""
        self._link.server.watchers.append(self._on_event)
        self._link.process.spawn(self._watch._list_forever(_done()))

    def stop(self) -> None:
        self._link.server.watchers.remove(self._on_event)

    def break_streams(self, until: float) -> None:
        """What happens until then is never told; afterwards a full list says what is there, but not what went."""
        now = asyncio.get_running_loop().time()
        for kind in (*(kind for kind in KIND_OF if kind not in NEVER_MADE), "Namespace"):
            if self._broken.get(kind, 0.0) <= now:
                self._link.process.spawn(self._reopen(kind, until + self._link.random.uniform(0, 3)))
            self._broken[kind] = max(until, self._broken.get(kind, 0.0))

    async def _reopen(self, kind: str, at: float) -> None:
        await asyncio.sleep(at - asyncio.get_running_loop().time())
        self._broken[kind] = 0.0
        for item in self._link.server.list(kind):
            self._deliver(None, item)

    def _on_event(self, event: str, item: Json) -> None:
        loop, kind = asyncio.get_running_loop(), item["kind"]
        now = loop.time()
        if now < self._link.down_until:
            self.break_streams(self._link.down_until)
        if self._broken.get(kind, 0.0) > now:
            self._link.edges["watch.event missed"] += 1
            return
        delay_seconds = self._link.random.uniform(0.001, 0.02)
        if self.lag_seconds:
            self._link.edges["watch.late"] += 1
            delay_seconds += self._link.random.uniform(0, self.lag_seconds)
        arrival = max(now + delay_seconds, self._arrivals.get(kind, 0.0) + 1e-6)
        self._arrivals[kind] = arrival
        loop.call_at(arrival, self._hand_over, event, item, context=self._link.process.context)

    def _hand_over(self, event: str | None, item: Json) -> None:
        """As kopf's thread does: the process's own loop takes it up."""
        asyncio.get_running_loop().call_soon(self._deliver, event, item)

    def _deliver(self, event: str | None, item: Json) -> None:
        if not self._link.process.alive:
            return
        if item["kind"] == "Namespace":
            self._watch._observe_namespace(event, item)
        else:
            self._watch._observe(KIND_OF[item["kind"]], event, item)


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future

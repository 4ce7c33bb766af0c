"""One replica leads at a time, also when the Lease is deleted under its holder."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from tests.sim.api_server import ApiServer
from tests.sim.history import History
from tests.sim.kube_access import ApiLink, SimKube
from tests.sim.machine import START
from tests.sim.operator_process import NAMESPACE, SimLeader
from tests.sim.virtual_loop import Process, VirtualLoop

from voxfleet_operator.heartbeat import Heartbeat
from voxfleet_operator.kube import Json, Kube
from voxfleet_operator.kube_errors import AlreadyExists
from voxfleet_operator.leader import LEASE_NAME, LEASE_SECONDS, RENEW_DEADLINE_SECONDS, RETRY_SECONDS, Leader
from voxfleet_operator.queue import Key

LEASE = Key("Lease", NAMESPACE, LEASE_NAME)
NEVER_SECONDS = 10**6


class CandidateKube(SimKube):
    """Its events may fail in a way that nobody has foreseen."""

    event_error: BaseException | None = None

    async def request(self, method: str, path: str, **more: Any) -> Json:
        if path.endswith("/events") and self.event_error is not None:
            raise self.event_error
        return await super().request(method, path, **more)


class Candidate(Leader):
    """Takes part in the election from a task, as there are no threads here."""

    def __init__(self, name: str, server: ApiServer, edges: Counter[str]) -> None:
        loop = asyncio.get_running_loop()
        self.lost: list[str] = []
        self.link = ApiLink(Process(name), server, Random(1), edges)  # noqa: S311 # a run that can be repeated
        self.kube = CandidateKube(self.link)

        async def connect() -> Kube:
            return self.kube

        super().__init__(
            connect,
            NAMESPACE,
            Heartbeat(lambda: 0.0),
            identity=name,
            on_lost=self.lost.append,
            clock=loop.time,
            machine_clock=loop.time,
            now=lambda: START + timedelta(seconds=loop.time()),
        )

    def begin(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._run())


class SimCandidate(Candidate, SimLeader):
    """As a run has it, which knows what this replica cannot know."""

    async def look(self) -> None:
        self._kube = self.kube
        await self._try_to_take()


async def server_with(*names: str) -> tuple[ApiServer, list[Candidate]]:
    """The first of them leads, and all have seen the Lease."""
    loop, edges = asyncio.get_running_loop(), Counter[str]()
    server = ApiServer(History(loop.time), edges, lambda: START)
    candidates = [Candidate(name, server, edges) for name in names]
    for candidate in candidates:
        candidate.begin()
        await asyncio.sleep(RETRY_SECONDS + 1)
    assert [candidate.holds() for candidate in candidates] == [True, *[False] * (len(names) - 1)]
    return server, candidates


async def takes_over(first: Candidate, second: Candidate, within_seconds: float = 60.0) -> float:
    """Returns after how long the second leads, having seen that never both did."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not second.holds():
        assert loop.time() < began + within_seconds
        await asyncio.sleep(0.1)
        assert not (first.holds() and second.holds())
    return loop.time() - began


def run(main: Coroutine[None, None, None]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


def test_a_deleted_lease_is_taken_only_once_its_holder_must_have_given_up() -> None:
    async def main() -> None:
        server, (first, second) = await server_with("first", "second")
        first.link.leases_down_until = NEVER_SECONDS  # it does not hear of it
        server.delete(LEASE)
        seconds = await takes_over(first, second)
        assert RENEW_DEADLINE_SECONDS <= seconds < LEASE_SECONDS + 2 * RETRY_SECONDS
        assert (first.epoch, second.epoch) == (1, 2), "agents tell the one from the other"
        assert first.unled is None and second.unled is None, "nobody knows since when"

    run(main())


def test_a_holder_that_hears_that_its_lease_was_deleted_gives_up_at_once() -> None:
    async def main() -> None:
        server, (first, second) = await server_with("first", "second")
        server.delete(LEASE)
        await asyncio.sleep(RETRY_SECONDS + 0.5)
        assert first.lost == ["the Lease was deleted; its holder ends and starts anew"]
        assert not first.holds() and not second.holds()
        await takes_over(first, second)

    run(main())


def test_the_next_leader_knows_since_when_nobody_led() -> None:
    async def main() -> None:
        _, (first, second) = await server_with("first", "second")
        renewed = asyncio.get_running_loop().time()
        first.link.leases_down_until = second.link.leases_down_until = renewed + 3600
        await takes_over(first, second, within_seconds=3700)
        assert second.unled is not None
        began, ended = ((moment - START).total_seconds() for moment in second.unled)
        assert renewed - RETRY_SECONDS <= began <= renewed and ended == pytest.approx(3600 + renewed, abs=20)

    run(main())


def test_holder_and_standby_end_when_the_lease_is_older_than_they_have_seen_it() -> None:
    async def main() -> None:
        server, (first, second) = await server_with("first", "second")
        backup = server.objects[LEASE]
        await asyncio.sleep(2 * LEASE_SECONDS)
        assert first.holds() and not second.lost
        server.objects[LEASE] = backup
        await asyncio.sleep(RETRY_SECONDS + 0.5)
        for candidate in (first, second):
            assert len(candidate.lost) == 1 and "restored from a backup" in candidate.lost[0]
            assert not candidate.holds()

    run(main())


@pytest.mark.parametrize(
    "error", [ValueError("this is no JSON"), asyncio.CancelledError()], ids=["answer", "cancelled"]
)
def test_holder_and_standby_end_although_they_cannot_tell_why(error: BaseException) -> None:
    async def main() -> None:
        server, (first, second) = await server_with("first", "second")
        backup = server.objects[LEASE]
        await asyncio.sleep(2 * LEASE_SECONDS)
        first.kube.event_error = second.kube.event_error = error
        server.objects[LEASE] = backup
        await asyncio.sleep(RETRY_SECONDS + 0.5)
        assert [len(candidate.lost) for candidate in (first, second)] == [1, 1]
        assert not first.holds() and not second.holds()

    run(main())


def test_a_holder_that_makes_its_lease_anew_goes_on_although_it_cannot_tell() -> None:
    async def main() -> None:
        server, (first,) = await server_with("first")
        first.kube.event_error = ValueError("this is no JSON")
        server.objects[LEASE]["metadata"]["uid"] = "another"
        await asyncio.sleep(2 * LEASE_SECONDS)
        assert first.holds() and not first.lost

    run(main())


def test_a_standby_does_not_lead_where_versions_begin_anew() -> None:
    """The backup is older than the Lease: a standby has cached what was written since."""

    async def main() -> None:
        server, (first, second) = await server_with("first", "second")
        first.link.leases_down_until = NEVER_SECONDS
        server.delete(LEASE)
        server.turn_back(0)
        await asyncio.sleep(LEASE_SECONDS + 3 * RETRY_SECONDS)
        assert not second.holds()
        assert len(second.lost) == 1 and "restored from a backup" in second.lost[0]

    run(main())


def test_a_lease_that_somebody_makes_anew_is_waited_for_like_any_other() -> None:
    async def main() -> None:
        server, (first, second, third) = await server_with("first", "second", "third")
        server.delete(LEASE)
        await takes_over(first, second)
        await asyncio.sleep(5 * LEASE_SECONDS)
        assert second.holds() and not third.holds() and not third.lost

    run(main())


@pytest.mark.parametrize("looks_between", [0, 1])
def test_a_replica_cannot_know_of_a_lease_that_it_has_never_read(looks_between: int) -> None:
    """Its own POST came second, and the Lease is deleted before, or after, it has read it."""

    async def main() -> None:
        loop, edges = asyncio.get_running_loop(), Counter[str]()
        server = ApiServer(History(loop.time), edges, lambda: START)
        first, second = (SimCandidate(name, server, edges) for name in ("first", "second"))
        looking = asyncio.gather(first.look(), second.look(), return_exceptions=True)
        assert [type(error) for error in await looking] == [type(None), AlreadyExists]
        first.took_at = loop.time()
        for _ in range(looks_between):
            await second.look()
        server.delete(LEASE)
        await second.look()
        assert (second.epoch, second.cannot_know(first)) == ((0, False) if looks_between else (1, True))

    run(main())

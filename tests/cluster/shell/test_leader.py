"""Leadership against a real API server: one holder at a time, whatever ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

import pytest

from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.operator_account import OperatorAccount
from voxfleet_operator.heartbeat import STALL_SECONDS, Heartbeat
from voxfleet_operator.kube import Json, Kube
from voxfleet_operator.leader import LEASE_NAME, RENEW_DEADLINE_SECONDS, Leader, NotLeader

PATIENCE_SECONDS = 60.0

HOLDER = """
import asyncio, sys
from pathlib import Path
from voxfleet_operator.heartbeat import Heartbeat
from voxfleet_operator.kube import Kube
from voxfleet_operator.leader import Leader

async def main():
    heartbeat = Heartbeat()
    beating = asyncio.create_task(heartbeat.run())
    leader = Leader(lambda: Kube.connect(Path(sys.argv[1])), sys.argv[2], heartbeat)
    await leader.acquire()
    Path(sys.argv[3]).write_text(str(leader.epoch))
    print("held", flush=True)
    await beating

asyncio.run(main())
"""


class Candidate:
    """A leader in this process, and why it lost, if it did."""

    def __init__(self, kubeconfig: Path, namespace: str, heartbeat: Heartbeat) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def on_lost(message: str) -> None:
            loop.call_soon_threadsafe(self.lost.set_result, message)

        self.leader = Leader(lambda: Kube.connect(kubeconfig), namespace, heartbeat, on_lost=on_lost)


MakeCandidate = Callable[[Heartbeat], Candidate]


@pytest.fixture
async def heartbeat() -> AsyncIterator[Heartbeat]:
    beating = Heartbeat()
    task = asyncio.create_task(beating.run())
    yield beating
    task.cancel()


@pytest.fixture
async def candidate(account_here: OperatorAccount, namespace: str) -> AsyncIterator[MakeCandidate]:
    made: list[Candidate] = []

    def make(heartbeat: Heartbeat) -> Candidate:
        made.append(Candidate(account_here.kubeconfig, namespace, heartbeat))
        return made[-1]

    yield make
    for each in made:
        await each.leader.release()


async def lease(kube: Kube, namespace: str) -> Json:
    answer = await kube.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE_NAME}")
    spec: Json = answer["spec"]
    return spec


async def renewal(kube: Kube, namespace: str) -> None:
    """Returns once the Lease has been renewed, looking at it as any other candidate does."""
    before = (await lease(kube, namespace))["renewTime"]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await lease(kube, namespace))["renewTime"] == before:  # noqa: ASYNC110 # only the server knows
            await asyncio.sleep(0.2)


def seconds_of(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


async def test_the_second_takes_over_after_the_first_is_killed_and_never_before(
    account_here: OperatorAccount,
    kube: Kube,
    namespace: str,
    heartbeat: Heartbeat,
    candidate: MakeCandidate,
    tmp_path: Path,
) -> None:
    epoch_file = tmp_path / "epoch"
    first = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HOLDER,
        str(account_here.kubeconfig),
        namespace,
        str(epoch_file),
        stdout=asyncio.subprocess.PIPE,
    )
    assert first.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await first.stdout.readline()).strip() != b"held":
            pass
    assert epoch_file.read_text() == "1"
    second = candidate(heartbeat).leader
    acquiring = asyncio.create_task(second.acquire())
    await renewal(kube, namespace)
    assert not second.holds()
    with pytest.raises(NotLeader):
        second.check()
    first.send_signal(signal.SIGKILL)
    await first.wait()
    last = await lease(kube, namespace)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await acquiring
    assert second.holds()
    taken = await lease(kube, namespace)
    assert (taken["holderIdentity"], taken["leaseTransitions"], second.epoch) == (second.identity, 2, 2)
    assert seconds_of(taken["acquireTime"]) - seconds_of(last["renewTime"]) > RENEW_DEADLINE_SECONDS


async def test_a_released_lease_is_taken_at_once_with_the_next_epoch(
    kube: Kube, namespace: str, heartbeat: Heartbeat, candidate: MakeCandidate
) -> None:
    first, second = candidate(heartbeat).leader, candidate(heartbeat).leader
    await first.acquire()
    assert (first.holds(), first.epoch) == (True, 1)
    await first.release()
    assert not first.holds()
    assert (await lease(kube, namespace))["holderIdentity"] == ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        await second.acquire()
    assert second.epoch == 2


async def test_a_loop_that_stands_still_stops_the_renewals_and_loses_the_lease(
    kube: Kube, namespace: str, candidate: MakeCandidate
) -> None:
    now = 0.0
    heartbeat = Heartbeat(lambda: now)
    stalling = candidate(heartbeat)
    await stalling.leader.acquire()
    assert stalling.leader.holds()
    now = STALL_SECONDS + 0.1
    assert not stalling.leader.holds()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert "renewed" in await stalling.lost
    first_look = (await lease(kube, namespace))["renewTime"]
    heartbeat.beat()
    assert not stalling.leader.holds()
    assert (await lease(kube, namespace))["renewTime"] == first_look


async def test_a_loop_that_goes_on_in_time_keeps_the_lease_and_starts_its_counts_anew(
    kube: Kube, namespace: str, candidate: MakeCandidate
) -> None:
    now = 0.0
    heartbeat = Heartbeat(lambda: now)
    leader = candidate(heartbeat).leader
    await leader.acquire()
    now = STALL_SECONDS + 0.1
    heartbeat.beat()
    assert leader.holds()
    assert heartbeat.resumed_at_seconds == now
    await renewal(kube, namespace)
    assert leader.epoch == 1


async def test_a_lease_taken_by_somebody_else_is_lost(
    installed_crds: ControlPlane, namespace: str, heartbeat: Heartbeat, candidate: MakeCandidate
) -> None:
    robbed = candidate(heartbeat)
    await robbed.leader.acquire()
    patch = '{"spec":{"holderIdentity":"somebody-else"}}'
    installed_crds.kubectl("patch", "lease", LEASE_NAME, "-n", namespace, "--type=merge", "-p", patch)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert "somebody-else" in await robbed.lost
    assert not robbed.leader.holds()


async def test_a_deleted_lease_is_made_anew_by_its_holder_and_told(
    installed_crds: ControlPlane, kube: Kube, namespace: str, heartbeat: Heartbeat, candidate: MakeCandidate
) -> None:
    robbed = candidate(heartbeat)
    await robbed.leader.acquire()
    installed_crds.kubectl("delete", "lease", LEASE_NAME, "-n", namespace)
    events: list[Json] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not events:
            await asyncio.sleep(0.2)
            answer = await kube.request("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")
            events = answer["items"]
    assert robbed.leader.holds() and not robbed.lost.done()
    assert ((await lease(kube, namespace))["holderIdentity"], robbed.leader.epoch) == (robbed.leader.identity, 1)
    assert [(item["reason"], item["regarding"]["name"]) for item in events] == [("LeaseDeleted", LEASE_NAME)]


async def test_a_foreign_annotation_does_not_cost_the_lease(
    installed_crds: ControlPlane, kube: Kube, namespace: str, heartbeat: Heartbeat, candidate: MakeCandidate
) -> None:
    leader = candidate(heartbeat).leader
    await leader.acquire()
    installed_crds.kubectl("annotate", "lease", LEASE_NAME, "-n", namespace, "seen=yes")
    await renewal(kube, namespace)
    assert leader.holds()


async def test_the_epoch_is_raised_above_one_that_an_agent_holds(
    kube: Kube, namespace: str, heartbeat: Heartbeat, candidate: MakeCandidate
) -> None:
    leader = candidate(heartbeat).leader
    await leader.acquire()
    assert await leader.raise_epoch(41) == 42
    assert (await lease(kube, namespace))["leaseTransitions"] == leader.epoch == 42
    assert await leader.raise_epoch(7) == 42
    assert leader.holds()

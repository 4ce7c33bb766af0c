"""While attempt n+1 is being written nobody resumes n, whether the write is slow, gets no answer or fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.job_objects import a_job, a_shard
from tests.unit.operator.decisions.job_states import LIVE
from tests.unit.operator.decisions.test_job_life_simulation import assert_ended_well, assert_never_twice, calm
from tests.unit.operator.decisions.world import World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import AudioShard, Resource
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import AttemptState
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.fleet.mac_view import AgentUnreachable, Outcome
from voxfleet_operator.fleet.mailbox import Letter
from voxfleet_operator.kube_errors import ApiUnavailable, Forbidden, Invalid
from voxfleet_operator.leader import NotLeader
from voxfleet_operator.queue import PLACEMENT
from voxfleet_operator.reconcile.job_life import has_ended

NEVER_ENDS = 10**6
Write = Callable[[], Awaitable[Any]]


class LostMac:
    """mac-a was lost while it worked, and the write of the attempt that takes over on mac-b is caught."""

    def __init__(self, lanes: int = 1) -> None:
        self.world = World(seed=4, lanes=lanes)
        self.world.api.add(job_body(parallelism=2))
        self.agent, self.other = self.world.agents["mac-a"], self.world.agents["mac-b"]
        self.caught = 0

    async def lose(self) -> None:
        while not any(run.laned for run in self.agent.runs.values()):
            await self.world.settle(1)
        self.key = next(key for key, run in self.agent.runs.items() if run.laned)
        self.agent.runs[self.key].left = NEVER_ENDS
        self.world.fleet.reachable.discard("mac-a")
        self.world.refresh("mac-a")

    def catch(self, act: Callable[[Write], Awaitable[Any]]) -> None:
        """`act` gets the write of attempt 2 instead of its happening."""
        real = self.world.api.apply_status

        async def apply_status(
            kind: type[Resource], namespace: str, name: str, status: Mapping[str, Any], version: str | None = None
        ) -> Any:
            async def write() -> Any:
                return await real(kind, namespace, name, status, version)

            shard = self.world.cache.by_uid(AudioShard, self.key.shard_uid)
            if shard is None or name != shard.metadata.name:
                return await write()
            if status.get("attempt") != 2 or status["attempts"][-1]["outcome"] != "Assigned":
                return await write()
            self.caught += 1
            return await act(write)

        self.world.api.apply_status = apply_status  # type: ignore[assignment,method-assign] # the test stands in between

    async def until_caught(self) -> None:
        while not self.caught:
            await self.world.settle(1)

    async def comes_back(self) -> None:
        """mac-a is in contact again and its shard's turn comes."""
        self.world.fleet.reachable.add("mac-a")
        self.world.refresh("mac-a")
        await self.reconcile_shard()

    async def reconcile_shard(self) -> None:
        shard = self.world.cache.by_uid(AudioShard, self.key.shard_uid)
        assert shard is not None
        await self.world.reconcilers["AudioShard"].reconcile(key_of(shard))
        await self.world.send()

    @property
    def state(self) -> AttemptState:
        return self.agent.runs[self.key].state

    async def ends_well(self) -> None:
        calm(self.world)
        for agent in self.world.agents.values():
            for run in agent.runs.values():
                run.left = min(run.left, 1)
        for _ in range(600):
            await self.world.settle(1)
            assert_never_twice(self.world)
            if self.world.quiet():
                break
        assert_ended_well(self.world)


async def test_a_mac_that_returns_during_the_write_resumes_nothing() -> None:
    lost = LostMac()
    await lost.lose()

    async def act(write: Write) -> Any:
        await lost.comes_back()
        assert lost.state is AttemptState.PARKED
        return await write()

    lost.catch(act)
    await lost.until_caught()
    await lost.ends_well()


@pytest.mark.parametrize("happened", [True, False])
async def test_a_write_without_an_answer_stays_assumed_and_is_sent_again(happened: bool) -> None:
    lost = LostMac()
    await lost.lose()

    async def act(write: Write) -> Any:
        if happened and lost.caught == 1:
            await write()
        if lost.caught < 4:
            raise ApiUnavailable("no answer")
        return await write()

    lost.catch(act)
    await lost.until_caught()
    lost.world.api.changes.clear()  # the watch has not delivered it either
    await lost.comes_back()
    assert lost.state is AttemptState.PARKED
    await lost.ends_well()
    assert lost.caught >= 4


@pytest.mark.parametrize("refusal", [Forbidden("no"), Invalid("no")])
async def test_a_write_that_is_refused_when_it_is_sent_again_may_have_happened_before(refusal: Exception) -> None:
    """Unless its content is refused, which it was then the first time, too."""
    lost = LostMac()
    await lost.lose()
    happened = isinstance(refusal, Forbidden)

    async def act(write: Write) -> Any:
        if lost.caught == 1:
            if happened:
                await write()
            raise ApiUnavailable("no answer")
        if lost.caught == 2:
            raise refusal
        return await write()

    lost.catch(act)
    deliver = lost.world.deliver
    lost.world.deliver = lambda count=None: None  # type: ignore[method-assign] # the watch lags
    while lost.caught < 2:
        await lost.world.settle(1)
    if happened:
        await lost.comes_back()
        assert lost.state is AttemptState.PARKED
    lost.world.deliver = deliver  # type: ignore[method-assign] # as before
    await lost.ends_well()


async def test_a_shard_does_not_stay_assumed_when_leadership_is_in_doubt_while_its_write_is_sent_again() -> None:
    lost = LostMac()
    await lost.lose()

    async def act(write: Write) -> Any:
        if lost.caught == 1:
            raise ApiUnavailable("no answer")
        return await write()

    lost.catch(act)
    await lost.until_caught()
    leader, refused = lost.world.context.leader, 0

    def check() -> None:
        nonlocal refused
        refused += 1
        if refused == 1:
            raise NotLeader("the Lease cannot be renewed at the moment")

    leader.check = check  # type: ignore[method-assign] # the test stands in between
    with pytest.raises(NotLeader):
        await lost.world.reconcilers[PLACEMENT.kind].reconcile(PLACEMENT)
    await lost.ends_well()
    assert lost.caught >= 2


async def test_a_write_that_failed_gives_the_mac_its_attempt_back() -> None:
    lost = LostMac()
    await lost.lose()

    async def act(write: Write) -> Any:
        raise Invalid("no")

    lost.catch(act)
    await lost.until_caught()
    await lost.comes_back()
    assert lost.state is AttemptState.RUNNING
    await lost.ends_well()


async def test_one_shard_whose_write_gets_no_answer_holds_up_no_other() -> None:
    lost = LostMac(lanes=2)
    await lost.lose()

    async def act(write: Write) -> Any:
        raise ApiUnavailable("this one alone")

    lost.catch(act)
    await lost.until_caught()
    lost.world.api.add(job_body("other"))
    await lost.world.settle(300)
    assert lost.caught > 4 and has_ended(lost.world.job("other")) and not has_ended(lost.world.job())


async def test_a_put_is_not_sent_for_an_attempt_that_was_replaced_while_its_secret_was_read() -> None:
    lost = LostMac()
    lost.world = World(seed=4)
    world = lost.world
    world.api.secrets["team", "s3"] = {"AWS_ACCESS_KEY_ID": b"id", "AWS_SECRET_ACCESS_KEY": b"secret"}
    world.api.add(job_body(parallelism=2, credentialsSecretRef={"name": "s3"}))
    lost.agent, lost.other = world.agents["mac-a"], world.agents["mac-b"]
    await lost.lose()
    lost.catch(lambda write: write())
    secret = world.api.secret
    shard = world.cache.by_uid(AudioShard, lost.key.shard_uid)
    assert shard is not None
    lost_name = shard.metadata.name

    async def slow_secret(namespace: str, name: str) -> dict[str, bytes]:
        world.api.secret = secret  # type: ignore[method-assign] # only this once
        world.fleet.reachable.discard("mac-a")
        while not lost.caught:
            world.refresh("mac-a")
            world.clock.seconds += 1
            lost.other.work()
            world.refresh("mac-b")
            world.deliver()
            for key in [key for key in world.queue.ready if key.name != lost_name]:
                del world.queue.ready[key]
                await world._reconcile(key)
            await world.send()
        world.fleet.reachable.add("mac-a")
        return await secret(namespace, name)

    world.agents["mac-a"].restart()
    world.fleet.reachable.add("mac-a")
    world.refresh("mac-a")
    world.api.secret = slow_secret  # type: ignore[method-assign] # the API server takes its time
    await lost.reconcile_shard()
    assert lost.caught and lost.state is AttemptState.PARKED
    await lost.ends_well()


async def test_the_next_attempt_waits_until_one_that_works_elsewhere_is_deleted() -> None:
    """A PUT of a former leader may arrive late: the Mac that was lost then works again when it comes back."""
    lost = LostMac()
    await lost.lose()

    async def act(write: Write) -> Any:
        lost.world.fleet.reachable.add("mac-a")
        lost.agent.runs[lost.key].state, lost.agent.renewed_seconds = AttemptState.RUNNING, lost.world.clock.seconds
        lost.world.refresh("mac-a")
        return await write()

    real, refused = lost.world.fleet._call, 0

    async def call(mac: str, letter: Letter) -> Outcome:
        nonlocal refused
        if mac == "mac-a" and letter.request is None and refused < 2:
            refused += 1
            raise AgentUnreachable("the answer got lost")
        return await real(mac, letter)

    lost.world.fleet._call = call  # type: ignore[method-assign] # the test stands in between
    lost.catch(act)
    await lost.until_caught()
    await lost.ends_well()
    assert refused == 2 and (AttemptKey(lost.key.shard_uid, 2), "mac-b") in lost.world.fleet.started


def test_the_cache_shows_what_is_assumed_until_it_knows_better() -> None:
    cache = Cache()
    job = a_job()
    shard = _version(a_shard(job, Stage.PLAN), "5")
    live = _version(a_shard(job, Stage.PLAN, **LIVE), "5")
    uid = shard.metadata.uid
    cache.put(shard)
    cache.assume(live)
    assert (
        cache.is_assumed(uid) and cache.by_uid(AudioShard, uid) == live and cache.owned_by(AudioShard, "12345678-job")
    )
    assert not cache.put(shard), "the version that it was decided on takes nothing back"
    cache.withdraw(uid)
    assert not cache.is_assumed(uid) and cache.by_uid(AudioShard, uid) == shard
    cache.assume(live)
    assert cache.put(_version(shard, "6")) and not cache.is_assumed(uid)
    cache.assume(live)
    assert not cache.is_assumed(uid), "a newer version is known"
    cache.assume(_version(live, "6"))
    cache.remove(shard)
    cache.withdraw(uid)
    assert cache.by_uid(AudioShard, uid) is None and not cache.is_assumed(uid)


def _version(shard: AudioShard, version: str) -> AudioShard:
    return shard.model_copy(update={"metadata": shard.metadata.model_copy(update={"resource_version": version})})

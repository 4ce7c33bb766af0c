"""Each kind of fault: what it does, and for how long. Calm ends all of them but those that last for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from tests.sim import people
from tests.sim.machine import Machine
from tests.sim.operator_process import MARGIN_SECONDS, OperatorProcess
from tests.sim.virtual_loop import Process

from voxfleet_cli.job_verbs import Verb
from voxfleet_operator.kube_errors import NotFound
from voxfleet_operator.queue import Key

if TYPE_CHECKING:
    from tests.sim.world import World

Fault = Callable[["World"], None]


def operator_crash(world: World) -> None:
    operator = world.random.choice(world.operators)
    _at_some_step(world, operator.process, operator.crash, 400)


def leader_crash(world: World) -> None:
    operator = _leader(world)
    _at_some_step(world, operator.process, operator.crash, 1500)


def operator_frozen(world: World) -> None:
    """SIGSTOP or a long stall: when it is over, the process goes on where it was, and another may lead."""
    operator = _leader(world)

    def freeze() -> None:
        operator.freeze()
        _later(world, world.random.choice([3, 7, 12, 40]), operator.thaw)

    _at_some_step(world, operator.process, freeze, 300)


def agent_crash(world: World) -> None:
    machine = _machine(world)
    _at_some_step(world, machine.process, machine.crash, 200)


def agent_drained(world: World) -> None:
    machine = _machine(world)
    agent = machine.agent
    if agent is not None:

        async def drain() -> None:
            await agent.shut_down()
            await asyncio.sleep(world.random.uniform(0, 5))
            machine.crash()

        machine.process.spawn(drain())


def mac_drained_and_gone(world: World) -> None:
    """It says that it has parked its attempts, and never comes back."""
    machine = _busy_machine(world)
    agent = machine.agent
    if agent is not None:

        async def drain() -> None:
            await agent.shut_down()
            await asyncio.sleep(world.random.uniform(0.05, 0.5))
            machine.die()

        machine.process.spawn(drain())


def mac_rebooted(world: World) -> None:
    _machine(world).crash(reboot=True)


def mac_asleep(world: World) -> None:
    machine = _machine(world)
    machine.sleep()
    _later(world, world.random.choice([5, 40, 120, 250]), machine.wake)


def mac_gone(world: World) -> None:
    _busy_machine(world).die()


def all_macs_gone(world: World) -> None:
    for machine in world.machines.values():
        machine.die()


def jobs_at_fault(world: World) -> None:
    """What the jobs name is gone, so that what starts now fails for good."""
    world.site.jobs_at_fault = True


def mac_asleep_long(world: World) -> None:
    """Until after another Mac took over."""
    machine = _busy_machine(world)
    machine.sleep()
    _later(world, world.random.uniform(100, 220), machine.wake)


def lanes_taken(world: World) -> None:
    """By somebody else, on every Mac, for longer than a shard's pauses add up to."""
    for machine in world.machines.values():
        seconds = world.random.choice([30.0, 2400.0])
        world.trouble_lasts(seconds)
        machine.lanes_taken_until = world.loop.time() + seconds


def cut_off_until_replaced(world: World) -> None:
    """A Mac can be reached again at about the moment at which its shard goes to another, while writes are slow."""
    machine = _busy_machine(world)
    seconds = world.scenario.lease_seconds + MARGIN_SECONDS + world.random.uniform(-40, 0)
    world.trouble_lasts(seconds + 30)
    for operator in world.operators:
        world.network.cut(operator.name, machine.host, world.loop.time() + seconds)
        world.network.cut(machine.host, operator.name, world.loop.time() + seconds)
        operator.link.status_slowness, operator.link.slowest_seconds = 1.0, 14.0


def mac_reinstalled(world: World) -> None:
    _machine(world).reinstall()


def mac_swapped(world: World) -> None:
    """A person points the MacAgent at another machine; the old one goes on."""
    key = _mac(world)
    old = world.machine_of(key.name)
    new = world.add_machine(f"{key.name}-host-{len(world.machines)}", old.lanes)
    ssh = {**world.server.get(key)["spec"]["ssh"], "host": new.host}
    world.server.change_spec(key, {"ssh": ssh, "ledgerPublicKey": new.disk.public_key})


def mac_renamed(world: World) -> None:
    """A person gives a Mac another name: its machine, and what that works on, stay the same."""
    key = _mac(world)
    old = world.server.get(key)
    new = f"{key.name}-again"
    if Key("MacAgent", "", new) in world.server.objects:
        return

    def add() -> None:
        # Whoever lets the Mac take work again knows its old name alone.
        spec = {**old["spec"], "unschedulable": False}
        world.server.create({"kind": "MacAgent", "metadata": {"name": new}, "spec": spec})

    if world.random.random() < 0.5:  # for a while two of them stand for one machine
        add()
        _later(world, world.random.uniform(0, 30), lambda: world.server.delete(key))
    else:
        world.server.delete(key)
        add()


def job_suspended(world: World) -> None:
    key = _job(world)
    if key is not None and people.says(world, key, Verb.SUSPEND):
        _later(world, world.random.uniform(1, 90), lambda: people.says(world, key, Verb.RESUME))


def job_cancelled(world: World) -> None:
    key = _job(world)
    if key is not None:
        people.says(world, key, Verb.CANCEL)


def job_rerun(world: World) -> None:
    """Once a job has ended, a person runs again what it left."""
    key, longest_seconds = _job(world), 150.0
    if key is not None:
        world.trouble_lasts(longest_seconds + 10)
        world.keep(people.runs_again(world, key, longest_seconds))


def mac_drains(world: World) -> None:
    key = _busy_mac(world)
    finishes = world.random.random() < 0.5
    drain = {"mode": "Finish", "deadlineSeconds": world.random.choice([0, 30, 120])}
    world.server.change_spec(key, {"drain": drain if finishes else {"mode": "ReturnAtNextClip"}})
    _later(world, world.random.choice([20, 120, 500]), lambda: world.server.change_spec(key, {"drain": None}))


def window_closes(world: World) -> None:
    """While the Mac works; nothing would have begun there if it had been known."""
    now = world.wall()
    end = now + timedelta(seconds=world.random.choice([60, 90, 150]))
    window = {"start": (now - timedelta(hours=3)).strftime("%H:%M"), "end": end.strftime("%H:%M")}
    _is_there_for(world, {"timeZone": "Etc/UTC", "windows": [window]})


def rental_ends(world: World) -> None:
    end = world.wall() + timedelta(seconds=world.random.choice([30, 310, 340]))
    _is_there_for(world, {"rentalEnd": end.strftime("%Y-%m-%dT%H:%M:%SZ")})


def mac_returns_work(world: World) -> None:
    """Its attempts end as if it were called back, and nobody has asked."""
    machine = _busy_machine(world)
    machine.returns_work = True
    _later(world, world.random.uniform(5, 60), lambda: setattr(machine, "returns_work", False))


def mac_unschedulable(world: World) -> None:
    key = _mac(world)
    world.server.change_spec(key, {"unschedulable": True})
    _later(world, world.random.uniform(10, 120), lambda: world.server.change_spec(key, {"unschedulable": False}))


def disk_full(world: World) -> None:
    machine = _machine(world)
    machine.disk_full = True
    _later(world, world.random.uniform(10, 120), lambda: setattr(machine, "disk_full", False))


def disk_slow(world: World) -> None:
    """Each state of an attempt lasts for seconds, so that calls meet it."""
    machine = _machine(world)
    machine.longest_write_seconds = world.random.choice([1.0, 4.0])
    _later(world, world.random.uniform(20, 120), machine.write_as_usual)


def runtime_incompatible(world: World) -> None:
    machine = _machine(world)
    machine.runtime_compatible = False
    _later(world, world.random.uniform(10, 90), lambda: setattr(machine, "runtime_compatible", True))


def partition(world: World) -> None:
    """Between one replica or all and a Mac, in one direction or both."""
    machine, seconds = _machine(world), world.random.choice([5, 15, 60, 180, 300])
    world.trouble_lasts(seconds)
    both = world.random.random() < 0.7
    operators = world.operators if world.random.random() < 0.7 else [world.random.choice(world.operators)]
    for operator in operators:
        pair = (operator.name, machine.host)
        for sender, receiver in (
            (pair, pair[::-1]) if both else (pair,) if world.random.random() < 0.5 else (pair[::-1],)
        ):
            world.network.cut(sender, receiver, world.loop.time() + seconds)


def network_lossy(world: World) -> None:
    world.network.loss = world.random.choice([0.02, 0.1, 0.3])
    _later(world, world.random.uniform(20, 120), lambda: setattr(world.network, "loss", 0.0))


def network_slow(world: World) -> None:
    world.network.slowness = world.random.choice([0.05, 0.3])
    _later(world, world.random.uniform(20, 120), lambda: setattr(world.network, "slowness", 0.0))


def network_repeats(world: World) -> None:
    world.network.repetition = world.random.choice([0.1, 0.5])
    _later(world, world.random.uniform(20, 200), lambda: setattr(world.network, "repetition", 0.0))


def api_lossy(world: World) -> None:
    for operator in world.operators:
        operator.link.loss = world.random.choice([0.05, 0.3])
        _later(world, world.random.uniform(10, 90), partial(setattr, operator.link, "loss", 0.0))


def api_slow(world: World) -> None:
    for operator in world.operators:
        operator.link.slowness = world.random.choice([0.1, 0.5])
        _later(world, world.random.uniform(10, 90), partial(setattr, operator.link, "slowness", 0.0))


def api_outage(world: World) -> None:
    seconds = world.random.choice([2, 6, 15, 45])
    for operator in world.operators:
        operator.link.down_until = world.loop.time() + seconds


def status_unanswered(world: World) -> None:
    """No status can be written for a while, and the Lease can: what Macs report waits in memory."""
    seconds = world.random.choice([20, 260])
    world.trouble_lasts(seconds)
    for operator in world.operators:
        operator.link.status_down_until = world.loop.time() + seconds


def leader_cut_off(world: World) -> None:
    """From the API server alone: another replica takes over while this one still reaches the Macs."""
    _leader(world).link.down_until = world.loop.time() + world.random.choice([6, 12, 30])


def lease_not_renewed(world: World) -> None:
    """Leadership goes while everything else still works."""
    _leader(world).link.leases_down_until = world.loop.time() + world.random.choice([7, 12, 25])


def lease_deleted(world: World) -> None:
    for key in [key for key in world.server.objects if key.kind == "Lease"]:
        world.server.delete(key)


def watch_broken(world: World) -> None:
    for operator in world.operators:
        if operator.watch is not None:
            operator.watch.break_streams(world.loop.time() + world.random.choice([1, 10, 60]))


def watch_late(world: World) -> None:
    for operator in world.operators:
        if operator.watch is not None:
            operator.watch.lag_seconds = world.random.choice([1.0, 5.0, 20.0])


def archive_unreachable(world: World) -> None:
    """What is settled meanwhile is counted later. Its own chance, so that all else goes as it would without."""
    seconds = Random(world.scenario.seed).choice([30, 120, 400])  # noqa: S311 # no secret
    world.archive.down = True
    _later(world, seconds, lambda: setattr(world.archive, "down", False))


def clock_stepped(world: World) -> None:
    """The wall clock of one machine or replica jumps; monotonic clocks do not."""
    step = timedelta(seconds=world.random.choice([-7200, -300, -5, 5, 300, 7200]))
    if world.random.random() < 0.5:
        _machine(world).wall_offset += step
    else:
        world.random.choice(world.operators).clock.wall_offset += step


FAULTS: dict[str, Fault] = {
    name.__name__.replace("_", "-"): name
    for name in (
        operator_crash,
        leader_crash,
        operator_frozen,
        agent_crash,
        agent_drained,
        mac_rebooted,
        mac_asleep,
        mac_asleep_long,
        mac_gone,
        mac_drained_and_gone,
        all_macs_gone,
        jobs_at_fault,
        lanes_taken,
        cut_off_until_replaced,
        mac_reinstalled,
        mac_swapped,
        mac_renamed,
        job_suspended,
        job_cancelled,
        job_rerun,
        mac_drains,
        window_closes,
        rental_ends,
        mac_returns_work,
        mac_unschedulable,
        disk_full,
        disk_slow,
        runtime_incompatible,
        partition,
        network_lossy,
        network_slow,
        network_repeats,
        api_lossy,
        api_slow,
        api_outage,
        status_unanswered,
        leader_cut_off,
        lease_not_renewed,
        lease_deleted,
        watch_broken,
        watch_late,
        clock_stepped,
        archive_unreachable,
    )
}


def _leader(world: World) -> OperatorProcess:
    leading = [operator for operator in world.operators if operator.leads]
    return world.random.choice(leading or world.operators)


def _mac(world: World) -> Key:
    return world.random.choice(sorted(key for key in world.server.objects if key.kind == "MacAgent"))


def _job(world: World) -> Key | None:
    jobs = sorted(key for key in world.server.objects if key.kind == "AudioBatchJob")
    return world.random.choice(jobs) if jobs else None


def _machine(world: World) -> Machine:
    return world.machine_of(_mac(world).name)


def _busy_mac(world: World) -> Key:
    machine = _busy_machine(world)
    keys = sorted(key for key in world.server.objects if key.kind == "MacAgent")
    return next((key for key in keys if world.machine_of(key.name) is machine), keys[0])


def _is_there_for(world: World, availability: dict[str, object]) -> None:
    key = _busy_mac(world)
    world.server.change_spec(key, {"availability": availability})
    _later(world, world.random.choice([200, 500]), lambda: world.server.change_spec(key, {"availability": None}))


def _busy_machine(world: World) -> Machine:
    working = world.history.working()
    busy = [machine for machine in world.machines.values() if machine.disk.hardware_id in working]
    return world.random.choice(busy) if busy else _machine(world)


def _at_some_step(world: World, process: Process, act: Callable[[], None], most: int) -> None:
    """At any await: after so many turns of its tasks as chance says, most often soon."""
    process.on_step = act
    process.watched_step = process.steps + world.random.randint(1, world.random.choice([5, 50, most]))


def _later(world: World, seconds: float, act: Callable[[], object]) -> None:
    def run() -> None:
        try:
            act()
        except NotFound:
            return

    world.trouble_lasts(seconds)
    world.loop.call_later(seconds, run)

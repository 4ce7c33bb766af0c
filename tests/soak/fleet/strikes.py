"""Carries faults out when their moment has come, ends them in time, and starts what died again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import psutil
from tests.soak.fleet.faults import (
    LOST_MARGIN_SECONDS,
    LOST_WITHIN_SECONDS,
    OF_A_MAC,
    Fault,
    FleetSchedule,
    Harm,
    Moment,
    Target,
)
from tests.soak.fleet.invariants import Freeze
from tests.soak.fleet.link import Link
from tests.soak.fleet.rig import FleetRig, NoAnswer, SoakMac

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import AttemptStatus
from voxfleet_dev.operator_process import OperatorProcess
from voxfleet_dev.processes import Child
from voxfleet_operator.leader import LOST_EXIT_CODE

RESTART_SECONDS = 1.0
"""A supervisor starts what died again after this time, as launchd and a Deployment do."""
STAGES = {Moment.PLANNING: Stage.PLAN, Moment.WORKING: Stage.PROCESS, Moment.MERGING: Stage.FINALIZE}


@dataclass(frozen=True)
class Seen:
    """The job as far as agents show it."""

    attempts: Mapping[int, Sequence[AttemptStatus]]
    """By the Mac's number, of those that answer."""
    deleting: bool = False
    mac_is_lost: bool = False
    """A shard's status says so."""

    def macs_at(self, moment: Moment) -> list[int]:
        if moment is Moment.DELETING:
            return list(self.attempts) if self.deleting else []
        return [
            number
            for number, attempts in self.attempts.items()
            if any(
                attempt.stage == STAGES[moment]
                and not attempt.has_ended
                and (moment is not Moment.WORKING or attempt.progress.done)
                for attempt in attempts
            )
        ]


@dataclass(frozen=True)
class _Ending:
    """Of a fault that goes on."""

    fault: Fault
    part: str
    at: float
    end: Callable[[], None]


class Strikes:
    """The faults of one run. One part is hurt by one fault at a time."""

    def __init__(self, rig: FleetRig, schedule: FleetSchedule) -> None:
        self.struck: list[Fault] = []
        self.freezes: list[Freeze] = []
        self.late_seconds = 0.0
        self.troubles: list[str] = []
        self.orphans: set[psutil.Process] = set()
        """Lanes whose agent was killed."""
        self.operator_exits: list[int] = []
        self._rig = rig
        self._replicas = schedule.replicas
        self._waiting = list(enumerate(schedule.faults))
        self._met: dict[int, tuple[float, list[int]]] = {}
        """By the fault's number: when its moment was first seen, and on which Macs."""
        self._endings: list[_Ending] = []
        self._lost: list[_Ending] = []
        self._died_at: dict[str, float] = {}
        self._chance = random.Random(f"strikes-{schedule.seed}")  # noqa: S311 - repeatable on purpose

    @property
    def going_on(self) -> bool:
        return bool(self._endings)

    def quiet(self, number: int) -> bool:
        """Whether this Mac's agent is down or frozen by a fault, so that asking it takes time alone."""
        return any(ending.part == f"agent {number}" for ending in self._endings)

    def tick(self, seen: Seen) -> None:
        now = time.monotonic()
        if seen.mac_is_lost:
            self._mac_is_lost(now)
        for ending in [one for one in self._endings if one.at <= now]:
            self._end(ending)
        for number, fault in list(self._waiting):
            macs = seen.macs_at(fault.moment)
            if macs:
                self._met.setdefault(number, (now, macs))
            if number not in self._met:
                continue
            since, first_macs = self._met[number]
            if now - since >= fault.after_seconds and self._strike(fault, macs or first_macs):
                self._waiting.remove((number, fault))
                self.struck.append(fault)
        self._revive(now)

    def end_all(self) -> None:
        """Ends what goes on, whether or not its time is over."""
        for ending in list(self._endings):
            self._end(ending)

    def _mac_is_lost(self, now: float) -> None:
        """What was to lose it goes on for its time from now on."""
        for number, ending in enumerate(self._endings):
            if ending.fault.kind.loses_mac and ending not in self._lost:
                self._endings[number] = replace(ending, at=now + ending.fault.for_seconds)
                self._lost.append(self._endings[number])

    def _end(self, ending: _Ending) -> None:
        self._endings.remove(ending)
        ending.end()

    def _strike(self, fault: Fault, macs: Sequence[int]) -> bool:
        """False if the part cannot be hurt now."""
        target = fault.kind.target
        if target in OF_A_MAC:
            number = self._chance.choice(macs)
        else:
            number = self._operator_number() if target is Target.OPERATOR else 0
        part = f"{target} {number}"
        if any(ending.part == part for ending in self._endings):
            return False
        end = self._hurt(fault, number)
        if end is None:
            return False
        lasting_seconds = LOST_WITHIN_SECONDS if fault.kind.loses_mac else fault.for_seconds
        self._endings.append(_Ending(fault, part, time.monotonic() + lasting_seconds, end))
        return True

    def _hurt(self, fault: Fault, number: int) -> Callable[[], None] | None:
        """Returns what ends the fault; None if there is nothing to hurt."""
        match fault.kind.target:
            case Target.LINK:
                return self._hurt_link(fault, self._rig.macs[number].link)
            case Target.LANE:
                return self._hurt_lanes(fault, self._rig.macs[number].agent.descendants())
            case Target.AGENT:
                return self._hurt_agent(fault, self._rig.macs[number])
            case Target.OPERATOR:
                return self._hurt_child(fault, self._rig.operators[number].child)
            case Target.APISERVER:
                return self._hurt_child(fault, self._rig.control_plane.apiserver)
            case Target.ETCD:
                return self._hurt_child(fault, self._rig.control_plane.etcd)

    def _hurt_child(self, fault: Fault, child: Child) -> Callable[[], None] | None:
        if not child.running:
            return None
        if fault.kind.harm is Harm.KILL:
            child.kill()
            return child.start
        child.freeze()
        return child.thaw

    def _hurt_agent(self, fault: Fault, mac: SoakMac) -> Callable[[], None] | None:
        began = time.time()
        lanes = mac.agent.descendants()
        end = self._hurt_child(fault, mac.agent)
        if end is None:
            return None
        if fault.kind.harm is Harm.KILL:
            self.orphans.update(lanes)
            return end
        self._arrives_late(fault)

        def thaw() -> None:
            self.freezes.append(Freeze(mac.mac.name, began, time.time()))
            mac.agent.thaw()

        return thaw

    def _hurt_lanes(self, fault: Fault, lanes: Sequence[psutil.Process]) -> Callable[[], None] | None:
        def each(act: Callable[[psutil.Process], None]) -> None:
            for lane in lanes:
                with suppress(psutil.NoSuchProcess):
                    act(lane)

        if not lanes:
            return None
        if fault.kind.harm is Harm.KILL:
            each(psutil.Process.kill)
            return lambda: None
        each(psutil.Process.suspend)
        return lambda: each(psutil.Process.resume)

    def _hurt_link(self, fault: Fault, link: Link) -> Callable[[], None]:
        match fault.kind.harm:
            case Harm.STALL:
                link.stall()
                self._arrives_late(fault)
            case Harm.DROP:
                link.drop()
            case Harm.DELAY:
                link.delay(self._chance.uniform(0.05, 0.8))
            case _:
                link.half_close(towards_mac=self._chance.random() < 0.5)
        return link.heal

    def _arrives_late(self, fault: Fault) -> None:
        """A renewal that waits this long grants its lease when it arrives. A lost Mac's lease is over by then."""
        if not fault.kind.loses_mac:
            self.late_seconds = max(self.late_seconds, fault.for_seconds - LOST_MARGIN_SECONDS)

    def _operator_number(self) -> int:
        """The leader's; while nobody can tell who leads, any."""
        if self._replicas == 1:
            return 0
        try:
            leader = self._rig.leader()
        except NoAnswer:
            leader = None
        return self._chance.randrange(self._replicas) if leader is None else self._rig.operators.index(leader)

    def _revive(self, now: float) -> None:
        down = {ending.part for ending in self._endings}
        operators: list[OperatorProcess] = self._rig.operators[: self._replicas]
        parts = {
            **{f"operator {number}": operator.child for number, operator in enumerate(operators)},
            **{f"agent {number}": mac.agent for number, mac in enumerate(self._rig.macs)},
            "apiserver 0": self._rig.control_plane.apiserver,
            "etcd 0": self._rig.control_plane.etcd,
        }
        for part, child in parts.items():
            if child.running or part in down:
                self._died_at.pop(part, None)
            elif part not in self._died_at:
                self._died_at[part] = now
                if part.startswith("operator") and child.exit_code == LOST_EXIT_CODE:
                    self.operator_exits.append(LOST_EXIT_CODE)
                else:
                    self.troubles.append(f"{part} ended by itself with {child.exit_code}:\n{child.log_tail(10)}")
            elif now - self._died_at[part] >= RESTART_SECONDS:
                child.start()

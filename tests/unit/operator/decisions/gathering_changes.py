"""Random changes of everything that a placement pass reads, and the gatherer that keeps up with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

from tests.bench.stored_fleet import StoredFleet
from tests.bench.stored_objects import (
    Shape,
    identity,
    job_body,
    load,
    mac_body,
    mac_name,
    mac_view,
    machine_facts,
    namespace,
    process_body,
    statement_body,
)

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, MachineHourStatement
from voxfleet_api.kinds.mac_agent import Access, Drain
from voxfleet_api.kinds.mac_availability import OpeningHours
from voxfleet_api.protocol import AttemptState, AttemptStatus
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Taint
from voxfleet_operator.placement.gather import PlacementGatherer
from voxfleet_operator.placement.snapshot import (
    PlacementSnapshot,
)
from voxfleet_operator.reconcile.exclusions import Exclusion
from voxfleet_operator.reconcile.job_findings import Blocker
from voxfleet_operator.reconcile.mac.exclusion import known_machine
from voxfleet_operator.reconcile.refusing_macs import REFUSALS
from voxfleet_operator.reconcile.registration import SharedFindings

SHAPE = Shape(jobs=4, shards_a_job=4, macs=5, live=6, committed=1)
DAY = {"timeZone": "Europe/Berlin", "windows": [{"start": "22:30", "end": "23:30"}]}
RENTAL = {"rentalStart": "2026-11-20T21:00:00Z", "rentalEnd": "2026-11-20T23:10:00Z"}
OPEN_TO_ALL = (Access(namespace_selector=LabelSelector(), uri_prefixes=("file:///data/",)),)
FIRST_TEAM = LabelSelector(match_labels={"team": "team-1"})
DRAINING = {
    "type": "Draining",
    "status": "True",
    "reason": "Draining",
    "lastTransitionTime": "2026-11-20T21:30:00Z",
}


class Changes:
    """A fleet to which anything may happen that a pass has to notice."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.fleet = StoredFleet(SHAPE)
        self.context = self.fleet.context()
        self.findings = SharedFindings.empty(self.context)
        self.kept = PlacementGatherer(self.context, self.findings)
        self.events: tuple[Callable[[], None], ...] = (
            *(self.shard_written, self.shard_written, self.shard_written, self.shard_assumed, self.shard_gone),
            *(self.job_written, self.job_gone, self.job_comes, self.job_blocked, self.shard_pauses),
            *(self.view_changes, self.view_changes, self.mac_written, self.mac_gone, self.mac_comes),
            *(self.mac_pauses, self.mac_excluded, self.mac_refuses, self.mac_takes),
            *(self.rows_settled, self.labels_change, self.time_passes),
        )

    def happen(self) -> str:
        event = self.random.choice(self.events)
        event()
        return event.__name__

    def fresh(self) -> PlacementSnapshot:
        return PlacementGatherer(self.context, self.findings).gather()

    def _any(self, kind: type[Any]) -> Any | None:
        found = self.fleet.cache.all(kind)
        return self.random.choice(found) if found else None

    def shard_written(self) -> None:
        shard = self._any(AudioShard)
        if shard is None:
            return
        job = self.fleet.cache.by_uid(AudioBatchJob, shard.spec.job_ref.uid)
        if job is None:
            return
        kind = self.random.choice(["live", "committed", "waiting", "ended", "failed", "split", "suspect"])
        on = self.random.randrange(SHAPE.macs)
        body = process_body(
            job, shard.spec.ordinal, live_on=on if kind != "waiting" else None, committed=kind == "committed"
        )
        status = body["status"]
        if kind in ("ended", "failed"):
            ended = {"outcome": self.random.choice(["Failed", "Lost", "Returned"]), "class": "MachineLost"}
            status["attempts"] = [record | ended for record in status["attempts"]]
        if kind == "suspect":  # on two machines
            failed_on = {"outcome": "Failed", "class": "GpuAbortTimeout"}
            first = status["attempts"][0] | failed_on
            other = (on + 1) % SHAPE.macs
            second = first | {"attempt": 2, "mac": mac_name(other), "machine": identity(other).dump()}
            status |= {"attempt": 2, "attempts": [first, second]}
        if kind == "failed":
            reason = self.random.choice(["AttemptsExhausted", "ModelMismatch"])
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": reason,
                "lastTransitionTime": "2026-11-20T22:00:00Z",
            }
            status["conditions"] = [failed]
        if kind == "split":
            status["supersededBy"] = ["a", "b"]
        self.fleet.change(load(body))

    def shard_assumed(self) -> None:
        shard, cache = self._any(AudioShard), self.fleet.cache
        if shard is None:
            return
        if cache.is_assumed(shard.metadata.uid):
            cache.withdraw(shard.metadata.uid)
            return
        cache.assume(
            shard.model_copy(update={"status": shard.status.model_copy(update={"assigned_at": "2026-11-20T22:01:00Z"})})
        )

    def shard_gone(self) -> None:
        if (shard := self._any(AudioShard)) is not None:
            self.fleet.cache.remove(shard)

    def job_written(self) -> None:
        job = self._any(AudioBatchJob)
        if job is None:
            return
        changed: dict[str, Any] = self.random.choice(
            [{"parallelism": 1}, {"priority": 5}, {"suspend": not job.spec.suspend}, {"cancel": False}]
        )
        self.fleet.change(job.model_copy(update={"spec": job.spec.model_copy(update=changed)}))

    def job_gone(self) -> None:
        if (job := self._any(AudioBatchJob)) is not None:
            self.fleet.cache.remove(job)

    def job_comes(self) -> None:
        number = self.random.randrange(100, 10**6)
        job = load(job_body(number, 2))
        assert isinstance(job, AudioBatchJob)
        self.fleet.cache.put(job)
        for ordinal in range(2):
            self.fleet.cache.put(load(process_body(job, ordinal)))

    def job_blocked(self) -> None:
        job = self._any(AudioBatchJob)
        if job is not None and not self.findings.blockers.clear(job.metadata.uid):
            self.findings.blockers.report(job.metadata.uid, Blocker(Reason.SECRET_NOT_FOUND, "create it"))

    def shard_pauses(self) -> None:
        if (shard := self._any(AudioShard)) is not None:
            self.findings.backoffs.shard_failed(shard.metadata.uid, 3, self.fleet.clock_seconds)

    def view_changes(self) -> None:
        if not self.fleet.by_name:
            return
        name = self.random.choice(sorted(self.fleet.by_name))
        view, number = self.fleet.by_name[name], int(name[-3:])
        shard = self._any(AudioShard)
        key = AttemptKey("unknown" if shard is None else shard.metadata.uid, 1)
        running = AttemptStatus.load(
            {
                "controlPlane": "control-plane",
                "namespace": "team",
                "shardName": "shard",
                "shardUid": key.shard_uid,
                "job": {"name": "job", "uid": "uid"},
                "stage": "Process",
                "attempt": 1,
                "specDigest": f"sha256:{'a' * 64}",
                "state": AttemptState.RUNNING.value,
                "lane": "offline/0",
            }
        )
        changed: dict[str, Any] = self.random.choice(
            [
                {"connected": False, "reason": Reason.SSH_UNREACHABLE, "message": "no route"},
                {"connected": True, "reason": Reason.CONNECTED, "message": "it answers"},
                {"identity": identity(self.random.randrange(SHAPE.macs))},
                {"identity": identity(number)},
                {"identity": None},
                {"machine": None},
                {"machine": machine_facts(number).model_copy(update={"capabilities": ()})},
                {"machine": machine_facts(number)},
                {"machine": machine_facts(number, lanes=self.random.randrange(3))},
                {"attempts": {key: running}},
                {"attempts": {}},
                {"ledger_error": "a row is forged"},
                {"ledger_error": None},
                {"hung_deletions": (key,)},
                {"hung_deletions": ()},
            ]
        )
        self.fleet.by_name[name] = replace(view, **changed)

    def mac_written(self) -> None:
        mac = self._any(MacAgent)
        if mac is None:
            return
        changed: dict[str, Any] = self.random.choice(
            [
                {"taints": (Taint(key="rented"),)},
                {"access": ()},
                {"access": (Access(namespace_selector=FIRST_TEAM, uri_prefixes=("file:///data/",)),)},
                {"availability": OpeningHours.load({**DAY, **RENTAL})},
                {"unschedulable": True},
                {"availability": OpeningHours.load(DAY)},
                {"availability": OpeningHours.load(RENTAL)},
                {"availability": OpeningHours.load({**DAY, "timeZone": "Europe/Nowhere"})},
                {"availability": None, "unschedulable": False},
                {"drain": Drain(deadline_seconds=600)},
                {"drain": None},
            ]
        )
        status = mac.status
        if self.random.random() < 0.5:
            body = {**status.dump(), "conditions": [*status.dump()["conditions"], DRAINING]}
            status = type(status).load(body)
        self.fleet.change(mac.model_copy(update={"spec": mac.spec.model_copy(update=changed), "status": status}))

    def mac_gone(self) -> None:
        if (mac := self._any(MacAgent)) is not None:
            self.fleet.cache.remove(mac)
            if self.random.random() < 0.5:
                self.fleet.by_name.pop(mac.metadata.name, None)

    def mac_comes(self) -> None:
        number = self.random.randrange(SHAPE.macs)
        body = mac_body(number)
        body["metadata"]["uid"] = f"another-{next(self.fleet.versions)}"
        body["metadata"]["resourceVersion"] = str(next(self.fleet.versions))
        self.fleet.cache.put(load(body))
        self.fleet.by_name[mac_name(number)] = mac_view(number)

    def mac_pauses(self) -> None:
        mac = self._any(MacAgent)
        if mac is not None:
            machine = known_machine(mac, self.fleet.view(mac.metadata.name))
            self.findings.backoffs.mac_failed(machine, self.fleet.clock_seconds)

    def mac_excluded(self) -> None:
        mac = self._any(MacAgent)
        if mac is not None:
            machine, clock_seconds = known_machine(mac, self.fleet.view(mac.metadata.name)), self.fleet.clock_seconds
            found = Exclusion(clock_seconds + 900.0, 5, "MemoryExceeded", 1)
            self.findings.exclusions.restore(machine, found, clock_seconds)

    def mac_refuses(self) -> None:
        mac = self._any(MacAgent)
        if mac is not None:
            machine = known_machine(mac, self.fleet.view(mac.metadata.name))
            for _ in range(self.random.choice([1, 2 * REFUSALS])):
                refusing = self.findings.refusing.of(machine, self.fleet.clock_seconds)
                self.fleet.clock_seconds = max(
                    self.fleet.clock_seconds, 0.0 if refusing is None else refusing.until_seconds
                )
                self.findings.refusing.refused(machine, 429, "every lane is taken", self.fleet.clock_seconds)

    def mac_takes(self) -> None:
        mac = self._any(MacAgent)
        if mac is not None:
            machine = known_machine(mac, self.fleet.view(mac.metadata.name))
            self.findings.refusing.took(machine, self.fleet.clock_seconds)

    def rows_settled(self) -> None:
        number = self.random.randrange(SHAPE.macs)
        body = statement_body(number)
        body["status"]["cursors"][0]["sequence"] = self.random.choice([0, 5, 100])
        body["metadata"]["resourceVersion"] = str(next(self.fleet.versions))
        if self.random.random() < 0.2 and (stored := self._any(MachineHourStatement)) is not None:
            self.fleet.cache.remove(stored)
        self.fleet.cache.put(load(body))

    def labels_change(self) -> None:
        name = namespace(self.random.randrange(4))
        self.fleet.cache.put_namespace(name, {"team": self.random.choice([name, "team-1"]), "voxfleet.dev/weight": "3"})

    def time_passes(self) -> None:
        seconds = self.random.choice([1.0, 60.0, 700.0, 3600.0])
        self.fleet.clock_seconds += seconds
        self.fleet.now += timedelta(seconds=seconds if self.random.random() < 0.8 else -seconds)

"""What placement keeps from pass to pass always equals what it would gather from nothing, and what plainly is so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
from tests.sim.tables import sizes
from tests.unit.operator.decisions.plain_gathering import PlainGathering

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, MachineHourStatement
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.kinds.mac_agent import Access, Drain, OpeningHours
from voxfleet_api.ledger import Activity
from voxfleet_api.protocol import AttemptKey, AttemptState, AttemptStatus
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Taint
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.placement.alike_macs import AlikeMacs
from voxfleet_operator.placement.filters import A_LANE, OUTSIDE_RENTAL, OUTSIDE_WINDOW
from voxfleet_operator.placement.gather import PlacementGatherer
from voxfleet_operator.placement.job_work import WorkMaker
from voxfleet_operator.placement.outlook import LaneOutlooks
from voxfleet_operator.placement.place import place
from voxfleet_operator.placement.snapshot import (
    JobNeeds,
    MacSlot,
    MacTraits,
    NamespaceStanding,
    PendingShard,
    PlacementJob,
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


def told(snapshot: PlacementSnapshot) -> tuple[Any, ...]:
    """As one that compares: in whatever order shards come, and sums of floats nearly."""
    standings = told_standings(snapshot.standings)
    return by_uid(snapshot.shards), snapshot.macs, snapshot.namespace_labels, standings, snapshot.live_lanes


def told_standings(standings: Mapping[str, NamespaceStanding]) -> dict[str, tuple[Any, ...]]:
    """A namespace that has had nothing and waits for nothing may be left out."""
    return {
        name: (item.held_lanes, pytest.approx(item.used_seconds), item.waited_seconds, item.weight)
        for name, item in standings.items()
        if item.held_lanes or item.used_seconds or item.waited_seconds
    }


def by_uid(shards: Iterable[PendingShard]) -> list[PendingShard]:
    return sorted(shards, key=lambda shard: shard.uid)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_what_is_kept_equals_what_is_gathered_from_nothing(seed: int) -> None:
    changes = Changes(Random(seed))  # noqa: S311 # a schedule that can be repeated, no secret
    happened: list[str] = []
    for _ in range(30):
        happened.append(changes.happen())
        if changes.random.random() < 0.4:
            continue  # several changes between two passes
        kept, fresh = changes.kept.gather(), changes.fresh()
        assert told(kept) == told(fresh), happened
        plain = PlainGathering(changes.context, changes.findings)
        assert by_uid(kept.shards) == by_uid(plain.pending()), happened
        assert {mac.name: (mac.free_lanes, mac.free_control_slots) for mac in kept.macs} == plain.room(), happened
        assert kept.live_lanes == plain.live_lanes(), happened
        assert told_standings(kept.standings) == told_standings(plain.standings()), happened
        seconds = changes.fleet.clock_seconds
        assert place(kept, seconds, changes.kept.alike(kept)) == place(kept, seconds), happened


def test_a_shard_of_a_lost_mac_pauses_like_any_other() -> None:
    """One whose assignment was refused would be tried again in each pass, and take its turn from others."""
    changes = Changes(Random(1))  # noqa: S311 # no secret
    for name, view in changes.fleet.by_name.items():
        changes.fleet.by_name[name] = replace(view, connected=False, reason=Reason.SSH_UNREACHABLE)
    lost = [shard for shard in changes.kept.gather().shards if shard.replaces_lost]
    assert len(lost) > 1 and {shard.not_before_seconds for shard in lost} == {0.0}
    uid, seconds = lost[0].uid, changes.fleet.clock_seconds
    changes.findings.backoffs.shard_failed(uid, 4, seconds)
    again = {shard.uid: shard.not_before_seconds for shard in changes.kept.gather().shards if shard.replaces_lost}
    assert again.pop(uid) > seconds and set(again.values()) == {0.0}


@pytest.mark.parametrize("change", ["the shard was assigned", "the job was blocked", "agents know no pieces"])
def test_a_job_that_cannot_be_read_is_left_out_and_loses_no_change(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = Changes(Random(1))  # noqa: S311 # no secret
    first = changes.kept.gather().shards[0]
    shard = changes.fleet.cache.by_uid(AudioShard, first.uid)
    job = changes.fleet.cache.by_uid(AudioBatchJob, first.job.uid)
    assert shard is not None and job is not None
    if change == "the shard was assigned":
        changes.fleet.change(load(process_body(job, shard.spec.ordinal or 0, live_on=1)))
    elif change == "the job was blocked":
        changes.findings.blockers.report(first.job.uid, Blocker(Reason.SECRET_NOT_FOUND, "create it"))
    else:
        for name, view in changes.fleet.by_name.items():
            facts = machine_facts(int(name[-3:])).model_copy(update={"capabilities": ()})
            changes.fleet.by_name[name] = replace(view, machine=facts)
    with monkeypatch.context() as patched:
        patched.setattr(WorkMaker, "make", _raises)
        left = changes.kept.gather()
        assert first.uid not in {shard.uid for shard in left.shards} and first.job.uid in changes.kept.unreadable
    assert told(changes.kept.gather()) == told(changes.fresh())
    assert not changes.kept.unreadable
    known = changes.kept.shards_of(job).all
    assert list(known) == changes.fleet.cache.owned_by(AudioShard, first.job.uid)


def _raises(*_: object, **__: object) -> None:
    raise ValueError("one bad value")


def test_nothing_is_kept_of_what_is_gone() -> None:
    changes = Changes(Random(1))  # noqa: S311 # no secret
    changes.kept.alike(changes.kept.gather())
    for kind in (AudioShard, AudioBatchJob, MacAgent):
        for resource in changes.fleet.cache.all(kind):
            changes.fleet.cache.remove(resource)
    snapshot = changes.kept.gather()
    changes.kept.alike(snapshot)
    assert not snapshot.shards and not snapshot.macs and not snapshot.standings and not snapshot.live_lanes
    assert changes.kept.remembered == 0


def test_rows_are_not_kept_beyond_the_view_that_had_them() -> None:
    """A look at a Mac holds, and what jobs share lies there, long after the rows were settled."""
    changes = Changes(Random(1))  # noqa: S311 # no secret
    outlooks = LaneOutlooks(changes.context, changes.kept)
    job = changes.fleet.cache.all(AudioBatchJob)[1]
    row = VerifiedRow("chain-0", 1, "hash", "2026-11", AttemptKey("uid", 1), True, Activity.WORK, 1000, 1000)
    views = changes.fleet.by_name
    views |= {name: replace(view, rows=(row,) * 3) for name, view in views.items()}
    changes.kept.gather()
    assert outlooks.of(job, "").lanes > 0
    views |= {name: replace(view, rows=()) for name, view in views.items()}
    held = sizes({"gatherer": changes.kept, "outlooks": outlooks})
    assert held["KnownMacs._known"] == SHAPE.macs and held["MacView.rows"] == 0


def test_an_unchanged_job_is_not_looked_at_again() -> None:
    changes = Changes(Random(1))  # noqa: S311 # no secret
    first, second = changes.kept.gather(), changes.kept.gather()
    assert all(one is other for one, other in zip(first.shards, second.shards, strict=True))
    assert all(one is other for one, other in zip(first.macs, second.macs, strict=True))
    assert {shard.stage for shard in first.shards} == {Stage.PROCESS}


def test_a_job_that_has_a_chip_is_not_read_anew_for_each_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = Changes(Random(1))  # noqa: S311 # no secret
    job = changes.fleet.cache.all(AudioBatchJob)[0]
    assert job.spec.requirements.homogeneous
    for shard in changes.fleet.cache.owned_by(AudioShard, job.metadata.uid):
        changes.fleet.change(load(process_body(job, shard.spec.ordinal or 0)))
    changes.kept.gather()
    assert changes.kept.chip_of(job) is None
    changes.fleet.change(load(process_body(job, 0, live_on=2)))
    assert changes.kept.chip_of(job) == "Apple M4 Pro"  # of the first assignment of this very pass
    changes.fleet.change(load(process_body(job, 1, live_on=2)))
    monkeypatch.setattr(WorkMaker, "make", _raises)
    assert changes.kept.chip_of(job) == "Apple M4 Pro"


def test_new_labels_of_a_namespace_open_and_close_macs() -> None:
    changes = Changes(Random(1))  # noqa: S311 # no secret
    only_first_team = (Access(namespace_selector=FIRST_TEAM, uri_prefixes=("file:///data/",)),)
    for mac in changes.fleet.cache.all(MacAgent):
        spec = mac.spec.model_copy(update={"access": only_first_team, "taints": ()})
        changes.fleet.change(mac.model_copy(update={"spec": spec}))

    def told_why_not() -> set[str]:
        snapshot = changes.kept.gather()
        plan = place(snapshot, changes.fleet.clock_seconds, changes.kept.alike(snapshot))
        return {
            uid for uid, why in plan.pending.items() if "gives this namespace no access" in why or "give this" in why
        }

    assert told_why_not() == {"uid-of-job-0", "uid-of-job-2", "uid-of-job-3"}
    changes.fleet.cache.put_namespace(namespace(2), {"team": "team-1"})
    assert told_why_not() == {"uid-of-job-0", "uid-of-job-3"}


def test_a_rental_that_begins_while_no_window_is_open_is_noticed() -> None:
    changes = Changes(Random(1))  # noqa: S311 # no secret
    mac = changes.fleet.cache.all(MacAgent)[0]
    hours = OpeningHours.load({**DAY, "timeZone": "UTC", "rentalStart": "2026-11-20T22:10:00Z"})
    changes.fleet.change(mac.model_copy(update={"spec": mac.spec.model_copy(update={"availability": hours})}))

    def obstacle() -> object:
        return changes.kept.gather().macs[0].traits.unavailable

    assert obstacle() is OUTSIDE_RENTAL
    changes.fleet.now += timedelta(minutes=15)
    assert obstacle() is OUTSIDE_WINDOW
    changes.fleet.now += timedelta(minutes=20)
    assert obstacle() is None


def test_judgements_of_needs_that_are_gone_are_nobody_elses() -> None:
    """Needs are told apart by identity, which another object may have once they are gone."""
    mac = MacSlot("mac-a", MacTraits(access=OPEN_TO_ALL, memory_bytes=2**33))
    alike = AlikeMacs((mac,), (), {})
    for gibibytes in (4, 16, 32, 8) * 50:
        job = placement_job(f"{gibibytes}Gi")
        fits = alike.reasons(job, A_LANE) == (None,)
        assert fits == (gibibytes <= 8)


def placement_job(memory: str) -> PlacementJob:
    needs = JobNeeds(requirements=Requirements(memory=memory))
    return PlacementJob("uid", "team", "job", "", ("file:///data/",), 1, needs=needs)

"""What placement keeps from pass to pass always equals what it would gather from nothing, and what plainly is so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bench.stored_objects import (
    load,
    machine_facts,
    namespace,
    process_body,
)
from tests.sim.tables import sizes
from tests.unit.operator.decisions.gathering_changes import DAY, FIRST_TEAM, OPEN_TO_ALL, SHAPE, Changes
from tests.unit.operator.decisions.plain_gathering import PlainGathering

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_api.kinds.mac_availability import OpeningHours
from voxfleet_api.ledger import Activity
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.placement.alike_macs import AlikeMacs
from voxfleet_operator.placement.filters import A_LANE, OUTSIDE_RENTAL, OUTSIDE_WINDOW
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
from voxfleet_operator.reconcile.job_findings import Blocker


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
def test_a_job_that_cannot_be_read_is_left_out_and_loses_no_change(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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

"""Placement: the sentence that says why a job has no Mac."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.placement_objects import (
    ACCESS,
    NIGHT,
    NOW,
    SAME_CHIP,
    a_job,
    a_mac,
    a_shard,
    placed,
    run,
)
from tests.unit.operator.decisions.world import World

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.selectors import LabelSelector
from voxfleet_operator.cache import key_of
from voxfleet_operator.placement import filters
from voxfleet_operator.placement.snapshot import (
    MacSlot,
    Unavailable,
)
from voxfleet_operator.queue import PLACEMENT
from voxfleet_operator.reconcile.job_findings import ChangedReasons, PendingReasons
from voxfleet_operator.reconcile.mac.availability import Obstacle

REASONS: dict[str, tuple[list[MacSlot], str]] = {
    "counts and one detail": (
        [
            a_mac("mac-a", free_lanes=0),
            a_mac("mac-b", unavailable=filters.UNREACHABLE, detail="the SSH host key is not the pinned one"),
        ],
        "0/2 Macs fit: 1 has no free lane, 1 unreachable (mac-b: the SSH host key is not the pinned one)",
    ),
    "several Macs, one phrase": (
        [a_mac("mac-a", free_lanes=0), a_mac("mac-b", free_lanes=0)],
        "0/2 Macs fit: 2 have no free lane",
    ),
    "no Macs": ([], "0/0 Macs fit: there is no MacAgent; apply one"),
    "a Mac that awaits acceptance": (
        [a_mac("mac-a", unaccepted=filters.UNACCEPTED, tried_by="other", detail="the Mac was not tried yet")],
        "0/1 Macs fit: 1 awaits acceptance (mac-a: the Mac was not tried yet)",
    ),
    "no file name is told": (
        [a_mac(access=())],
        "0/1 Macs fit: 1 gives this namespace no access to the job's addresses (spec.access of MacAgent)",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_pending_reasons(name: str) -> None:
    macs, want = REASONS[name]
    assert run([a_shard(a_job())], macs).pending == {"team/job": want}


PHRASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "unreachable": ({"unavailable": filters.UNREACHABLE}, {}, {}),
    "are unschedulable": ({"unavailable": filters.UNSCHEDULABLE}, {}, {}),
    "are being deleted": ({"unavailable": filters.DELETED}, {}, {}),
    "report another Mac's hardware or key": ({"unavailable": filters.DUPLICATE}, {}, {}),
    "have an incompatible runtime": ({"unavailable": filters.INCOMPATIBLE}, {}, {}),
    "have ledger rows that do not verify": ({"unavailable": filters.UNVERIFIED}, {}, {}),
    "draining": ({"unavailable": filters.DRAINING}, {}, {}),
    "have a spec.availability that cannot be read": ({"unavailable": filters.UNUSABLE_HOURS}, {}, {}),
    "are outside their availability window": ({"unavailable": filters.OUTSIDE_WINDOW}, {}, {}),
    "are outside their rental": ({"unavailable": filters.OUTSIDE_RENTAL}, {}, {}),
    "hang deleting an attempt": ({"unavailable": filters.DELETION_HANGS}, {}, {}),
    "promise more memory than they have (spec.pools and spec.reserved of MacAgent)": (
        {"unavailable": filters.OVERCOMMITTED},
        {},
        {},
    ),
    "are excluded because they fail too often": ({"unavailable": filters.FAILS_TOO_OFTEN}, {}, {}),
    "refuse attempts although they seem to have room": ({"unavailable": filters.REFUSES_ATTEMPTS}, {}, {}),
    "await acceptance": ({"unaccepted": filters.UNACCEPTED}, {}, {}),
    "do not name this job as the one that tries them (spec.acceptanceJob of MacAgent)": (
        {},
        {"tries_mac_as": "uid"},
        {},
    ),
    "have an untolerated taint {rented: night}": ({"taints": NIGHT}, {}, {}),
    "do not match the job's macSelector": ({}, {"mac_selector": LabelSelector(match_labels={"site": "b"})}, {}),
    "give this namespace no access to the job's addresses (spec.access of MacAgent)": ({"access": ()}, {}, {}),
    "do not take the job's billing key (spec.access[].billingKeys of MacAgent)": (
        {"access": (ACCESS[0].model_copy(update={"billing_keys": ("speech",)}),)},
        {},
        {},
    ),
    "have agents too old to keep the clips of a manifest within spec.access; upgrade them": (
        {},
        {"names_clips_elsewhere": True},
        {},
    ),
    "have agents too old for spec.only and spec.source; upgrade them": ({}, {"chooses_clips": True}, {}),
    "have agents too old to run a part of a shard; upgrade them": ({}, {}, {"is_piece": True}),
    "close before the shard would end": ({"closes_seconds": NOW + 1}, {}, {}),
    "lack memory (need 16Gi)": ({"memory_bytes": 2**33}, {"requirements": Requirements(memory="16Gi")}, {}),
    "have another chip (need M2 or M4)": ({"chip": "Apple M1"}, {"requirements": Requirements(chips=("M2", "M4"))}, {}),
    "have another chip than the job began on (Apple M2)": (
        {"chip": "Apple M1"},
        {"requirements": SAME_CHIP, "chip": "Apple M2"},
        {},
    ),
    "have lanes too small for the model, which has 1025 MiB": (
        {"lane_memory_bytes": 2**30},
        {"model_bytes": 2**30 + 1},
        {},
    ),
    "have no Offline lane (their pools are Interactive)": ({"has_offline_lanes": False, "free_lanes": 0}, {}, {}),
    "are short of scratch space": ({"lacks_scratch": True}, {}, {}),
    "pause after a failure": ({"not_before_seconds": NOW + 1}, {}, {}),
    "have no free lane": ({"free_lanes": 0}, {}, {}),
    "plan or finalize other jobs": ({"free_control_slots": 0}, {}, {"stage": Stage.PLAN}),
}
"""What is wrong with two Macs, a job and its shard, by the phrase that says so."""


@pytest.mark.parametrize("phrase", PHRASES)
def test_each_reason_has_its_phrase(phrase: str) -> None:
    mac, job, shard = PHRASES[phrase]
    plan = run([a_shard(a_job(**job), **shard)], [a_mac("mac-a", **mac), a_mac("mac-b", **mac)])
    assert plan.pending == {"team/job": f"0/2 Macs fit: 2 {phrase}"}
    assert not plan.assignments


@pytest.mark.parametrize("phrase", [phrase for phrase in PHRASES if PHRASES[phrase][1]])
def test_jobs_that_differ_in_one_thing_are_judged_apart(phrase: str) -> None:
    mac, job, _ = PHRASES[phrase]
    shards = [a_shard(a_job("a")), a_shard(a_job("b", **job)), a_shard(a_job("c"))]
    assert placed(run(shards, [a_mac(free_lanes=3, **mac)])) == {"team/a/0": "mac-a", "team/c/0": "mac-a"}


def test_the_mac_that_failed_a_shard_says_so() -> None:
    plan = run([a_shard(a_job(), avoid="mac-a")], [a_mac("mac-a"), a_mac("mac-b", free_lanes=0)])
    assert plan.pending == {"team/job": "0/2 Macs fit: 1 has no free lane, 1 just failed this shard"}


def test_every_phrase_of_the_filters_has_a_row() -> None:
    fixed = {item.plural for item in vars(filters).values() if isinstance(item, Unavailable)}
    assert fixed - set(PHRASES) == {filters.JUST_FAILED.plural}
    assert set(filters.WHOLE_MAC_PHRASES) == set(Obstacle)


def test_a_job_that_waits_for_its_own_parallelism_has_no_reason() -> None:
    assert run([a_shard(a_job(parallelism=1))], [a_mac()], live_lanes={"team/job": 1}).pending == {}


def test_what_changes_of_the_reasons_is_told_apart() -> None:
    reasons = PendingReasons()
    assert reasons.replace({"a": "no Mac", "b": "no Mac"}) == ChangedReasons(frozenset("ab"), frozenset())
    assert reasons.replace({"a": "1 Mac", "c": "no Mac"}) == ChangedReasons(frozenset("bc"), frozenset("a"))
    assert reasons.replace({"a": "1 Mac", "c": "no Mac"}) == ChangedReasons(frozenset(), frozenset())


async def test_jobs_that_go_on_waiting_are_told_of_macs_no_more_often_than_of_progress() -> None:
    """With many of both, each Mac that came or went took the time of all jobs' passes."""
    world = World(macs=3)
    world.fleet.reachable.clear()
    world.api.add(job_body())
    await world.settle(60)
    key = key_of(world.job())
    assert world.job().status.pending_reason == "0/3 Macs fit: 3 unreachable (mac-a: no route to host)"
    world.queue.later.pop(key, None)
    world.api.user_edits("MacAgent", "", "mac-b", unschedulable=True)
    world.deliver()
    await world.reconcilers[PLACEMENT.kind].reconcile(PLACEMENT)
    assert key not in world.queue.ready
    assert world.queue.later[key] - world.clock.seconds == world.options.progress_interval_seconds
    await world.settle(60)
    assert world.job().status.pending_reason == (
        "0/3 Macs fit: 1 is unschedulable (mac-b: no route to host), 2 unreachable (mac-a: no route to host)"
    )

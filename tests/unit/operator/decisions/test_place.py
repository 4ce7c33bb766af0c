"""Placement: which Mac, in which order, and why none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_api.selectors import LabelSelector
from voxfleet_operator.placement import filters
from voxfleet_operator.placement.place import place
from voxfleet_operator.placement.snapshot import MacSlot, PendingShard, PlacementJob, PlacementPlan, PlacementSnapshot

NOW = 100.0
MODEL = "sha256:" + "0" * 64
ACCESS = (Access(namespace_selector=LabelSelector(), uri_prefixes=("file:///data/",)),)


def a_job(name: str = "job", namespace: str = "team", **fields: object) -> PlacementJob:
    job = PlacementJob(
        uid=f"{namespace}/{name}",
        namespace=namespace,
        name=name,
        created="2026-11-20T22:00:00Z",
        uris=("file:///data/in/", "file:///data/out/"),
        parallelism=10,
        model_digest=MODEL,
    )
    return replace(job, **fields)  # type: ignore[arg-type] # the fields of PlacementJob


def a_shard(job: PlacementJob, ordinal: int = 0, **fields: object) -> PendingShard:
    uid = f"{job.uid}/{ordinal}"
    shard = PendingShard(uid=uid, name=uid, job=job, stage=Stage.PROCESS, ordinal=ordinal, next_attempt=1)
    return replace(shard, **fields)  # type: ignore[arg-type] # the fields of PendingShard


def a_mac(name: str = "mac-a", **fields: object) -> MacSlot:
    return replace(MacSlot(name=name, access=ACCESS, free_lanes=1), **fields)  # type: ignore[arg-type] # of MacSlot


def placed(plan: PlacementPlan) -> dict[str, str]:
    return {assignment.shard_uid: assignment.mac for assignment in plan.assignments}


def run(shards: list[PendingShard], macs: list[MacSlot], **fields: object) -> PlacementPlan:
    snapshot = PlacementSnapshot(tuple(shards), tuple(macs))
    return place(replace(snapshot, **fields), NOW)  # type: ignore[arg-type] # the fields of PlacementSnapshot


CASES: dict[str, tuple[list[PendingShard], list[MacSlot], dict[str, str]]] = {
    "a free lane is taken": ([a_shard(a_job())], [a_mac()], {"team/job/0": "mac-a"}),
    "no lane is free": ([a_shard(a_job())], [a_mac(free_lanes=0)], {}),
    "the model that is in memory wins over more lanes": (
        [a_shard(a_job())],
        [a_mac("mac-a", free_lanes=5), a_mac("mac-b", loaded_models=frozenset({MODEL}))],
        {"team/job/0": "mac-b"},
    ),
    "work is spread": (
        [a_shard(a_job(), 0), a_shard(a_job(), 1)],
        [a_mac("mac-a", free_lanes=2), a_mac("mac-b", free_lanes=2)],
        {"team/job/0": "mac-a", "team/job/1": "mac-b"},
    ),
    "a plan needs no lane": ([a_shard(a_job(), stage=Stage.PLAN)], [a_mac(free_lanes=0)], {"team/job/0": "mac-a"}),
    "a plan needs a control slot": ([a_shard(a_job(), stage=Stage.PLAN)], [a_mac(free_control_slots=0)], {}),
    "parallelism counts live lanes": (
        [a_shard(a_job(parallelism=3, live_lanes=2), ordinal) for ordinal in range(3)],
        [a_mac(free_lanes=5)],
        {"team/job/0": "mac-a"},
    ),
    "a lost attempt's successor does not count twice": (
        [a_shard(a_job(parallelism=1, live_lanes=1), replaces_lost=True, next_attempt=2)],
        [a_mac()],
        {"team/job/0": "mac-a"},
    ),
    "the Mac that just failed the shard is avoided": (
        [a_shard(a_job(), avoid="mac-a")],
        [a_mac("mac-a", free_lanes=5), a_mac("mac-b")],
        {"team/job/0": "mac-b"},
    ),
    "it is waited for another Mac that is busy": (
        [a_shard(a_job(), avoid="mac-a")],
        [a_mac("mac-a"), a_mac("mac-b", free_lanes=0)],
        {},
    ),
    "the only Mac gets its shard again": ([a_shard(a_job(), avoid="mac-a")], [a_mac()], {"team/job/0": "mac-a"}),
    "and also when no other one could ever run it": (
        [a_shard(a_job(), avoid="mac-a")],
        [a_mac("mac-a"), a_mac("mac-b", unavailable=filters.UNREACHABLE)],
        {"team/job/0": "mac-a"},
    ),
    "a shard pauses": ([a_shard(a_job(), not_before_seconds=NOW + 1)], [a_mac()], {}),
    "a Mac pauses": ([a_shard(a_job())], [a_mac(not_before_seconds=NOW + 1)], {}),
    "a pause has ended": ([a_shard(a_job(), not_before_seconds=NOW)], [a_mac()], {"team/job/0": "mac-a"}),
    "labels select Macs": (
        [a_shard(a_job(mac_selector=LabelSelector(match_labels={"site": "b"})))],
        [a_mac("mac-a", labels={"site": "a"}), a_mac("mac-b", labels={"site": "b"})],
        {"team/job/0": "mac-b"},
    ),
    "no access rule, no shard": ([a_shard(a_job())], [a_mac(access=())], {}),
    "access is for some namespaces": (
        [a_shard(a_job()), a_shard(a_job(namespace="other"))],
        [
            a_mac(
                free_lanes=2,
                access=(
                    Access(
                        namespace_selector=LabelSelector(match_labels={"name": "other"}),
                        uri_prefixes=("file:///data/",),
                    ),
                ),
            )
        ],
        {"other/job/0": "mac-a"},
    ),
    "every address needs access": ([a_shard(a_job(uris=("file:///data/in/", "file:///else/")))], [a_mac()], {}),
    "dots do not lead out of a prefix": ([a_shard(a_job(uris=("file:///data/../etc/",)))], [a_mac()], {}),
    "clips of a manifest need an agent that keeps them within the access": (
        [a_shard(a_job(names_clips_elsewhere=True))],
        [a_mac("mac-a", free_lanes=5), a_mac("mac-b", keeps_within_prefixes=True)],
        {"team/job/0": "mac-b"},
    ),
    "older jobs go first": (
        [a_shard(a_job("new", created="2026-11-20T23:00:00Z")), a_shard(a_job("old"))],
        [a_mac()],
        {"team/old/0": "mac-a"},
    ),
    "a shard that fits nowhere blocks nobody": (
        [a_shard(a_job("old", uris=("s3://x/",))), a_shard(a_job("young", created="2026-11-20T23:00:00Z"))],
        [a_mac()],
        {"team/young/0": "mac-a"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    shards, macs, want = CASES[name]
    labels = {"other": {"name": "other"}, "team": {"name": "team"}}
    assert placed(run(shards, macs, namespace_labels=labels)) == want


def test_namespaces_take_turns_and_the_one_that_holds_least_goes_first() -> None:
    shards = [a_shard(a_job(namespace=namespace), ordinal) for namespace in ("a", "b") for ordinal in range(10)]
    even = Counter(uid[0] for uid in placed(run(shards, [a_mac(free_lanes=6)])))
    assert even == {"a": 3, "b": 3}
    uneven = Counter(uid[0] for uid in placed(run(shards, [a_mac(free_lanes=6)], held_lanes={"a": 4})))
    assert uneven == {"a": 1, "b": 5}


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
    "no file name is told": (
        [a_mac(access=())],
        "0/1 Macs fit: 1 gives this namespace no access to the job's addresses (spec.access of MacAgent)",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_pending_reasons(name: str) -> None:
    macs, want = REASONS[name]
    assert run([a_shard(a_job())], macs).pending == {"team/job": want}


def test_a_job_that_waits_for_its_own_parallelism_has_no_reason() -> None:
    assert run([a_shard(a_job(parallelism=1, live_lanes=1))], [a_mac()]).pending == {}


def test_wakes_when_the_first_pause_ends() -> None:
    shards = [a_shard(a_job(), 0, not_before_seconds=NOW + 7), a_shard(a_job(), 1, not_before_seconds=NOW + 3)]
    assert run(shards, [a_mac()]).wake_after_seconds == 3
    assert run([a_shard(a_job())], [a_mac()]).wake_after_seconds is None


jobs = st.builds(
    lambda name, namespace, parallelism, live: a_job(name, namespace, parallelism=parallelism, live_lanes=live),
    st.sampled_from("xyz"),
    st.sampled_from("ab"),
    st.integers(1, 4),
    st.integers(0, 3),
)


@st.composite
def snapshots(draw: st.DrawFn) -> PlacementSnapshot:
    chosen = draw(st.lists(jobs, max_size=5, unique_by=lambda job: job.uid))
    macs = [
        a_mac(
            f"mac-{number}",
            free_lanes=draw(st.integers(0, 3)),
            free_control_slots=draw(st.integers(0, 2)),
            unavailable=draw(st.sampled_from([None, None, filters.UNREACHABLE])),
            not_before_seconds=draw(st.sampled_from([0.0, NOW + 5])),
            loaded_models=draw(st.sampled_from([frozenset(), frozenset({MODEL})])),
        )
        for number in range(draw(st.integers(0, 4)))
    ]
    shards = [
        a_shard(
            job,
            ordinal,
            stage=draw(st.sampled_from([Stage.PROCESS, Stage.PROCESS, Stage.FINALIZE])),
            next_attempt=draw(st.integers(1, 8)),
            avoid=draw(st.sampled_from([None, "mac-0"])),
            replaces_lost=draw(st.booleans()),
        )
        for job in chosen
        for ordinal in range(draw(st.integers(0, 6)))
    ]
    return PlacementSnapshot(tuple(draw(st.permutations(shards))), tuple(draw(st.permutations(macs))))


@given(snapshots())
def test_what_always_holds(snapshot: PlacementSnapshot) -> None:
    plan = place(snapshot, NOW)
    by_uid = {shard.uid: shard for shard in snapshot.shards}
    macs = {mac.name: mac for mac in snapshot.macs}
    chosen = [(by_uid[assignment.shard_uid], assignment) for assignment in plan.assignments]
    assert len({assignment.shard_uid for assignment in plan.assignments}) == len(plan.assignments)
    assert all(assignment.attempt == shard.next_attempt for shard, assignment in chosen)
    lanes = Counter(assignment.mac for shard, assignment in chosen if shard.needs_lane)
    slots = Counter(assignment.mac for shard, assignment in chosen if not shard.needs_lane)
    assert all(count <= macs[mac].free_lanes for mac, count in lanes.items())
    assert all(count <= macs[mac].free_control_slots for mac, count in slots.items())
    assert all(macs[mac].unavailable is None and macs[mac].not_before_seconds <= NOW for mac in lanes | slots)
    news = Counter(shard.job.uid for shard, _ in chosen if shard.needs_lane and not shard.replaces_lost)
    for shard, _ in chosen:
        if shard.needs_lane and not shard.replaces_lost:
            assert shard.job.live_lanes + news[shard.job.uid] <= shard.job.parallelism


@given(snapshots())
def test_the_order_of_a_snapshot_does_not_matter(snapshot: PlacementSnapshot) -> None:
    ordered = replace(
        snapshot,
        shards=tuple(sorted(snapshot.shards, key=lambda shard: shard.uid)),
        macs=tuple(sorted(snapshot.macs, key=lambda mac: mac.name)),
    )
    assert place(ordered, NOW) == place(snapshot, NOW) == place(snapshot, NOW)

"""Placement: which Mac, in which order, and why none."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Taint, Toleration, TolerationOperator
from voxfleet_operator.placement import filters
from voxfleet_operator.placement.place import place
from voxfleet_operator.placement.snapshot import (
    JobNeeds,
    MacSlot,
    MacTraits,
    PendingShard,
    PlacementJob,
    PlacementPlan,
    PlacementSnapshot,
    Unavailable,
)
from voxfleet_operator.reconcile.mac.availability import Obstacle

NOW = 100.0
MODEL = "sha256:" + "0" * 64
ACCESS = (Access(namespace_selector=LabelSelector(), uri_prefixes=("file:///data/",)),)


NEEDS, TRAITS = ({item.name for item in fields(kind)} for kind in (JobNeeds, MacTraits))


def a_job(name: str = "job", namespace: str = "team", **given: Any) -> PlacementJob:
    """`given`: fields of PlacementJob and JobNeeds."""
    job = PlacementJob(
        uid=f"{namespace}/{name}",
        namespace=namespace,
        name=name,
        created="2026-11-20T22:00:00Z",
        uris=("file:///data/in/", "file:///data/out/"),
        parallelism=10,
        model_digest=MODEL,
    )
    needs = {name: given.pop(name) for name in NEEDS & given.keys()}
    return replace(job, needs=JobNeeds(**needs), **given)


def a_shard(job: PlacementJob, ordinal: int = 0, **fields: object) -> PendingShard:
    uid = f"{job.uid}/{ordinal}"
    shard = PendingShard(uid=uid, name=uid, job=job, stage=Stage.PROCESS, ordinal=ordinal, next_attempt=1)
    return replace(shard, **fields)  # type: ignore[arg-type] # the fields of PendingShard


def a_mac(name: str = "mac-a", **given: Any) -> MacSlot:
    """`given`: fields of MacSlot and MacTraits."""
    traits = {name: given.pop(name) for name in TRAITS & given.keys()}
    return replace(MacSlot(name=name, traits=MacTraits(**{"access": ACCESS, **traits}), free_lanes=1), **given)


def placed(plan: PlacementPlan) -> dict[str, str]:
    return {assignment.shard_uid: assignment.mac for assignment in plan.assignments}


def run(shards: list[PendingShard], macs: list[MacSlot], **fields: object) -> PlacementPlan:
    snapshot = PlacementSnapshot(tuple(shards), tuple(macs))
    return place(replace(snapshot, **fields), NOW)  # type: ignore[arg-type] # the fields of PlacementSnapshot


NIGHT = (Taint(key="rented", value="night"),)
SAME_CHIP = Requirements(homogeneous=True)

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
        [a_shard(a_job(parallelism=3), ordinal) for ordinal in range(3)],
        [a_mac(free_lanes=5)],
        {"team/job/0": "mac-a"},
    ),
    "a lost attempt's successor does not count twice": (
        [a_shard(a_job(parallelism=1), replaces_lost=True, next_attempt=2)],
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
    "and when the agent of the other one is too old for it": (
        [a_shard(a_job(), avoid="mac-a", is_piece=True)],
        [a_mac("mac-a", runs_pieces=True), a_mac("mac-b")],
        {"team/job/0": "mac-a"},
    ),
    "an agent too old for parts runs whole shards of the same job": (
        [a_shard(a_job(), 0, is_piece=True), a_shard(a_job(), 1)],
        [a_mac("mac-a"), a_mac("mac-b", runs_pieces=True)],
        {"team/job/0": "mac-b", "team/job/1": "mac-a"},
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
    "a higher priority goes before age": (
        [a_shard(a_job("new", created="2026-11-20T23:00:00Z", priority=1)), a_shard(a_job("old"))],
        [a_mac()],
        {"team/new/0": "mac-a"},
    ),
    "and a lower one behind it": (
        [a_shard(a_job("new", created="2026-11-20T23:00:00Z")), a_shard(a_job("old", priority=-1))],
        [a_mac()],
        {"team/new/0": "mac-a"},
    ),
    "a priority counts in its own namespace only": (
        [a_shard(a_job(namespace="other")), a_shard(a_job(priority=1000)), a_shard(a_job(priority=1000), 1)],
        [a_mac(free_lanes=2)],
        {"other/job/0": "mac-a", "team/job/0": "mac-a"},
    ),
    "a tainted Mac is left alone": (
        [a_shard(a_job())],
        [a_mac("mac-a", taints=NIGHT), a_mac("mac-b")],
        {"team/job/0": "mac-b"},
    ),
    "but for a job that tolerates the taint": (
        [a_shard(a_job(tolerations=(Toleration(key="rented", operator=TolerationOperator.EXISTS),)))],
        [a_mac("mac-a", taints=NIGHT, free_lanes=2), a_mac("mac-b")],
        {"team/job/0": "mac-a"},
    ),
    "a taint keeps plans off, too": ([a_shard(a_job(), stage=Stage.PLAN)], [a_mac(taints=NIGHT)], {}),
    "memory": (
        [a_shard(a_job(requirements=Requirements(memory="16Gi")))],
        [a_mac("mac-a", memory_bytes=16 * 2**30 - 1), a_mac("mac-b", memory_bytes=16 * 2**30)],
        {"team/job/0": "mac-b"},
    ),
    "chips": (
        [a_shard(a_job(requirements=Requirements(chips=("M2", "M4"))))],
        [a_mac("mac-a", chip="Apple M1"), a_mac("mac-b", chip="Apple M4 Max")],
        {"team/job/0": "mac-b"},
    ),
    "a homogeneous job stays on its chip": (
        [a_shard(a_job(requirements=SAME_CHIP, chip="Apple M4"))],
        [a_mac("mac-a", chip="Apple M2", free_lanes=5), a_mac("mac-b", chip="Apple M4")],
        {"team/job/0": "mac-b"},
    ),
    "and begins on the chip that most Macs have": (
        [a_shard(a_job(requirements=SAME_CHIP), ordinal) for ordinal in range(4)],
        [
            a_mac("mac-a", chip="Apple M2", free_lanes=5),
            a_mac("mac-b", chip="Apple M4"),
            a_mac("mac-c", chip="Apple M4"),
            a_mac("mac-d", chip="Apple M1", unavailable=filters.UNREACHABLE),
            a_mac("mac-e", chip="Apple M1", unavailable=filters.UNREACHABLE),
            a_mac("mac-f", chip="Apple M1", unavailable=filters.UNREACHABLE),
        ],
        {"team/job/0": "mac-b", "team/job/1": "mac-c"},
    ),
    "a homogeneous job is planned on any chip": (
        [a_shard(a_job(requirements=SAME_CHIP, chip="Apple M4"), stage=Stage.FINALIZE)],
        [a_mac(chip="Apple M2")],
        {"team/job/0": "mac-a"},
    ),
    "other jobs do not mind": (
        [a_shard(a_job(requirements=SAME_CHIP)), a_shard(a_job("other"))],
        [a_mac("mac-a", chip="Apple M2"), a_mac("mac-b", chip="Apple M4")],
        {"team/job/0": "mac-a", "team/other/0": "mac-b"},
    ),
    "a model that is larger than a lane": (
        [a_shard(a_job(model_bytes=4 * 2**30))],
        [a_mac("mac-a", lane_memory_bytes=4 * 2**30 - 1), a_mac("mac-b", lane_memory_bytes=4 * 2**30)],
        {"team/job/0": "mac-b"},
    ),
    "an agent that does not say how large its lanes are": (
        [a_shard(a_job(model_bytes=4 * 2**30))],
        [a_mac()],
        {"team/job/0": "mac-a"},
    ),
    "a Mac without scratch takes no clips": (
        [a_shard(a_job())],
        [a_mac("mac-a", lacks_scratch=True), a_mac("mac-b")],
        {"team/job/0": "mac-b"},
    ),
    "but plans": ([a_shard(a_job(), stage=Stage.PLAN)], [a_mac(lacks_scratch=True)], {"team/job/0": "mac-a"}),
    "a shard that fits nowhere blocks nobody": (
        [a_shard(a_job("old", uris=("s3://x/",))), a_shard(a_job("young", created="2026-11-20T23:00:00Z"))],
        [a_mac()],
        {"team/young/0": "mac-a"},
    ),
}


LIVE_LANES = {
    "parallelism counts live lanes": {"team/job": 2},
    "a lost attempt's successor does not count twice": {"team/job": 1},
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    shards, macs, want = CASES[name]
    labels, live_lanes = {"other": {"name": "other"}, "team": {"name": "team"}}, LIVE_LANES.get(name, {})
    assert placed(run(shards, macs, namespace_labels=labels, live_lanes=live_lanes)) == want


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
    "are excluded because they fail too often": ({"unavailable": filters.FAILS_TOO_OFTEN}, {}, {}),
    "have an untolerated taint {rented: night}": ({"taints": NIGHT}, {}, {}),
    "do not match the job's macSelector": ({}, {"mac_selector": LabelSelector(match_labels={"site": "b"})}, {}),
    "give this namespace no access to the job's addresses (spec.access of MacAgent)": ({"access": ()}, {}, {}),
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


def test_wakes_when_the_first_pause_ends() -> None:
    shards = [a_shard(a_job(), 0, not_before_seconds=NOW + 7), a_shard(a_job(), 1, not_before_seconds=NOW + 3)]
    assert run(shards, [a_mac()]).wake_after_seconds == 3
    assert run([a_shard(a_job())], [a_mac()]).wake_after_seconds is None


jobs = st.builds(
    a_job,
    st.sampled_from("xyz"),
    st.sampled_from("ab"),
    parallelism=st.integers(1, 4),
    priority=st.integers(-1, 1),
    tolerations=st.sampled_from([(), (), (Toleration(key="rented", value="night"),)]),
    requirements=st.sampled_from(
        [Requirements(), Requirements(), SAME_CHIP, Requirements(memory="8Gi", chips=("M2",), homogeneous=True)]
    ),
    mac_selector=st.sampled_from([LabelSelector(), LabelSelector(match_labels={"site": "a"})]),
    model_bytes=st.sampled_from([None, 2**30]),
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
            labels={"site": draw(st.sampled_from("ab")), "name": str(number)},
            chip=draw(st.sampled_from(["Apple M2", "Apple M4"])),
            memory_bytes=draw(st.sampled_from([2**32, 2**33])),
            lane_memory_bytes=draw(st.sampled_from([None, 2**29, 2**30])),
            taints=draw(st.sampled_from([(), (), NIGHT])),
            runs_pieces=draw(st.booleans()),
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
            is_piece=draw(st.booleans()),
        )
        for job in chosen
        for ordinal in range(draw(st.integers(0, 6)))
    ]
    return PlacementSnapshot(
        tuple(draw(st.permutations(shards))),
        tuple(draw(st.permutations(macs))),
        live_lanes={job.uid: draw(st.integers(0, 3)) for job in chosen},
    )


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
    assert all(macs[mac].traits.unavailable is None and macs[mac].not_before_seconds <= NOW for mac in lanes | slots)
    news = Counter(shard.job.uid for shard, _ in chosen if shard.needs_lane and not shard.replaces_lost)
    for shard, _ in chosen:
        if shard.needs_lane and not shard.replaces_lost:
            assert snapshot.live_lanes[shard.job.uid] + news[shard.job.uid] <= shard.job.parallelism


def fits(shard: PendingShard, mac: MacSlot) -> bool:
    access = filters.has_access(shard.job, mac.traits, {})
    reason = filters.static_reason(shard.job.needs, mac.traits, mac.labels, shard.demand, has_access=access)
    return reason is None


@given(snapshots())
def test_macs_that_are_judged_together_are_judged_as_one_by_one(snapshot: PlacementSnapshot) -> None:
    """Whatever is placed fits, and what is left out would fit nowhere that still has room."""
    plan = place(snapshot, NOW)
    by_uid, macs = {shard.uid: shard for shard in snapshot.shards}, {mac.name: mac for mac in snapshot.macs}
    chips: dict[str, set[str]] = defaultdict(set)
    lanes, slots, live = Counter[str](), Counter[str](), Counter[str]()
    for assignment in plan.assignments:
        shard, mac = by_uid[assignment.shard_uid], macs[assignment.mac]
        assert fits(shard, mac)
        (lanes if shard.needs_lane else slots)[mac.name] += 1
        live[shard.job.uid] += shard.needs_lane and not shard.replaces_lost
        if shard.needs_lane and shard.job.needs.requirements.homogeneous:
            chips[shard.job.uid].add(mac.traits.chip)
    assert all(len(found) == 1 for found in chips.values())
    placed_uids = {assignment.shard_uid for assignment in plan.assignments}
    for shard in snapshot.shards:
        job = shard.job
        lanes_of_job = snapshot.live_lanes[job.uid] + live[job.uid]
        within = not shard.needs_lane or shard.replaces_lost or lanes_of_job < job.parallelism
        if shard.uid in placed_uids or not within:
            continue
        room = {
            mac.name
            for mac in snapshot.macs
            if fits(shard, mac)
            and mac.not_before_seconds <= NOW
            and (mac.free_lanes - lanes[mac.name] if shard.needs_lane else mac.free_control_slots - slots[mac.name]) > 0
            and (not shard.needs_lane or job.uid not in chips or mac.traits.chip in chips[job.uid])
        }
        assert room <= {shard.avoid}
        assert job.uid in plan.pending


@given(snapshots())
def test_the_order_of_a_snapshot_does_not_matter(snapshot: PlacementSnapshot) -> None:
    ordered = replace(
        snapshot,
        shards=tuple(sorted(snapshot.shards, key=lambda shard: shard.uid)),
        macs=tuple(sorted(snapshot.macs, key=lambda mac: mac.name)),
    )
    assert place(ordered, NOW) == place(snapshot, NOW) == place(snapshot, NOW)

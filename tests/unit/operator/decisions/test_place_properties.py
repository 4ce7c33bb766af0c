"""Placement: what holds for any jobs and any Macs."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.placement_objects import (
    ACCESS,
    MODEL,
    NIGHT,
    NOW,
    SAME_CHIP,
    a_job,
    a_mac,
    a_shard,
)

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Toleration
from voxfleet_operator.placement import filters
from voxfleet_operator.placement.place import place
from voxfleet_operator.placement.snapshot import (
    MacSlot,
    PendingShard,
    PlacementSnapshot,
)

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
    billing_key=st.sampled_from([None, "day", "night"]),
)
NIGHT_PAYS = (ACCESS[0].model_copy(update={"billing_keys": ("night",)}),)


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
            access=draw(st.sampled_from([ACCESS, ACCESS, NIGHT_PAYS])),
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
    closed = filters.no_access(shard.job, mac.traits, {})
    reason = filters.static_reason(shard.job.needs, mac.traits, mac.labels, shard.demand, closed=closed)
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

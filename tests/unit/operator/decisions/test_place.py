"""Placement: which Mac, and in which order."""

from __future__ import annotations

import pytest
from tests.unit.operator.decisions.placement_objects import (
    MODEL,
    NIGHT,
    NOW,
    SAME_CHIP,
    a_job,
    a_mac,
    a_shard,
    placed,
    run,
)

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Toleration, TolerationOperator
from voxfleet_operator.placement import filters
from voxfleet_operator.placement.snapshot import (
    MacSlot,
    PendingShard,
)

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
    "a Mac whose lanes are all Interactive gets no shard": (
        [a_shard(a_job())],
        [a_mac("mac-a", has_offline_lanes=False, free_lanes=0), a_mac("mac-b")],
        {"team/job/0": "mac-b"},
    ),
    "but it plans and finalizes": (
        [a_shard(a_job(), stage=Stage.PLAN), a_shard(a_job("other"), stage=Stage.FINALIZE)],
        [a_mac("mac-a", has_offline_lanes=False, free_lanes=0)],
        {"team/job/0": "mac-a", "team/other/0": "mac-a"},
    ),
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


def test_wakes_when_the_first_pause_ends() -> None:
    shards = [a_shard(a_job(), 0, not_before_seconds=NOW + 7), a_shard(a_job(), 1, not_before_seconds=NOW + 3)]
    assert run(shards, [a_mac()]).wake_after_seconds == 3
    assert run([a_shard(a_job())], [a_mac()]).wake_after_seconds is None

"""The processor time of a placement pass: 2,000 pending shards and 500 Macs, in the shapes that fleets have.

python tests/bench/placement_pass.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Taint
from voxfleet_operator.placement.place import place
from voxfleet_operator.placement.snapshot import (
    MacSlot,
    NamespaceStanding,
    PendingShard,
    PlacementJob,
    PlacementPlan,
    PlacementSnapshot,
)

SHARDS, MACS = 2000, 500
REPEATS = 15


def mac(number: int, free_lanes: int) -> MacSlot:
    """Each is parsed from an object of its own, as from the API server, so equal parts are not the same objects."""
    rules = [
        Access(namespace_selector=LabelSelector(match_labels={"team": f"team-{team}"}), uri_prefixes=("s3://data/",))
        for team in range(2)
    ]
    return MacSlot(
        name=f"mac-{number:03}",
        labels={"host": f"mac-{number:03}", "site": f"site-{number % 3}"},
        access=(*rules, Access(namespace_selector=LabelSelector(), uri_prefixes=("file:///data/",))),
        taints=(Taint(key="rented", value="night"),) if number % 5 == 0 else (),
        chip=("Apple M2", "Apple M4", "Apple M4 Pro")[number % 3],
        memory_bytes=2**34 * (1 + number % 2),
        lane_memory_bytes=2**33,
        keeps_within_prefixes=True,
        free_lanes=free_lanes,
        loaded_models=frozenset({f"model-{number % 4}"}),
    )


def shards(jobs: int) -> tuple[PendingShard, ...]:
    found = []
    for number in range(jobs):
        job = PlacementJob(
            uid=f"job-{number}",
            namespace=f"team-{number % 10}",
            name=f"job-{number}",
            created=f"2026-11-20T{number % 24:02}:00:00Z",
            uris=(f"file:///data/in/{number}/", f"file:///data/out/{number}/"),
            parallelism=1000,
            priority=number % 3,
            mac_selector=LabelSelector(match_labels={"site": "site-1"}) if number % 7 == 0 else LabelSelector(),
            requirements=Requirements(memory="16Gi", chips=("M4",) if number % 2 else (), homogeneous=number % 5 == 0),
            model_digest=f"model-{number % 4}",
            model_bytes=2**30,
        )
        for ordinal in range(SHARDS // jobs):
            uid = f"{job.uid}-{ordinal:05}"
            found.append(PendingShard(uid, uid, job, Stage.PROCESS, ordinal, next_attempt=1))
    return tuple(found)


def snapshot(jobs: int, lanes_of: Callable[[int], int]) -> PlacementSnapshot:
    return PlacementSnapshot(
        shards=shards(jobs),
        macs=tuple(mac(number, lanes_of(number)) for number in range(MACS)),
        namespace_labels={f"team-{team}": {"team": f"team-{team}"} for team in range(10)},
        standings={f"team-{team}": NamespaceStanding(used_seconds=team * 600.0) for team in range(10)},
    )


def main() -> None:
    for title, jobs, lanes_of in (
        ("20 jobs, all Macs idle", 20, lambda _: 1),
        ("20 jobs, no lane free", 20, lambda _: 0),
        ("20 jobs, one Mac in ten free", 20, lambda number: number % 10 == 1),
        ("2,000 jobs, all Macs idle", 2000, lambda _: 1),
        ("2,000 jobs, no lane free", 2000, lambda _: 0),
    ):
        given = snapshot(jobs, lanes_of)
        times, plan = [], PlacementPlan((), {})
        for repeat in range(REPEATS):
            fresh = replace(given, macs=tuple(mac(number, lanes_of(number)) for number in range(MACS)))
            begin = time.process_time()
            plan = place(fresh, float(repeat))
            times.append((time.process_time() - begin) * 1000)
        times.sort()
        print(
            f"{title}: median {times[len(times) // 2]:.1f} ms, worst {times[-1]:.1f} ms;"
            f" {len(plan.assignments)} assigned, {len(plan.pending)} jobs told why not"
        )


if __name__ == "__main__":
    main()

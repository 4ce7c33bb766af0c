"""The control plane's cost of a job beside an Indexed Job's, on the same kube-apiserver and etcd, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from tests.bench.control_plane_load import ControlPlaneLoad, LoadMeter
from tests.bench.failure import MeasurementFailed
from tests.bench.fleet_side import FleetSide
from tests.bench.peer_rig import PeerRig
from tests.bench.report import Figure
from tests.bench.side_by_side import JobRun, compared, idle_starts, where_it_went

MACHINES = 4
"""Macs of the fleet, and nodes of the peer."""
RAISED_QPS = 1000
"""So that the peer is held up by its work and not by how much its clients may ask a second."""
WARM_UP_ITEMS = 200
SMALL, LARGE = 1000, 10_000
SMALL_ROUNDS = 3
IDLE_JOBS = 100
LONGEST_SECONDS = 1200.0

Say = Callable[[str], None]


class Side(Protocol):
    """The fleet or the peer, up and idle."""

    @property
    def meter(self) -> LoadMeter: ...

    def prepare(self, name: str, items: int) -> None:
        """Whatever is there before a user creates the job."""
        ...

    def submit(self, name: str, items: int) -> None: ...

    def wait_complete(self, name: str, items: int, timeout_seconds: float) -> None:
        """Raises MeasurementFailed when the job fails, loses an item, or is not complete in time."""
        ...

    def settle(self, name: str) -> None:
        """Waits until what the job costs after its completion is paid."""
        ...

    def starts(self, name: str, load: ControlPlaneLoad) -> Sequence[datetime]:
        """When each item of the job began."""
        ...


def peer_figures(directory: Path, say: Say) -> list[Figure]:
    """Raises MeasurementFailed, ChildFailed, KubectlFailed, OSError."""
    with ExitStack() as stack:
        say(f"the peer: kube-controller-manager and kube-scheduler with {RAISED_QPS} requests a second, kwok")
        peer = stack.enter_context(PeerRig(directory / "peer", nodes=MACHINES, client_qps=RAISED_QPS))
        say(f"a fleet of {MACHINES} Macs that only sleep, reached without SSH")
        fleet = stack.enter_context(FleetSide(directory / "fleet", macs=MACHINES))
        sides: dict[str, Side] = {"fleet": fleet, "peer": peer}
        for side in sides.values():
            run_job(side, "warm-up", WARM_UP_ITEMS)
        idle = {name: idle_start_seconds(side) for name, side in sides.items()}
        rounds: dict[int, dict[str, list[JobRun]]] = {}
        for items, repeats in ((SMALL, SMALL_ROUNDS), (LARGE, 1)):
            runs = rounds[items] = {name: [] for name in sides}
            for repeat in range(repeats):
                for name, side in sides.items():
                    runs[name].append(run_job(side, f"job-{items}-{repeat}", items))
                    say(f"{name}: {where_it_went(runs[name][-1])}")
    figures = idle_starts(idle["fleet"], idle["peer"])
    for items, runs in rounds.items():
        figures += compared(items, runs["fleet"], runs["peer"])
    return [*figures, *default_limits_figures(directory / "peer-defaults", say)]


def default_limits_figures(directory: Path, say: Say) -> list[Figure]:
    """The peer as it comes, whose clients hold themselves back."""
    with PeerRig(directory, nodes=MACHINES, client_qps=None) as peer:
        run_job(peer, "warm-up", WARM_UP_ITEMS)
        run = run_job(peer, "job", SMALL)
    say(f"peer with its default limits: {where_it_went(run)}")
    unit = f"Indexed Job of {SMALL} pods, default limits of its clients"
    cpu_seconds = run.cpu_seconds_per_1000_items
    return [
        Figure("peer_defaults_items_per_second", run.items_per_second, f"items a second, {unit}"),
        Figure("peer_defaults_cpu_seconds_per_1000_items", cpu_seconds, f"processor seconds, {unit}"),
    ]


def run_job(side: Side, name: str, items: int) -> JobRun:
    side.prepare(name, items)
    before = side.meter.read()
    created, clock = datetime.now(UTC), time.monotonic()
    side.submit(name, items)
    side.wait_complete(name, items, LONGEST_SECONDS)
    seconds = time.monotonic() - clock
    side.settle(name)
    load = side.meter.since(before)
    starts = side.starts(name, load)
    if len(starts) != items:
        raise MeasurementFailed(f"job {name}: {len(starts)} starts are known of {items} items")
    return JobRun(items, seconds, load, tuple((start - created).total_seconds() for start in starts))


def idle_start_seconds(side: Side) -> list[float]:
    found: list[float] = []
    for number in range(IDLE_JOBS):
        found += run_job(side, f"single-{number}", 1).started_seconds
    return found

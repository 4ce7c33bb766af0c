"""What a job cost each side, the fleet and its peer, as figures and as ratios. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.control_plane_load import ControlPlaneLoad
from tests.bench.report import Figure, Goal

from voxfleet_shared.percentile import percentile


@dataclass(frozen=True)
class JobRun:
    """One job of one side, from its creation until it is complete."""

    items: int
    seconds: float
    load: ControlPlaneLoad
    started_seconds: tuple[float, ...]
    """After how long each item began."""

    @property
    def requests_per_item(self) -> float:
        return self.load.counted.total() / self.items

    @property
    def etcd_bytes_per_item(self) -> float:
        return self.load.put_bytes / self.items

    @property
    def cpu_seconds_per_1000_items(self) -> float:
        return 1000 * self.load.total_cpu_seconds / self.items

    @property
    def items_per_second(self) -> float:
        return self.items / self.seconds

    @property
    def start_p50_seconds(self) -> float:
        return nearest_rank(self.started_seconds, 50)

    @property
    def start_p99_seconds(self) -> float:
        return nearest_rank(self.started_seconds, 99)


@dataclass(frozen=True)
class Measure:
    name: str
    unit: str
    of: Callable[[JobRun], float]
    goal: Goal | None = None
    more_is_better: bool = False

    def ratio(self, fleet: float, peer: float) -> float:
        """How many times better the fleet is."""
        better, worse = (fleet, peer) if self.more_is_better else (peer, fleet)
        return better / worse


MEASURES = (
    Measure(
        "requests_per_item", "requests to kube-apiserver an item", lambda run: run.requests_per_item, Goal("<=", 0.05)
    ),
    Measure("etcd_bytes_per_item", "bytes put into etcd an item", lambda run: run.etcd_bytes_per_item, Goal("<=", 150)),
    Measure(
        "cpu_seconds_per_1000_items",
        "processor seconds of the control plane for 1,000 items",
        lambda run: run.cpu_seconds_per_1000_items,
        Goal("<=", 1.5),
    ),
    Measure(
        "items_per_second",
        "items a second, creation to completion",
        lambda run: run.items_per_second,
        Goal(">=", 1000),
        more_is_better=True,
    ),
    Measure("start_p50_seconds", "seconds from creation to an item's start, median", lambda run: run.start_p50_seconds),
    Measure(
        "start_p99_seconds", "seconds from creation to an item's start, 99 of 100", lambda run: run.start_p99_seconds
    ),
)


def compared(items: int, fleet: Sequence[JobRun], peer: Sequence[JobRun]) -> list[Figure]:
    """Medians of each side's rounds, and how many times better the fleet's is."""
    figures = []
    for measure in MEASURES:
        ours, theirs = (tuple(map(measure.of, runs)) for runs in (fleet, peer))
        ratio = measure.ratio(statistics.median(ours), statistics.median(theirs))
        figures += [
            _figure(f"fleet_{measure.name}_{items}", ours, f"{measure.unit}, job of {items} clips", measure.goal),
            _figure(f"peer_{measure.name}_{items}", theirs, f"{measure.unit}, Indexed Job of {items} pods"),
            Figure(f"ratio_{measure.name}_{items}", ratio, "times better than the peer"),
        ]
    return figures


def idle_starts(fleet: Sequence[float], peer: Sequence[float]) -> list[Figure]:
    """How soon single items start where nothing else is to be done."""
    unit = f"seconds from creation to start, {len(fleet)} jobs of one item one after the other, all idle"
    figures = []
    for percent, goal in ((50, None), (99, Goal("<=", 1.0))):
        ours, theirs = nearest_rank(fleet, percent), nearest_rank(peer, percent)
        figures += [
            Figure(f"fleet_idle_start_p{percent}_seconds", ours, unit, goal),
            Figure(f"peer_idle_start_p{percent}_seconds", theirs, unit),
            Figure(f"ratio_idle_start_p{percent}", theirs / ours, "times better than the peer"),
        ]
    return figures


def where_it_went(run: JobRun) -> str:
    """A line for people: requests by client and kind, processor time by process."""
    requests = Counter(run.load.counted)
    told = ", ".join(f"{count} {client} {what}" for (client, what), count in requests.most_common())
    return (
        f"{run.items} items in {run.seconds:.2f} s; {requests.total()} requests: {told};"
        f" {run.load.put_bytes} B put into etcd; processor: {_listed(run.load.cpu_seconds)};"
        f" not counted: {_listed(run.load.machines_cpu_seconds)}"
    )


def _listed(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {each:.2f} s" for name, each in seconds.items())


def nearest_rank(values: Sequence[float], percent: int) -> float:
    """To the millisecond. Raises IndexError without values."""
    return percentile(sorted(round(value * 1000) for value in values), percent) / 1000


def _figure(name: str, samples: tuple[float, ...], unit: str, goal: Goal | None = None) -> Figure:
    return Figure(name, statistics.median(samples), unit, goal, samples if len(samples) > 1 else ())

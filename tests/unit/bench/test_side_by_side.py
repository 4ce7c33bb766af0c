"""Two sides are compared by their medians, and a ratio above 1 always speaks for the fleet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.bench.audit import requests
from tests.bench.control_plane_load import PUT_BYTES_METRIC, ControlPlaneLoad, metric_value
from tests.bench.failure import MeasurementFailed
from tests.bench.fleet_side import clip_starts
from tests.bench.side_by_side import JobRun, compared, idle_starts

LINES = Path(__file__).with_name("audit.jsonl").read_text().splitlines(keepends=True)


def run(seconds: float, put_bytes: int, starts: Sequence[float] = (0.5,)) -> JobRun:
    """The five requests of audit.jsonl that count."""
    load = ControlPlaneLoad(tuple(requests(LINES)), put_bytes, {"etcd": 0.25, "operator": 0.75}, {"fake Macs": 9.0})
    return JobRun(100, seconds, load, tuple(starts))


def values(fleet: Sequence[JobRun], peer: Sequence[JobRun]) -> dict[str, float]:
    return {figure.name: figure.value for figure in compared(100, fleet, peer)}


def test_what_a_job_cost_is_told_by_item() -> None:
    found = values([run(2.0, 5000)], [run(2.0, 5000)])
    assert found["fleet_requests_per_item_100"] == 0.05
    assert found["fleet_etcd_bytes_per_item_100"] == 50
    assert found["fleet_cpu_seconds_per_1000_items_100"] == 10
    assert found["fleet_items_per_second_100"] == 50


def test_the_median_round_counts() -> None:
    found = values([run(seconds, 5000) for seconds in (1.0, 4.0, 2.0)], [run(8.0, 5000)])
    assert found["fleet_items_per_second_100"] == 50
    assert found["ratio_items_per_second_100"] == 4


def test_a_ratio_says_how_many_times_better_the_fleet_is() -> None:
    found = values([run(2.0, 1000)], [run(8.0, 9000)])
    assert found["ratio_etcd_bytes_per_item_100"] == 9
    assert found["ratio_items_per_second_100"] == 4
    assert found["ratio_requests_per_item_100"] == 1


def test_percentiles_are_values_that_occurred() -> None:
    starts = [number / 100 for number in range(1, 101)]
    found = {figure.name: figure.value for figure in idle_starts(starts, [2 * start for start in starts])}
    assert found["fleet_idle_start_p50_seconds"] == 0.5
    assert found["fleet_idle_start_p99_seconds"] == 0.99
    assert found["ratio_idle_start_p99"] == 2


def test_requests_of_bystanders_are_no_load() -> None:
    clients = {client for client, _ in run(1.0, 0).load.counted}
    assert clients == {"voxfleet-operator", "kopf"}


def test_clips_of_a_part_began_when_the_part_before_was_written(tmp_path: Path) -> None:
    for second, (name, rows) in enumerate((("base.json", 1), ("part-00000-x.jsonl", 2), ("part-00001-x.jsonl", 1))):
        (tmp_path / name).write_text("{}\n" * rows)
        os.utime(tmp_path / name, (second, second))
    assert clip_starts(tmp_path) == [datetime.fromtimestamp(second, UTC) for second in (0, 0, 1)]


def test_a_counter_is_read_from_what_etcd_tells() -> None:
    told = f"# TYPE {PUT_BYTES_METRIC} gauge\n{PUT_BYTES_METRIC} 1.2345e+04\nother 1\n"
    assert metric_value(told, PUT_BYTES_METRIC) == 12345
    with pytest.raises(MeasurementFailed, match="tells no missing"):
        metric_value(told, "missing")

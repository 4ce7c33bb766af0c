"""What the benchmarks compute from what they measured."""

from __future__ import annotations

import pytest
from tests.bench.agent_figures import busy_seconds
from tests.bench.failure import MeasurementFailed
from tests.bench.lane_figures import SETTLED_AFTER
from tests.bench.loops import Way
from tests.bench.report import Goal
from tests.bench.resident import slope
from tests.bench.whisper_figures import AGENT, AGENT_ALL_THREADS, whisper_ratios
from tests.bench.whisper_memory import ResidentSizes

from voxfleet_api.rows import ClipStatus, ResultRow, Timings


def row(index: int, infer_milliseconds: int, batch_size: int, status: ClipStatus = ClipStatus.SUCCEEDED) -> ResultRow:
    return ResultRow(
        index=index,
        custom_id=f"c{index}",
        status=status,
        timings=Timings(infer_milliseconds=infer_milliseconds),
        batch_size=batch_size,
    )


def test_a_batch_counts_once_in_the_models_time() -> None:
    rows = [row(0, 100, 2), row(1, 100, 2), row(2, 40, 1)]
    assert busy_seconds(rows, 3) == pytest.approx(0.141)


def test_a_run_that_lost_or_failed_a_clip_measures_nothing() -> None:
    with pytest.raises(MeasurementFailed, match="1 of 1 rows succeeded, expected 2"):
        busy_seconds([row(0, 100, 1)], 2)
    with pytest.raises(MeasurementFailed, match="1 of 2 rows succeeded"):
        busy_seconds([row(0, 100, 1), row(1, 100, 1, ClipStatus.FAILED)], 2)


def test_slope() -> None:
    assert slope([5.0, 5.0, 5.0]) == 0
    assert slope([1.0, 3.0, 5.0, 7.0]) == pytest.approx(2)
    assert slope([0.0, 9.0, 0.0, 9.0, 0.0]) == pytest.approx(0)
    with pytest.raises(ValueError, match="two values"):
        slope([1.0])


def test_growth_is_that_of_medians_after_the_first_clips() -> None:
    """Neither what the first clips load nor one long clip counts."""
    sizes = [900.0] * SETTLED_AFTER + [100.0] * 9 + [500.0] + [100.0] * 80 + [103.0] * 9 + [700.0]
    assert ResidentSizes(tuple(sizes), 500).growth_bytes == 3


def test_the_best_loop_is_the_one_with_the_best_median_and_is_divided_by_round_by_round() -> None:
    speeds = {
        AGENT: [2.0, 2.0, 2.0],
        AGENT_ALL_THREADS: [3.0, 6.0, 3.0],
        Way.ARRAY: [9.0, 1.0, 1.0],
        Way.ARRAY_AHEAD: [2.0, 4.0, 3.0],
        Way.ARRAY_AHEAD_ONE_THREAD: [1.0, 4.0, 2.0],
    }
    best, default, one_thread = whisper_ratios(speeds)
    assert default.goal is None and default.name == "whisper_default_agent_vs_array_loop"
    assert best.samples == (1.5, 1.5, 1.0) and best.value == 1.5 and "array-ahead" in best.unit
    assert one_thread.samples == (2.0, 0.5, 1.0) and one_thread.value == 1.0
    assert best.goal == one_thread.goal == Goal(">=", 1.0)

"""What the benchmarks compute from what they measured."""

from __future__ import annotations

import pytest
from tests.bench.agent_figures import busy_seconds
from tests.bench.failure import MeasurementFailed
from tests.bench.resident import slope

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

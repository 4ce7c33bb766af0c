"""A clip never succeeds without the times that its contract asks for."""

from __future__ import annotations

import pytest

from voxfleet_agent.lanes.lane_types import ClipVerdict
from voxfleet_agent.stages.result_rows import RowFactory
from voxfleet_agent.stages.stage_context import Provenance
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.rows import ClipStatus, ManifestRow, ResultRow, TimedText, Timings

ONE = (TimedText(start_milliseconds=0, end_milliseconds=900, text="one"),)
Times = tuple[TimedText, ...] | None


def row_of(timestamps: Timestamps, text: str | None, segments: Times, words: Times) -> ResultRow:
    factory = RowFactory(attempt=1, provenance=Provenance(chip="M1", versions={}), timestamps=timestamps)
    verdict = ClipVerdict(0, text=text, segments=segments, words=words)
    return factory.from_verdict(ManifestRow(index=0, custom_id="c"), verdict, sha256=None, timings=Timings(), retries=0)


@pytest.mark.parametrize(
    ("timestamps", "segments", "words"),
    [
        (Timestamps.SEGMENT, None, None),
        (Timestamps.SEGMENT, (), ()),
        (Timestamps.WORD, ONE, None),
        (Timestamps.WORD, ONE, ()),
        (Timestamps.WORD, None, ONE),
    ],
)
def test_a_text_without_the_times_of_its_contract_is_no_result(
    timestamps: Timestamps, segments: Times, words: Times
) -> None:
    row = row_of(timestamps, "one", segments, words)
    assert row.status is ClipStatus.QUARANTINED and row.error is not None and row.text is None
    assert row.error.failure_class is FailureClass.INFERENCE_ERROR
    assert f"output.timestamps: {timestamps}" in row.error.reason


@pytest.mark.parametrize(
    ("timestamps", "text", "segments", "words"),
    [
        (Timestamps.NONE, "one", None, None),
        (Timestamps.SEGMENT, "one", ONE, None),
        (Timestamps.WORD, "one", ONE, ONE),
        (Timestamps.WORD, "", (), ()),
        (Timestamps.WORD, "", None, None),
        (Timestamps.WORD, None, None, None),
    ],
)
def test_all_other_clips_succeed(timestamps: Timestamps, text: str | None, segments: Times, words: Times) -> None:
    assert row_of(timestamps, text, segments, words).status is ClipStatus.SUCCEEDED

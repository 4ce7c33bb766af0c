"""What a shard's progress counts."""

from __future__ import annotations

from voxfleet_agent.stages.process.shard_clips import remaining_clips
from voxfleet_agent.stages.process.shard_progress import ShardProgressMeter
from voxfleet_agent.stages.result_rows import row_error
from voxfleet_api.failures import FailureClass
from voxfleet_api.rows import ManifestRow

REFUSAL = row_error(FailureClass.CONTRACT_VIOLATION, "too many channels")
CLIPS = {
    0: ManifestRow(index=0, custom_id="a", uri="file:///a", audio_milliseconds=1000),
    1: ManifestRow(index=1, custom_id="b", uri="file:///b", audio_milliseconds=500, refusal=REFUSAL),
    2: ManifestRow(index=2, custom_id="c", uri="file:///c"),
    3: ManifestRow(index=3, custom_id="d", uri="file:///d", audio_milliseconds=4000),
}


def test_a_resumed_shard_begins_with_the_audio_that_has_rows() -> None:
    remaining = remaining_clips(CLIPS, {0, 1})
    assert (remaining.refused, remaining.lengths, remaining.finished_milliseconds) == ([], {2: 0, 3: 4000}, 1500)
    told: list[tuple[int, int, int]] = []

    def sink(done: int, total: int, audio_milliseconds: int = 0) -> None:
        told.append((done, total, audio_milliseconds))

    meter = ShardProgressMeter(sink, CLIPS, 2, remaining.finished_milliseconds)
    meter.heard(2, 9000)  # nobody knew its length: it counts as a clip alone
    meter.heard(3, 2500)
    meter.row_recorded(2)
    meter.row_recorded(3)
    assert told == [(2, 4, 1500), (2, 4, 4000), (3, 4, 4000), (4, 4, 5500)]

"""A ladder as it is measured, and a Mac whose lanes take as long as a test says."""

from __future__ import annotations

from voxfleet_agent.ladder.contention import HOLD_SECONDS, MIN_BATCHES
from voxfleet_agent.ladder.measure import plan_batches
from voxfleet_agent.ladder.pace_watch import LanePace, PaceWatch
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict
from voxfleet_api.ladder_table import LadderTable, LadderTier

CLIP_MILLISECONDS = 10_000
BATCH = 4
BATCH_MILLISECONDS = 400
"""Of four clips of ten seconds, as the ladder measured it."""


def tier(batch_size: int, batch_milliseconds: int) -> LadderTier:
    """As measure_ladder makes it of clips of CLIP_MILLISECONDS."""
    clips = [ClipTask(index, path=None, audio_milliseconds=CLIP_MILLISECONDS) for index in range(8)]  # type: ignore[arg-type] # unread
    batches = [batch for batch in plan_batches(clips, batch_size) if batch.counted]
    return LadderTier(
        batch_size=batch_size,
        peak_rss_bytes=1,
        audio_milliseconds=len(batches) * batch_size * CLIP_MILLISECONDS,
        infer_milliseconds=len(batches) * batch_milliseconds,
        clip_p50_milliseconds=1,
        clip_p95_milliseconds=1,
    )


TABLE = LadderTable(
    model_digest="sha256:" + "1" * 64,
    contract_digest="sha256:" + "2" * 64,
    chip="M4",
    versions={},
    sample_rate_hz=16_000,
    memory_cap_bytes=2**30,
    tiers=(tier(1, 150), tier(BATCH, BATCH_MILLISECONDS)),
    memory_knee=BATCH,
    latency_knee=BATCH,
    throughput_knee=BATCH,
    chosen=BATCH,
)

BATCH_SECONDS = HOLD_SECONDS / 10
LONG_ENOUGH = MIN_BATCHES + 11
"""Batches, one each BATCH_SECONDS."""


class MeasuredMac:
    """A Mac whose clock and lanes move as a test says."""

    def __init__(self) -> None:
        self.now_seconds = 0.0
        self.hot = False
        self.serves_sessions = False
        self.watch = PaceWatch(lambda: self.now_seconds, lambda: self.hot, lambda: self.serves_sessions)

    def work(self, lane: LanePace, times: float, batches: int = LONG_ENOUGH, **changes: object) -> None:
        for _ in range(batches):
            self.now_seconds += BATCH_SECONDS
            lane.clips_sent(BATCH)
            for index in range(BATCH):
                fields: dict[str, object] = {
                    "audio_milliseconds": CLIP_MILLISECONDS,
                    "infer_milliseconds": round(BATCH_MILLISECONDS * times),
                    "batch_size": BATCH,
                    **changes,
                }
                lane.clip_done(ClipVerdict(index, **fields))  # type: ignore[arg-type] # of these names and types

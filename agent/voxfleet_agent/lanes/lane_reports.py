"""From what a child says of a clip to what a stage is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from voxfleet_agent.lane_protocol.messages import REASON_CHARACTERS, VerdictMessage, WorkerReadings
from voxfleet_agent.lanes.clip_queue import ClipQueue
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, SynthesizedFile
from voxfleet_api.failures import FailureClass
from voxfleet_api.results import LaneReadings


def clip_verdict(answer: VerdictMessage, deaths_alone: Sequence[FailureClass]) -> ClipVerdict:
    """`deaths_alone`: of the children that ended on this clip before the one that answers."""
    spoken = answer.spoken
    return ClipVerdict(
        index=answer.index,
        failure_class=answer.failure_class,
        reason=answer.reason[:REASON_CHARACTERS],
        text=answer.text,
        segments=answer.segments,
        words=answer.words,
        language=answer.language,
        spoken=None
        if spoken is None
        else SynthesizedFile(
            size_bytes=spoken.size_bytes,
            sample_rate_hz=spoken.sample_rate_hz,
            chunks=spoken.chunks,
            interval_milliseconds=spoken.interval_milliseconds,
        ),
        audio_milliseconds=answer.audio_milliseconds,
        attestation=answer.attestation,
        decode_milliseconds=answer.decode_milliseconds,
        wait_milliseconds=answer.wait_milliseconds,
        infer_milliseconds=answer.infer_milliseconds,
        batch_size=answer.batch_size,
        retried_for=(*deaths_alone, *answer.retried_for),
    )


def endless_decode_verdict(clip: ClipTask, deaths_alone: tuple[FailureClass, ...]) -> ClipVerdict:
    return ClipVerdict(
        clip.index,
        FailureClass.DECODE_ERROR,
        "decoding it came to no end within many times what its length and size explain",
        retried_for=deaths_alone,
    )


def poison_verdicts(docket: ClipQueue) -> list[ClipVerdict]:
    """Verdicts of the clips that have just been found to end children."""
    return [
        ClipVerdict(
            culprit.clip.index,
            culprit.end.clip_class,
            f"twice on this clip alone: {culprit.end.reason}"[:REASON_CHARACTERS],
            retried_for=docket.deaths_alone(culprit.clip.index)[:-1],
        )
        for culprit in docket.culprits()
    ]


@dataclass(slots=True)
class ReadingsTotal:
    """Since the last `load` of a lane."""

    ring_bytes: int = 0
    restarts: Counter[str] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)
    """Of rings that went with their child."""
    ended: WorkerReadings = field(default_factory=WorkerReadings)
    living: WorkerReadings = field(default_factory=WorkerReadings)
    """As the living child last told."""

    def child_gone(self) -> None:
        self.ended = merged(self.ended, self.living)
        self.living = WorkerReadings()

    def readings(self, batch_size: int) -> LaneReadings:
        total = merged(self.ended, self.living)
        return LaneReadings(
            ring_bytes=self.ring_bytes,
            ring_high_water_bytes=total.ring_high_water_bytes,
            ring_underruns=total.ring_underruns,
            ring_resets=dict(sorted((Counter(total.ring_resets) + self.resets).items())),
            peak_rss_bytes=total.peak_rss_bytes,
            metal_peak_bytes=total.metal_peak_bytes,
            restarts=dict(sorted(self.restarts.items())),
            batch_size=batch_size,
        )


def merged(first: WorkerReadings, second: WorkerReadings) -> WorkerReadings:
    """Peaks are the higher of the two, counts their sum."""
    metal = [peak for peak in (first.metal_peak_bytes, second.metal_peak_bytes) if peak is not None]
    return WorkerReadings(
        ring_high_water_bytes=max(first.ring_high_water_bytes, second.ring_high_water_bytes),
        ring_underruns=first.ring_underruns + second.ring_underruns,
        ring_resets=dict(Counter(first.ring_resets) + Counter(second.ring_resets)),
        peak_rss_bytes=max(first.peak_rss_bytes, second.peak_rss_bytes),
        metal_peak_bytes=max(metal, default=None),
    )

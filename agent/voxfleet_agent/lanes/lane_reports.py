"""Converts what a child reports into the form for stages and run records: loaded model, verdicts, readings. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from voxfleet_agent.lane_protocol.messages import REASON_CHARACTERS, Loaded, VerdictMessage, WorkerReadings
from voxfleet_agent.lanes.clip_queue import ClipQueue
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, LoadedModel
from voxfleet_api.failures import FailureClass
from voxfleet_api.run_record import LaneReadings


def loaded_model(answer: Loaded) -> LoadedModel:
    return LoadedModel(
        sample_rate_hz=answer.sample_rate_hz,
        family=answer.family,
        batches=answer.batches,
        parameters=answer.parameters,
        dtype=answer.dtype,
        ring_bytes=answer.ring_bytes,
        seed=answer.seed,
        blas=answer.blas,
        warm_up_seconds=answer.warm_up_milliseconds / 1000,
        environment=dict(answer.environment),
    )


def clip_verdict(answer: VerdictMessage, deaths_alone: Sequence[FailureClass]) -> ClipVerdict:
    """`deaths_alone`: how earlier children ended that worked on this clip alone."""
    return ClipVerdict(
        index=answer.index,
        failure_class=answer.failure_class,
        reason=answer.reason[:REASON_CHARACTERS],
        text=answer.text,
        segments=answer.segments,
        words=answer.words,
        language=answer.language,
        synthesized=answer.synthesized,
        audio_milliseconds=answer.audio_milliseconds,
        attestation=answer.attestation,
        warnings=answer.warnings,
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


def poison_verdicts(queue: ClipQueue) -> list[ClipVerdict]:
    """Verdicts of the clips that were found to be poison since the last call."""
    return [
        ClipVerdict(
            poison.clip.index,
            poison.end.clip_class,
            f"twice on this clip alone: {poison.end.reason}"[:REASON_CHARACTERS],
            retried_for=queue.deaths_alone(poison.clip.index)[:-1],
        )
        for poison in queue.pop_new_poison()
    ]


@dataclass(slots=True)
class ReadingsTotal:
    """Readings of a lane since its last `load`, over all of its children."""

    ring_bytes: int = 0
    restarts: Counter[str] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)
    """Rings that were lost with their child, by reason."""
    ended_children: WorkerReadings = field(default_factory=WorkerReadings)
    current_child: WorkerReadings = field(default_factory=WorkerReadings)
    """As the living child last reported them."""

    def child_ended(self) -> None:
        self.ended_children = merged(self.ended_children, self.current_child)
        self.current_child = WorkerReadings()

    def readings(self, batch_size: int) -> LaneReadings:
        total = merged(self.ended_children, self.current_child)
        return LaneReadings(
            ring_bytes=self.ring_bytes,
            ring_high_water_bytes=total.ring_high_water_bytes,
            ring_underruns=total.ring_underruns,
            ring_underruns_by_cause={cause.value: count for cause, count in total.ring_underruns_by_cause.items()},
            ring_resets=dict(sorted((Counter(total.ring_resets) + self.resets).items())),
            peak_rss_bytes=total.peak_rss_bytes,
            metal_peak_bytes=total.metal_peak_bytes,
            restarts=dict(sorted(self.restarts.items())),
            batch_size=batch_size,
        )


def merged(first: WorkerReadings, second: WorkerReadings) -> WorkerReadings:
    """Takes the higher of the two for each peak, and the sum for each count."""
    metal = [peak for peak in (first.metal_peak_bytes, second.metal_peak_bytes) if peak is not None]
    return WorkerReadings(
        ring_high_water_bytes=max(first.ring_high_water_bytes, second.ring_high_water_bytes),
        ring_underruns=first.ring_underruns + second.ring_underruns,
        ring_underruns_by_cause=dict(Counter(first.ring_underruns_by_cause) + Counter(second.ring_underruns_by_cause)),
        ring_resets=dict(Counter(first.ring_resets) + Counter(second.ring_resets)),
        peak_rss_bytes=max(first.peak_rss_bytes, second.peak_rss_bytes),
        metal_peak_bytes=max(metal, default=None),
    )

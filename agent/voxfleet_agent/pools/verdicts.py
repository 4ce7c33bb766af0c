"""From what a child says of a clip to what a stage is told."""

from __future__ import annotations

from collections.abc import Sequence

from voxfleet_agent.pools.docket import Docket
from voxfleet_agent.pools.messages import REASON_CHARACTERS, Verdict
from voxfleet_agent.stages.stage import ClipTask, ClipVerdict, SpokenFile
from voxfleet_api.failures import FailureClass


def clip_verdict(answer: Verdict, deaths_alone: Sequence[FailureClass]) -> ClipVerdict:
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
        else SpokenFile(
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


def endless(clip: ClipTask, deaths_alone: tuple[FailureClass, ...]) -> ClipVerdict:
    return ClipVerdict(
        clip.index,
        FailureClass.DECODE_ERROR,
        "decoding it came to no end within many times what its length and size explain",
        retried_for=deaths_alone,
    )


def condemned(docket: Docket) -> list[ClipVerdict]:
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

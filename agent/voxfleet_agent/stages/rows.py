"""The one row of a clip, from what happened to it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.lanes.lane_types import ClipVerdict
from voxfleet_agent.stages.stage import Provenance
from voxfleet_api.failures import RULES, FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.results import (
    Attestation,
    ClipStatus,
    ManifestRow,
    ResultRow,
    RowError,
    SpokenAudio,
    Timings,
)

_REASON_LIMIT = 256


def row_error(failure_class: FailureClass, reason: str) -> RowError:
    return RowError(failure_class=failure_class, reason=reason[:_REASON_LIMIT])


def error_of(error: VoxFleetError) -> RowError:
    return row_error(error.failure_class, error.message)


def checksum_mismatch(actual: str, expected: str) -> RowError:
    return row_error(
        FailureClass.CHECKSUM_MISMATCH, f"the file has sha256 {actual[:12]}…, the manifest names {expected[:12]}…"
    )


@dataclass(frozen=True, slots=True)
class RowWriter:
    """What is the same in all rows of an attempt."""

    attempt: int
    provenance: Provenance
    timestamps: Timestamps

    def failed(
        self,
        clip: ManifestRow,
        error: RowError,
        *,
        sha256: str | None = None,
        timings: Timings | None = None,
        retries: int | None = None,
    ) -> ResultRow:
        """Of a clip that never reached the model."""
        return ResultRow(
            index=clip.index,
            custom_id=clip.custom_id,
            status=_status(error),
            error=error,
            audio_milliseconds=clip.audio_milliseconds,
            sha256=sha256,
            etag=clip.etag,
            timings=timings,
            retries=retries,
            attempt=self.attempt,
            chip=self.provenance.chip,
            versions=self.provenance.versions,
        )

    def answered(
        self,
        clip: ManifestRow,
        verdict: ClipVerdict,
        *,
        sha256: str | None,
        timings: Timings,
        retries: int,
        audio: SpokenAudio | None = None,
    ) -> ResultRow:
        """Of a clip that the lane has seen. `sha256` is of the fetched bytes; `retries` counts the lane's too."""
        error = None if verdict.failure_class is None else row_error(verdict.failure_class, verdict.reason)
        succeeded = error is None
        segments = self.timestamps is not Timestamps.NONE and succeeded
        words = self.timestamps is Timestamps.WORD and succeeded
        return ResultRow(
            index=clip.index,
            custom_id=clip.custom_id,
            status=ClipStatus.SUCCEEDED if error is None else _status(error),
            text=verdict.text if succeeded else None,
            segments=verdict.segments if segments else None,
            words=verdict.words if words else None,
            language=verdict.language if succeeded else None,
            audio=audio,
            error=error,
            audio_milliseconds=verdict.audio_milliseconds,
            sha256=sha256,
            etag=clip.etag,
            timings=timings,
            attestation=_attested(verdict.attestation, sha256),
            batch_size=verdict.batch_size,
            retries=retries,
            attempt=self.attempt,
            chip=self.provenance.chip,
            versions=self.provenance.versions,
        )


def not_run_row(clip: ManifestRow) -> ResultRow:
    """Of a clip that no attempt delivered before the job ended."""
    return ResultRow(
        index=clip.index,
        custom_id=clip.custom_id,
        status=ClipStatus.NOT_RUN,
        error=RowError(reason="the job ended before this clip ran"),
        audio_milliseconds=clip.audio_milliseconds,
        etag=clip.etag,
    )


def _attested(attestation: Attestation | None, sha256: str | None) -> Attestation | None:
    """With the sha256 of the bytes that were decoded: those that were fetched."""
    return None if attestation is None else attestation.model_copy(update={"sha256": sha256})


def _status(error: RowError) -> ClipStatus:
    quarantines = error.failure_class is not None and RULES[error.failure_class].quarantines
    return ClipStatus.QUARANTINED if quarantines else ClipStatus.FAILED

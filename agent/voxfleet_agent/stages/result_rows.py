"""Makes the one row of each clip, and adds rows up. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from voxfleet_agent.lanes.lane_types import ClipVerdict
from voxfleet_agent.stages.stage_context import Provenance
from voxfleet_api.clip_warnings import WarningCode, WarningCount, warning_counts
from voxfleet_api.failures import RULES, FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_status import STATUS_CLIPS, FailedClip, QuarantinedClip
from voxfleet_api.results import Counts
from voxfleet_api.rows import Attestation, ClipStatus, ManifestRow, ResultRow, RowError, SynthesizedAudioFile, Timings

_REASON_LIMIT = 256


def row_error(failure_class: FailureClass, reason: str) -> RowError:
    return RowError(failure_class=failure_class, reason=reason[:_REASON_LIMIT])


def row_error_of(error: VoxFleetError) -> RowError:
    return row_error(error.failure_class, error.message)


def checksum_mismatch(actual: str, expected: str) -> RowError:
    return row_error(
        FailureClass.CHECKSUM_MISMATCH, f"the file has sha256 {actual[:12]}…, the manifest names {expected[:12]}…"
    )


@dataclass(frozen=True, slots=True)
class RowFactory:
    """Makes the rows of one attempt; holds the fields that they share."""

    attempt: int
    provenance: Provenance
    timestamps: Timestamps
    dtype: str | None = None
    """What the model computes in; None until one is loaded."""

    def failed(
        self,
        clip: ManifestRow,
        error: RowError,
        *,
        sha256: str | None = None,
        timings: Timings | None = None,
        retries: int | None = None,
    ) -> ResultRow:
        """The row of a clip that never reached the model."""
        return ResultRow(
            index=clip.index,
            custom_id=clip.custom_id,
            source_index=clip.source_index,
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

    def from_verdict(
        self,
        clip: ManifestRow,
        verdict: ClipVerdict,
        *,
        sha256: str | None,
        timings: Timings,
        retries: int,
        audio: SynthesizedAudioFile | None = None,
    ) -> ResultRow:
        """The row of a clip that the lane worked on. `sha256`: of the fetched bytes; `retries` includes the lane's."""
        error = _failure(verdict, self.timestamps)
        succeeded = error is None
        segments = self.timestamps is not Timestamps.NONE and succeeded
        words = self.timestamps is Timestamps.WORD and succeeded
        return ResultRow(
            index=clip.index,
            custom_id=clip.custom_id,
            source_index=clip.source_index,
            status=ClipStatus.SUCCEEDED if error is None else _status(error),
            text=verdict.text if succeeded else None,
            segments=verdict.segments if segments else None,
            words=verdict.words if words else None,
            language=verdict.language if succeeded else None,
            audio=audio,
            error=error,
            warnings=verdict.warnings,
            audio_milliseconds=verdict.audio_milliseconds,
            sha256=sha256,
            etag=clip.etag,
            timings=timings,
            attestation=_with_sha256(verdict.attestation, sha256),
            batch_size=verdict.batch_size,
            retries=retries,
            attempt=self.attempt,
            chip=self.provenance.chip,
            versions=self.provenance.versions,
            dtype=self.dtype,
        )


def not_run_row(clip: ManifestRow) -> ResultRow:
    """The row of a clip that no attempt delivered before the job ended."""
    return ResultRow(
        index=clip.index,
        custom_id=clip.custom_id,
        source_index=clip.source_index,
        status=ClipStatus.NOT_RUN,
        error=RowError(reason="the job ended before this clip ran"),
        audio_milliseconds=clip.audio_milliseconds,
        etag=clip.etag,
    )


def _failure(verdict: ClipVerdict, timestamps: Timestamps) -> RowError | None:
    """Why the clip has no result. A transcript without the times of its contract is none."""
    if verdict.failure_class is not None:
        return row_error(verdict.failure_class, verdict.reason)
    needed = {Timestamps.NONE: (), Timestamps.SEGMENT: (verdict.segments,)}
    if verdict.text and not all(needed.get(timestamps, (verdict.segments, verdict.words))):
        return row_error(
            FailureClass.INFERENCE_ERROR,
            f"the model gave no usable times for this clip; the contract asks for output.timestamps: {timestamps}",
        )
    return None


def _with_sha256(attestation: Attestation | None, sha256: str | None) -> Attestation | None:
    """Adds the sha256 of the fetched bytes, which are the ones that the lane decoded."""
    return None if attestation is None else attestation.model_copy(update={"sha256": sha256})


def _status(error: RowError) -> ClipStatus:
    quarantines = error.failure_class is not None and RULES[error.failure_class].quarantines
    return ClipStatus.QUARANTINED if quarantines else ClipStatus.FAILED


def is_row_of(row: ResultRow, clip: ManifestRow) -> bool:
    """Whether a row belongs to this clip in its planned version."""
    return (row.custom_id, row.etag) == (clip.custom_id, clip.etag)


_ID_LIMIT = 128


class RowTally:
    """Adds rows up without keeping them, because a job may have a hundred thousand."""

    def __init__(self) -> None:
        self._statuses: Counter[ClipStatus] = Counter()
        self._warned: Counter[WarningCode] = Counter()
        self._quarantined: list[QuarantinedClip] = []
        self._failed: list[FailedClip] = []

    def add(self, rows: Iterable[ResultRow]) -> None:
        for row in rows:
            self._statuses[row.status] += 1
            self._warned.update({warning.code for warning in row.warnings})
            if row.error is not None and row.error.failure_class is not None:
                failed = FailedClip(
                    index=row.index,
                    id=row.custom_id[:_ID_LIMIT],
                    failure_class=row.error.failure_class,
                    reason=row.error.reason,
                )
                if row.status is ClipStatus.QUARANTINED:
                    self._quarantined.append(QuarantinedClip(**failed.model_dump(), sha256=row.sha256))
                elif row.status is ClipStatus.FAILED:
                    self._failed.append(failed)
        self._quarantined = sorted(self._quarantined, key=lambda clip: clip.index)[:STATUS_CLIPS]
        self._failed = sorted(self._failed, key=lambda clip: clip.index)[:STATUS_CLIPS]

    @property
    def counts(self) -> Counts:
        return Counts(
            succeeded=self._statuses[ClipStatus.SUCCEEDED],
            failed=self._statuses[ClipStatus.FAILED],
            quarantined=self._statuses[ClipStatus.QUARANTINED],
            not_run=self._statuses[ClipStatus.NOT_RUN],
        )

    @property
    def warnings(self) -> tuple[WarningCount, ...]:
        """Clips with a warning, by its code."""
        return warning_counts(WarningCount(code=code.value, clips=clips) for code, clips in self._warned.items())

    @property
    def first_quarantined(self) -> tuple[QuarantinedClip, ...]:
        """Quarantined clips by index, as many as the job's status has room for."""
        return tuple(self._quarantined)

    @property
    def first_failed(self) -> tuple[FailedClip, ...]:
        """Failed clips by index, as many as the job's status has room for."""
        return tuple(self._failed)

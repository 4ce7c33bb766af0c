"""The one row of a clip, from what happened to it. Pure."""

from __future__ import annotations

from voxfleet_agent.stages.stage import ClipVerdict, Provenance
from voxfleet_api.failures import RULES, FailureClass, VoxFleetError
from voxfleet_api.results import ClipStatus, ManifestRow, ResultRow, RowError, Timings

_REASON_LIMIT = 256


def row_error(failure_class: FailureClass, reason: str) -> RowError:
    return RowError(failure_class=failure_class, reason=reason[:_REASON_LIMIT])


def error_of(error: VoxFleetError) -> RowError:
    return row_error(error.failure_class, error.message)


def checksum_mismatch(actual: str, expected: str) -> RowError:
    return row_error(
        FailureClass.CHECKSUM_MISMATCH, f"the file has sha256 {actual[:12]}…, the manifest names {expected[:12]}…"
    )


def failed_row(
    clip: ManifestRow,
    error: RowError,
    attempt: int,
    provenance: Provenance,
    *,
    sha256: str | None = None,
    timings: Timings | None = None,
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
        attempt=attempt,
        chip=provenance.chip,
        versions=provenance.versions,
    )


def verdict_row(
    clip: ManifestRow,
    verdict: ClipVerdict,
    attempt: int,
    provenance: Provenance,
    *,
    sha256: str,
    fetch_milliseconds: int,
    wait_milliseconds: int,
) -> ResultRow:
    """Of a clip that the lane has seen."""
    error = None if verdict.failure_class is None else row_error(verdict.failure_class, verdict.reason)
    return ResultRow(
        index=clip.index,
        custom_id=clip.custom_id,
        status=ClipStatus.SUCCEEDED if error is None else _status(error),
        text=verdict.text if error is None else None,
        error=error,
        audio_milliseconds=verdict.audio_milliseconds,
        sha256=sha256,
        etag=clip.etag,
        timings=Timings(
            fetch_milliseconds=fetch_milliseconds,
            decode_milliseconds=verdict.decode_milliseconds,
            wait_milliseconds=wait_milliseconds,
            infer_milliseconds=verdict.infer_milliseconds,
        ),
        attestation=verdict.attestation,
        batch_size=verdict.batch_size,
        attempt=attempt,
        chip=provenance.chip,
        versions=provenance.versions,
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


def _status(error: RowError) -> ClipStatus:
    quarantines = error.failure_class is not None and RULES[error.failure_class].quarantines
    return ClipStatus.QUARANTINED if quarantines else ClipStatus.FAILED

"""What rows come to: their counts and the quarantined ones that status shows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from voxfleet_api.kinds.audio_batch_job import STATUS_QUARANTINE_ITEMS, QuarantinedClip
from voxfleet_api.results import ClipStatus, Counts, ResultRow

_ID_LIMIT = 128


def counts(rows: Iterable[ResultRow]) -> Counts:
    found = Counter(row.status for row in rows)
    return Counts(
        succeeded=found[ClipStatus.SUCCEEDED],
        failed=found[ClipStatus.FAILED],
        quarantined=found[ClipStatus.QUARANTINED],
        not_run=found[ClipStatus.NOT_RUN],
    )


def first_quarantined(rows: Iterable[ResultRow]) -> list[QuarantinedClip]:
    """The first ones, by index, as many as status has room for."""
    quarantined = sorted((row for row in rows if row.status is ClipStatus.QUARANTINED), key=lambda row: row.index)[
        :STATUS_QUARANTINE_ITEMS
    ]
    return [
        QuarantinedClip(
            index=row.index,
            id=row.custom_id[:_ID_LIMIT],
            failure_class=row.error.failure_class,
            reason=row.error.reason,
            sha256=row.sha256,
        )
        for row in quarantined
        if row.error is not None and row.error.failure_class is not None
    ]

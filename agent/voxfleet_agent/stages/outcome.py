"""What rows come to: their counts and the quarantined ones that status shows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from voxfleet_api.kinds.audio_batch_job import STATUS_QUARANTINE_ITEMS, QuarantinedClip
from voxfleet_api.results import ClipStatus, Counts, ResultRow

_ID_LIMIT = 128


class Tally:
    """Adds rows up without keeping them: a job may have a hundred thousand."""

    def __init__(self) -> None:
        self._statuses: Counter[ClipStatus] = Counter()
        self._quarantined: list[QuarantinedClip] = []

    def add(self, rows: Iterable[ResultRow]) -> None:
        for row in rows:
            self._statuses[row.status] += 1
            if row.status is ClipStatus.QUARANTINED and row.error is not None and row.error.failure_class is not None:
                self._quarantined.append(
                    QuarantinedClip(
                        index=row.index,
                        id=row.custom_id[:_ID_LIMIT],
                        failure_class=row.error.failure_class,
                        reason=row.error.reason,
                        sha256=row.sha256,
                    )
                )
        self._quarantined = sorted(self._quarantined, key=lambda clip: clip.index)[:STATUS_QUARANTINE_ITEMS]

    @property
    def counts(self) -> Counts:
        return Counts(
            succeeded=self._statuses[ClipStatus.SUCCEEDED],
            failed=self._statuses[ClipStatus.FAILED],
            quarantined=self._statuses[ClipStatus.QUARANTINED],
            not_run=self._statuses[ClipStatus.NOT_RUN],
        )

    @property
    def first_quarantined(self) -> tuple[QuarantinedClip, ...]:
        """By index, as many as status has room for."""
        return tuple(self._quarantined)

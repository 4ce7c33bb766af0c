"""Decides whether a job's clips make it fail, on a fleet and without a cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.contract_limits import Quarantine


class ClipOutcomes(Protocol):
    """Counts of clips by outcome."""

    @property
    def succeeded(self) -> int: ...

    @property
    def failed(self) -> int: ...

    @property
    def quarantined(self) -> int: ...

    @property
    def not_run(self) -> int: ...


def beyond_halt(committed: Iterable[ClipOutcomes], halt_percent: int | None) -> tuple[int, int] | None:
    """Returns (quarantined, finished) clips of the committed shards once they exceed haltFanOutPercent, None before."""
    counts = list(committed)
    quarantined = sum(clips.quarantined for clips in counts)
    finished = sum(clips.succeeded + clips.failed + clips.quarantined for clips in counts)
    if halt_percent is None or quarantined * 100 <= halt_percent * finished:
        return None
    return quarantined, finished


def beyond_limits(
    counts: ClipOutcomes, halted: tuple[int, int] | None, limits: Quarantine
) -> tuple[Reason, str] | None:
    """Returns why a job fails whose clips have all ended: reason and message; None: it does not fail.

    `halted`: the result of `beyond_halt`.
    """
    total = counts.succeeded + counts.failed + counts.quarantined + counts.not_run
    if halted is not None and counts.not_run:
        return (
            Reason.QUARANTINE_LIMIT_EXCEEDED,
            f"{halted[0]} of the first {halted[1]} clips were quarantined, beyond the contract's haltFanOutPercent of"
            f" {limits.halt_fan_out_percent}; {counts.not_run} clips did not run; errors.jsonl says why",
        )
    if counts.failed or counts.not_run:
        return (
            Reason.CLIPS_FAILED,
            f"{counts.failed} of {total} clips failed and {counts.not_run} did not run; errors.jsonl says why",
        )
    exceeded = [f"{limits.max_clips} (quarantine.maxClips)"] * (counts.quarantined > limits.max_clips)
    exceeded += [f"{limits.max_percent} % (quarantine.maxPercent)"] * (
        counts.quarantined * 100 > limits.max_percent * total
    )
    if exceeded:
        return (
            Reason.QUARANTINE_LIMIT_EXCEEDED,
            f"{counts.quarantined} of {total} clips {'is' if counts.quarantined == 1 else 'are'} quarantined; the"
            f" contract allows {' and '.join(exceeded)}; errors.jsonl says why",
        )
    return None

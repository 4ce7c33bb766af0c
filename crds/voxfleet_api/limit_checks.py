"""What a job found beside what its contract allows. Pure.

The one computation for conditions, metrics, reports and explanations, so that all of them tell the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

from voxfleet_api.base import StatusModel
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds, seconds_text
from voxfleet_api.results import MeasuredResults

_MINUTE_MILLISECONDS = 60_000


class LimitName(StrEnum):
    """The limits of a contract that a job's results are held against."""

    QUARANTINED_CLIPS = "QuarantinedClips"
    QUARANTINED_PERCENT = "QuarantinedPercent"
    OFFLINE_TAIL_P95 = "OfflineTailP95"
    RETRIES_PER_HOUR = "RetriesPerHour"
    QUARANTINED_MINUTES = "QuarantinedMinutes"


FAILURE_BUDGET = (LimitName.RETRIES_PER_HOUR, LimitName.QUARANTINED_MINUTES)
"""The limits of `failureBudget`, which are those of one Mac."""


class ContractLimits(StatusModel):
    """The contract's limits; None: no limit."""

    quarantined_clips: int
    quarantined_percent: int
    retries_per_hour: int | None = None
    quarantined_minutes: int | None = None
    infer_p95_milliseconds: int | None = None
    """slo.offlineTailP95."""

    @classmethod
    def of(cls, contract: VoiceContractSpec) -> Self:
        budget, tail = contract.failure_budget, contract.slo.offline_tail_p95
        return cls(
            quarantined_clips=contract.quarantine.max_clips,
            quarantined_percent=contract.quarantine.max_percent,
            retries_per_hour=budget.retries_per_hour,
            quarantined_minutes=budget.quarantined_minutes,
            infer_p95_milliseconds=None if tail is None else duration_milliseconds(tail),
        )


@dataclass(frozen=True, slots=True)
class LimitCheck:
    name: LimitName
    found: int
    limit: int
    """Both in the same unit: clips, hundredths of clips, milliseconds or retries."""
    kept: bool | None
    """None: what was found of the whole job does not tell, since the limit is that of one Mac, which did not tell."""
    text: str
    """Such as `3 retries, at most 50 in an hour on one Mac`."""

    @property
    def used_ratio(self) -> float:
        """1 is all that is allowed. Where nothing is, one counts as 2."""
        return self.found / max(self.limit, 0.5)

    @property
    def verdict(self) -> str:
        return "not told by rows" if self.kept is None else "kept" if self.kept else "exceeded"


class QuarantinedOf(Protocol):
    @property
    def quarantined(self) -> int: ...

    @property
    def total(self) -> int: ...


def limit_checks(
    clips: QuarantinedOf, measured: MeasuredResults | None, limits: ContractLimits
) -> tuple[LimitCheck, ...]:
    """In the order of LimitName; a limit that the contract lacks has none. `measured`: None until there are results."""
    found = [_quarantined_clips(clips, limits), _quarantined_percent(clips, limits)]
    if measured is not None:
        found += filter(None, (_tail(measured, limits), _retries(measured, limits), _minutes(measured, limits)))
    return tuple(found)


def _quarantined_clips(clips: QuarantinedOf, limits: ContractLimits) -> LimitCheck:
    limit = limits.quarantined_clips
    text = f"{clips.quarantined} clips in quarantine, at most {limit}"
    return LimitCheck(LimitName.QUARANTINED_CLIPS, clips.quarantined, limit, clips.quarantined <= limit, text)


def _quarantined_percent(clips: QuarantinedOf, limits: ContractLimits) -> LimitCheck:
    found, limit = clips.quarantined * 100, limits.quarantined_percent * clips.total
    text = f"{clips.quarantined} of {clips.total} clips in quarantine, at most {limits.quarantined_percent} %"
    return LimitCheck(LimitName.QUARANTINED_PERCENT, found, limit, found <= limit, text)


def _tail(measured: MeasuredResults, limits: ContractLimits) -> LimitCheck | None:
    found, limit = measured.infer_p95_milliseconds, limits.infer_p95_milliseconds
    if found is None or limit is None:
        return None
    text = f"p95 of a clip's inference {seconds_text(found)} s, at most {seconds_text(limit)} s"
    return LimitCheck(LimitName.OFFLINE_TAIL_P95, found, limit, found <= limit, text)


def _retries(measured: MeasuredResults, limits: ContractLimits) -> LimitCheck | None:
    limit, spent = limits.retries_per_hour, measured.spent_budget
    if limit is None:
        return None
    if spent is None:
        text = f"{measured.retries} retries in all, at most {limit} in an hour on one Mac"
        return LimitCheck(LimitName.RETRIES_PER_HOUR, measured.retries, limit, measured.retries <= limit or None, text)
    found = spent.retries_in_an_hour
    text = f"{found} retries in the worst hour of one Mac, at most {limit}; {measured.retries} in all"
    return LimitCheck(LimitName.RETRIES_PER_HOUR, found, limit, found <= limit, text)


def _minutes(measured: MeasuredResults, limits: ContractLimits) -> LimitCheck | None:
    if limits.quarantined_minutes is None:
        return None
    found, spent = measured.quarantined_audio_milliseconds, measured.spent_budget
    limit, allowed = limits.quarantined_minutes * _MINUTE_MILLISECONDS, f"at most {limits.quarantined_minutes} min"
    if spent is None:
        text = f"{seconds_text(found)} s of audio in quarantine, {allowed} on one Mac"
        return LimitCheck(LimitName.QUARANTINED_MINUTES, found, limit, found <= limit or None, text)
    most = spent.quarantined_audio_milliseconds
    text = f"{seconds_text(most)} s of audio quarantined on one Mac, {allowed}; {seconds_text(found)} s in all"
    return LimitCheck(LimitName.QUARANTINED_MINUTES, most, limit, most <= limit, text)

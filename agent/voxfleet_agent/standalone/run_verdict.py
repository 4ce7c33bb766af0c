"""Decides whether a run goes on, and how it ended, by the rules of a job on a fleet. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from voxfleet_agent.standalone.attempt_specs import Committed
from voxfleet_api import clip_limits
from voxfleet_api.failures import Remedy, rule_of
from voxfleet_api.kinds.contract_limits import Quarantine
from voxfleet_api.protocol import AttemptFailure
from voxfleet_api.results import Counts

ATTEMPTS_A_RUN = 3
"""The most attempts of a shard whose failure does not concern the whole job; starting the command again allows as many
more."""


class RunEnding(StrEnum):
    COMPLETE = "Complete"
    FAILED = "Failed"
    REFUSED = "Refused"
    """Plan found that the job names something unusable; nothing ran."""
    PARKED = "Parked"
    """The run was interrupted; the same command resumes it."""


@dataclass(frozen=True, slots=True)
class RunVerdict:
    ending: RunEnding
    reason: str = ""
    unusable: bool = False
    """Of a failed run: the job names something unusable, as a lane found after Plan, and no clip was worked on."""


def may_try_again(failure: AttemptFailure, tries: int) -> bool:
    """Whether another attempt of this run may succeed after `tries` attempts."""
    return rule_of(failure.failure_class).remedy is not Remedy.NOTHING and tries < ATTEMPTS_A_RUN


def concerns_job(failure: AttemptFailure) -> bool:
    """Whether every other shard would fail in the same way."""
    return rule_of(failure.failure_class).remedy is Remedy.NOTHING


def committed_beyond_halt(committed: Iterable[Committed], halt_percent: int | None) -> tuple[int, int] | None:
    """Returns (quarantined, finished) clips once they exceed the contract's haltFanOutPercent, None before."""
    counts = (shard.result.counts for shard in committed)
    return clip_limits.beyond_halt((clips for clips in counts if clips is not None), halt_percent)


def judge(
    counts: Counts,
    committed: Sequence[Committed],
    failures: Sequence[AttemptFailure],
    limits: Quarantine,
    stopped: str | None = None,
) -> RunVerdict:
    """Returns the verdict on a run whose last attempt has ended. `failures`: one for each shard without a result.
    `stopped`: why the job's own limit stopped it.
    """
    if failures:
        worked_on = counts.succeeded + counts.failed + counts.quarantined
        reason = f"{failures[0].failure_class}: {failures[0].message}"
        return RunVerdict(RunEnding.FAILED, reason, unusable=not worked_on and concerns_job(failures[0]))
    halted = committed_beyond_halt(committed, limits.halt_fan_out_percent)
    if stopped is not None and counts.not_run and halted is None:
        return _failed(f"{counts.not_run} clip{'s' * (counts.not_run != 1)} did not run: {stopped}")
    failed = clip_limits.beyond_limits(counts, halted, limits)
    return RunVerdict(RunEnding.COMPLETE) if failed is None else _failed(failed[1])


def refused(failures: Sequence[AttemptFailure], stopped: str | None = None) -> RunVerdict:
    """Returns the verdict on a run that has no plan. `stopped`: why the job's own limit stopped Plan."""
    if not failures:
        return _failed("Plan delivered no plan" if stopped is None else f"no clip ran: {stopped}")
    ending = RunEnding.REFUSED if concerns_job(failures[0]) else RunEnding.FAILED
    return RunVerdict(ending, f"{failures[0].failure_class}: {failures[0].message}")


def _failed(reason: str) -> RunVerdict:
    return RunVerdict(RunEnding.FAILED, reason)

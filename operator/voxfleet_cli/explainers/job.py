"""Explains an AudioBatchJob."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.failure_texts import TEXTS
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.job_status import EstimateBasis, FailedClip
from voxfleet_api.limit_checks import LimitCheck
from voxfleet_api.results import job_folder
from voxfleet_billing.budget_use import BUDGET
from voxfleet_cli.expected_cost_text import cost_text
from voxfleet_cli.explainers.explanation import UNSEEN, Explainer, Plain, Related, attempts_of, reason_of
from voxfleet_cli.job_wait import wait_of
from voxfleet_cli.job_yield import yields_of
from voxfleet_operator.reconcile.job.contract_limits import job_limit_checks
from voxfleet_operator.reconcile.job_life import takes_attempts

_BASES: Mapping[str, str] = {
    EstimateBasis.LADDER: "what its Macs have measured, without loading and fetching",
    EstimateBasis.SHARDS: "its own shards with a result",
}


def _details(job: AudioBatchJob, related: Related) -> Plain:
    status = job.status
    return {
        "pending": status.pending_reason,
        **({} if related.around is None else wait_of(job, related.around)),
        "yields": None if related.around is None else yields_of(job, related.of(AudioShard), related.around.endpoints),
        "reruns": None if job.spec.source is None else f"{job.spec.source.select} of {job.spec.source.job_ref.name}",
        "estimate": _estimate(job),
        "clips": status.clips.dump(),
        "input": status.plan.selection.text if status.plan and status.plan.selection else None,
        "failures": _clips(status.failures),
        "quarantine": _clips(status.quarantine),
        "rest": _rest(job),
        "warnings": {warned.code: warned.clips for warned in status.warnings},
        "limits": [_limit(check) for check in job_limit_checks(status)] if status.measured else [],
        "attempts": [line for shard in related.of(AudioShard) for line in attempts_of(shard)],
        "usage": status.usage.dump(),
        "bill": _bill(job),
        "results": status.results.uri if status.results else None,
    }


def _estimate(job: AudioBatchJob) -> str | None:
    """What the job is expected to take; from its plan to its last shard, also why nobody knows yet."""
    status, estimate = job.status, job.status.estimate
    if estimate is not None:
        by = _BASES.get(estimate.basis, str(estimate.basis))
        ends = "" if estimate.finishes_at is None else f", its last shard ends about {estimate.finishes_at}"
        late = "; more than its Macs have time for before they close" if estimate.fits_window is False else ""
        cost = "" if estimate.cost is None else f", {cost_text(estimate.cost)}"
        return f"{estimate.machine_seconds} machine-seconds in all{cost}{ends}{late}; by {by}"
    if status.plan is None or status.finalize_time is not None or not status.clips.total:
        return None
    ended = (ConditionType.COMPLETE, ConditionType.FAILED, ConditionType.HALTED)
    if any(is_true(status.conditions, type_) for type_ in ended):
        return None
    return "unknown until a shard has ended: no Mac that may run it has measured this model under this contract"


def _limit(check: LimitCheck) -> Plain:
    """What was found beside what the contract allows: the numbers of conditions, metrics and report."""
    return {"limit": check.name.value, "verdict": check.verdict, "found": check.text}


def _bill(job: AudioBatchJob) -> str | None:
    """How its machine time is proven, row by row."""
    started = job.status.start_time
    if started is None or not job.status.usage.rows:
        return None
    return f"voxfleet bill show --period {started[:7]} --by job; one line: voxfleet bill dispute ROW"


def _clips(clips: Iterable[FailedClip]) -> list[Plain]:
    return [
        {"index": clip.index, "id": clip.id, "class": str(clip.failure_class), "reason": clip.reason} for clip in clips
    ]


def _rest(job: AudioBatchJob) -> str | None:
    """Where the clips without a result stand that the status has no room for."""
    status = job.status
    shown = len(status.failures) + len(status.quarantine)
    total = status.clips.failed + status.clips.quarantined
    if total <= shown:
        return None
    folder = job_folder(job.spec.output.uri, job.metadata.name, job.metadata.uid)
    place = f"{folder}/errors.jsonl" if status.results else f"{folder}/errors.jsonl, once the job is finalized"
    return f"{shown} of {total} clips without a result are shown; all are in {place}"


def _again(job: AudioBatchJob, reason: str) -> Iterator[str]:
    """How to run what the job left undone. Only one without results is applied anew: that pays for everything again."""
    if not job.status.results:
        yield "To run it again, apply the job under another name"
        return
    clips, named = job.status.clips, f"{job.metadata.name} -n {job.metadata.namespace}"
    if clips.failed:
        yield f"Once that is mended: voxfleet retry {named}"
    if clips.not_run:
        yield f"The rest: voxfleet retry {named} --select not-run"
    if clips.quarantined and reason == Reason.QUARANTINE_LIMIT_EXCEEDED:
        yield f"Those in quarantine, under another contract: voxfleet quarantine release {named} --contract NAME"


def _job_next(job: AudioBatchJob) -> str:
    present = job.status.conditions
    show_results = f"voxfleet results {job.metadata.name} -n {job.metadata.namespace}"
    failure = find(present, ConditionType.FAILED)
    if failure is not None and failure.status == "True":
        advice = _ADVICE.get(failure.reason, "")
        results = f"What was done: {show_results}" if job.status.results else ""
        return " ".join(
            f"{part.rstrip('.')}." for part in (failure.message, advice, results, *_again(job, failure.reason)) if part
        )
    if is_true(present, ConditionType.COMPLETE):
        bad = job.status.clips.quarantined
        where = f"voxfleet quarantine ls {job.metadata.name} -n {job.metadata.namespace}"
        clips = "1 clip is" if bad == 1 else f"{bad} clips are"
        hint = f"; {clips} in quarantine, errors.jsonl names them, and so does {where}" if bad else ""
        return f"nothing to mend{hint}. Read the results: {show_results}"
    if not present:
        return UNSEEN
    trouble = next((item for item in present if item.type == ConditionType.STALLED and item.status == "True"), None)
    accepted = find(present, ConditionType.ACCEPTED)
    if accepted is not None and accepted.status != "True":
        trouble = accepted
    if trouble is not None:
        return trouble.message
    if is_true(present, ConditionType.SUSPENDED):
        return f"resume it: voxfleet resume {job.metadata.name} -n {job.metadata.namespace}"
    halted = find(present, ConditionType.HALTED)
    if halted is not None and halted.status == "True" and job.status.finalize_time is None:
        return f"nothing: it ends as failed once what still runs has ended: {halted.message}"
    if job.status.pending_reason:
        to_do = "wait" if job.status.pending_reason.startswith(BUDGET) else "wait, or give it a Mac"
        return f"{to_do}: {job.status.pending_reason}"
    return f"wait: kubectl wait --for=condition=Complete abj/{job.metadata.name} -n {job.metadata.namespace}"


def _belongs(job: AudioBatchJob, shard: AudioShard) -> bool:
    return shard.spec.job_ref.uid == job.metadata.uid


_ADVICE: Mapping[str, str] = {
    **{failure_class: text.to_do for failure_class, text in TEXTS.items()},
    Reason.QUARANTINE_LIMIT_EXCEEDED: "Look at the clips in quarantine, and mend them or the contract",
    Reason.CLIPS_FAILED: "Mend the causes",
    Reason.ATTEMPTS_EXHAUSTED: "Mend what its attempts failed of",
    Reason.DEADLINE_EXCEEDED: "Give it more time or more Macs",
    Reason.MAX_MACHINE_SECONDS_EXCEEDED: "Give it more machine time",
    Reason.FINALIZE_DEADLINE_EXCEEDED: "See that a Mac can write its output",
}
"""What to mend about a job that failed, by the reason of its condition."""

EXPLAINER = Explainer(
    kind=AudioBatchJob,
    state=lambda job: reason_of(job.status.conditions, ConditionType.COMPLETE),
    next=_job_next,
    details=_details,
    related={AudioShard: _belongs},
    looks_around=takes_attempts,
    failed=lambda job: is_true(job.status.conditions, ConditionType.FAILED),
)

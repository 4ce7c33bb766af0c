"""Explains an AudioBatchJob."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.failure_texts import TEXTS
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_batch_job import FailedClip
from voxfleet_api.results import job_folder
from voxfleet_cli.explainers.explanation import UNSEEN, Explainer, Plain, Related, attempts_of, reason_of

_RESUME = """--type=merge -p '{"spec":{"suspend":false}}'"""


def _details(job: AudioBatchJob, related: Related) -> Plain:
    status = job.status
    return {
        "pending": status.pending_reason,
        "clips": status.clips.dump(),
        "input": status.plan.selection.text if status.plan and status.plan.selection else None,
        "failures": _clips(status.failures),
        "quarantine": _clips(status.quarantine),
        "rest": _rest(job),
        "warnings": {warned.code: warned.clips for warned in status.warnings},
        "attempts": [line for shard in related.of(AudioShard) for line in attempts_of(shard)],
        "usage": status.usage.dump(),
        "results": status.results.uri if status.results else None,
    }


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


def _job_next(job: AudioBatchJob) -> str:
    present = job.status.conditions
    show_results = f"voxfleet results {job.metadata.name} -n {job.metadata.namespace}"
    failure = find(present, ConditionType.FAILED)
    if failure is not None and failure.status == "True":
        advice = _ADVICE.get(failure.reason, "")
        results = f"What was done: {show_results}" if job.status.results else ""
        return " ".join(f"{part.rstrip('.')}." for part in (failure.message, advice, results) if part)
    if is_true(present, ConditionType.COMPLETE):
        bad = job.status.clips.quarantined
        hint = f"; {bad} clips are in quarantine, errors.jsonl names them" if bad else ""
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
        return f"resume it: kubectl patch abj/{job.metadata.name} -n {job.metadata.namespace} {_RESUME}"
    halted = find(present, ConditionType.HALTED)
    if halted is not None and halted.status == "True" and job.status.finalize_time is None:
        return f"nothing: it ends as failed once what still runs has ended: {halted.message}"
    if job.status.pending_reason:
        return f"wait, or give it a Mac: {job.status.pending_reason}"
    return f"wait: kubectl wait --for=condition=Complete abj/{job.metadata.name} -n {job.metadata.namespace}"


def _belongs(job: AudioBatchJob, shard: AudioShard) -> bool:
    return shard.spec.job_ref.uid == job.metadata.uid


_ADVICE: Mapping[str, str] = {
    **{failure_class: text.to_do for failure_class, text in TEXTS.items()},
    Reason.QUARANTINE_LIMIT_EXCEEDED: "Mend the clips, or the contract, and apply the job under another name",
    Reason.CLIPS_FAILED: "Mend the causes, and apply the job under another name",
    Reason.ATTEMPTS_EXHAUSTED: "Mend what its attempts failed of, and apply the job under another name",
    Reason.DEADLINE_EXCEEDED: "Give it more time or more Macs, and apply the job under another name",
    Reason.FINALIZE_DEADLINE_EXCEEDED: "See that a Mac can write its output, and apply the job under another name",
    Reason.CANCELLED: "To run it after all, apply it under another name",
}
"""What to do about a job that failed, by the reason of its condition."""

EXPLAINER = Explainer(
    kind=AudioBatchJob,
    state=lambda job: reason_of(job.status.conditions, ConditionType.COMPLETE),
    next=_job_next,
    details=_details,
    related={AudioShard: _belongs},
    failed=lambda job: is_true(job.status.conditions, ConditionType.FAILED),
)

"""Explains the state of an object and what to do next. Pure: turns resources into plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from voxfleet_api.conditions import Condition, ConditionType, find, is_true
from voxfleet_api.failure_texts import TEXTS
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, Resource, VoiceContract
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, Stage
from voxfleet_api.quantities import seconds_text

Plain = dict[str, Any]

UNSEEN_STATE = "Unseen"
UNSEEN = "the operator has not looked at it yet; see whether it runs: kubectl get lease -A | grep voxfleet-operator"


def explain(resource: Resource, shards: Sequence[AudioShard] = ()) -> Plain:
    """Gives state, reason and next step. `shards` are those of the job, or those that name the Mac."""
    match resource:
        case AudioBatchJob():
            return explain_job(resource, shards)
        case AudioShard():
            return explain_shard(resource)
        case MacAgent():
            return explain_mac(resource, shards)
        case VoiceContract():
            return explain_contract(resource)
        case _:
            raise TypeError(f"{type(resource).__name__} is not a kind that can be explained")


def failed(resource: Resource) -> bool:
    return isinstance(resource, AudioBatchJob) and is_true(resource.status.conditions, ConditionType.FAILED)


def explain_job(job: AudioBatchJob, shards: Sequence[AudioShard]) -> Plain:
    status = job.status
    complete = find(status.conditions, ConditionType.COMPLETE)
    return _without_empty(
        {
            **_identity(job),
            "state": complete.reason if complete else UNSEEN_STATE,
            "next": _job_next(job),
            "pending": status.pending_reason,
            "conditions": _conditions(status.conditions),
            "clips": status.clips.dump(),
            "quarantine": [
                {"index": clip.index, "id": clip.id, "class": clip.failure_class.value, "reason": clip.reason}
                for clip in status.quarantine
            ],
            "warnings": {warned.code: warned.clips for warned in status.warnings},
            "attempts": [line for shard in shards for line in _attempts(shard)],
            "usage": status.usage.dump(),
            "results": status.results.uri if status.results else None,
        }
    )


def explain_shard(shard: AudioShard) -> Plain:
    committed = find(shard.status.conditions, ConditionType.COMMITTED)
    return _without_empty(
        {
            **_identity(shard),
            "state": committed.reason if committed else UNSEEN_STATE,
            "next": committed.message if committed else UNSEEN,
            "job": shard.spec.job_ref.name,
            "stage": shard.spec.stage.value,
            "indexes": shard.spec.indexes,
            "conditions": _conditions(shard.status.conditions),
            "clips": shard.status.clips.dump() if shard.status.clips else None,
            "attempts": _attempts(shard),
        }
    )


def explain_mac(mac: MacAgent, shards: Iterable[AudioShard]) -> Plain:
    available = find(mac.status.conditions, ConditionType.AVAILABLE)
    return _without_empty(
        {
            **_identity(mac),
            "state": available.reason if available else UNSEEN_STATE,
            "next": _mac_next(mac.status.conditions),
            "conditions": _conditions(mac.status.conditions),
            "machine": mac.status.machine.dump() if mac.status.machine else None,
            "attempts": [line for shard in shards for line in _attempts(shard) if line["mac"] == mac.metadata.name],
        }
    )


def explain_contract(contract: VoiceContract) -> Plain:
    accepted = find(contract.status.conditions, ConditionType.ACCEPTED)
    return _without_empty(
        {
            **_identity(contract),
            "state": accepted.reason if accepted else UNSEEN_STATE,
            "next": accepted.message if accepted else UNSEEN,
            "digest": contract.status.digest,
            "conditions": _conditions(contract.status.conditions),
        }
    )


def _job_next(job: AudioBatchJob) -> str:
    conditions = job.status.conditions
    show_results = f"voxfleet results {job.metadata.name} -n {job.metadata.namespace}"
    failure = find(conditions, ConditionType.FAILED)
    if failure is not None and failure.status == "True":
        advice = TEXTS[FailureClass(failure.reason)].to_do if failure.reason in set(FailureClass) else ""
        results = f"What was done: {show_results}" if job.status.results else ""
        return " ".join(f"{part.rstrip('.')}." for part in (failure.message, advice, results) if part)
    if is_true(conditions, ConditionType.COMPLETE):
        bad = job.status.clips.quarantined
        hint = f"; {bad} clips are in quarantine, errors.jsonl names them" if bad else ""
        return f"nothing: the results are complete{hint}. {show_results}"
    if not conditions:
        return UNSEEN
    trouble = next((item for item in conditions if item.type == ConditionType.STALLED and item.status == "True"), None)
    accepted = find(conditions, ConditionType.ACCEPTED)
    if accepted is not None and accepted.status != "True":
        trouble = accepted
    if trouble is not None:
        return trouble.message
    if job.status.pending_reason:
        return f"wait, or give it a Mac: {job.status.pending_reason}"
    return f"wait: kubectl wait --for=condition=Complete abj/{job.metadata.name} -n {job.metadata.namespace}"


def _mac_next(conditions: Iterable[Condition]) -> str:
    bad = [item for item in conditions if item.status != "True" and item.message]
    # Availability only follows from the other conditions, so the one that says why comes first.
    causes = [item for item in bad if item.type != ConditionType.AVAILABLE] or bad
    if causes:
        return causes[0].message
    return "nothing: it takes attempts" if list(conditions) else UNSEEN


def _attempts(shard: AudioShard) -> list[Plain]:
    return [_attempt(shard, record) for record in shard.status.attempts]


def _attempt(shard: AudioShard, record: AttemptRecord) -> Plain:
    ended = record.outcome is not AttemptOutcome.ASSIGNED
    usage = seconds_text(record.usage.machine_milliseconds) if record.usage else None
    return _without_empty(
        {
            "shard": shard.metadata.name,
            "attempt": record.attempt,
            "mac": record.mac,
            "outcome": record.outcome.value,
            "class": record.failure_class.value if record.failure_class else None,
            "message": record.message,
            "machineSeconds": usage,
            "usage": None if usage or not ended or shard.spec.stage is not Stage.PROCESS else "not verified yet",
        }
    )


def _identity(resource: Resource) -> Plain:
    metadata = resource.metadata
    return {"kind": resource.crd.kind, "namespace": metadata.namespace, "name": metadata.name}


def _conditions(conditions: Iterable[Condition]) -> list[Plain]:
    return [item.dump() for item in conditions]


def _without_empty(plain: Plain) -> Plain:
    return {key: value for key, value in plain.items() if value not in (None, "", [], {})}

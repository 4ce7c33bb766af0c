"""Explains a MacAgent."""

from __future__ import annotations

from collections.abc import Iterable

from voxfleet_api.conditions import Condition, ConditionType, find
from voxfleet_api.kinds import AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import AttemptOutcome
from voxfleet_cli.explainers.explanation import UNSEEN, Explainer, Plain, Related, attempts_of, reason_of


def _details(mac: MacAgent, related: Related) -> Plain:
    shards = related.of(AudioShard)
    listed = [line for shard in shards for line in attempts_of(shard) if line.get("mac") == mac.metadata.name]
    hours, drain, billing = mac.spec.availability, mac.spec.drain, mac.spec.billing
    return {
        "taints": [str(taint) for taint in mac.spec.taints],
        "machine": mac.status.machine.dump() if mac.status.machine else None,
        "exclusion": mac.status.exclusion.dump() if mac.status.exclusion else None,
        "availability": None if hours is None else hours.dump(),
        "drain": None if drain is None else drain.dump(),
        "billing": None if billing is None else billing.dump(),
        "acceptance": _acceptance(mac),
        "triedBy": None if mac.spec.acceptance_job is None else mac.spec.acceptance_job.dump(),
        "running": [f"{line['shard']} (attempt {line['attempt']})" for line in listed if _runs(line)],
        "attempts": listed,
    }


def _acceptance(mac: MacAgent) -> list[Plain]:
    """Its lines; whether they count for this machine is a condition's matter."""
    found = mac.spec.acceptance
    return [] if found is None else [line.dump() for line in found.lines]


def _runs(line: Plain) -> bool:
    return bool(line["outcome"] == AttemptOutcome.ASSIGNED)


def _mac_next(present: Iterable[Condition]) -> str:
    draining = find(present, ConditionType.DRAINING)
    reachable = find(present, ConditionType.REACHABLE)
    if draining is not None and draining.status == "True" and reachable is not None and reachable.status == "False":
        return f"{reachable.message.rstrip('.')}; it is empty only once it answers: {draining.message}"
    if draining is not None:
        return f"wait: {draining.message}" if draining.status == "True" else f"{draining.message}; it takes nothing new"
    bad = [item for item in present if item.status != "True" and item.message]
    # Availability only follows from the other conditions, so the one that says why comes first.
    causes = [item for item in bad if item.type != ConditionType.AVAILABLE] or bad
    if causes:
        return causes[0].message
    contended = find(present, ConditionType.CONTENDED)
    if contended is not None:
        return f"it takes attempts; {contended.message}"
    return "nothing: it takes attempts" if list(present) else UNSEEN


def _worked_on(mac: MacAgent, shard: AudioShard) -> bool:
    return shard.status.mac == mac.metadata.name


EXPLAINER = Explainer(
    kind=MacAgent,
    state=lambda mac: reason_of(mac.status.conditions, ConditionType.AVAILABLE),
    next=lambda mac: _mac_next(mac.status.conditions),
    details=_details,
    related={AudioShard: _worked_on},
)

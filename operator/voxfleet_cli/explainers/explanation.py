"""What explanations of all kinds have in common. Pure: turns resources into plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from voxfleet_api.conditions import Condition, ConditionType, find
from voxfleet_api.kinds import AudioShard, Resource
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, Stage
from voxfleet_api.quantities import seconds_text
from voxfleet_cli.surroundings import Surroundings

Plain = dict[str, Any]
R = TypeVar("R", bound=Resource)
K = TypeVar("K", bound=Resource)

UNSEEN_STATE = "Unseen"
UNSEEN = "the operator has not looked at it yet; see whether it runs: kubectl get lease -A | grep voxfleet-operator"


class Related:
    """Other objects of the cluster that an explanation shows."""

    def __init__(self, objects: Iterable[Resource], around: Surroundings | None = None) -> None:
        """`around`: the rest of the cluster; None for an explanation that does not look around."""
        self._objects = list(objects)
        self.around = around

    def of(self, kind: type[K]) -> list[K]:
        return [item for item in self._objects if isinstance(item, kind)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer(Generic[R]):
    """All that `voxfleet` knows of a kind beyond its columns."""

    kind: type[R]
    state: Callable[[R], str]
    next: Callable[[R], str]
    """What to do next."""
    details: Callable[[R, Related], Plain]
    """What stands behind the fields that all explanations begin with. Empty ones are left out."""
    related: Mapping[type[Resource], Callable[[R, Any], bool]] = field(default_factory=dict)
    """The kinds whose objects are shown too, and which of them belong to the object."""
    looks_around: Callable[[R], bool] = lambda _: False
    """Whether the explanation compares the object with the rest of the cluster."""
    failed: Callable[[R], bool] = lambda _: False
    """Whether a script that asks for the object should fail."""


def explanation(explainer: Explainer[R], resource: R, related: Related) -> Plain:
    metadata = resource.metadata
    present: tuple[Condition, ...] = getattr(resource.status, "conditions", ())
    return without_empty(
        {
            "kind": resource.crd.kind,
            "namespace": metadata.namespace,
            "name": metadata.name,
            "state": explainer.state(resource),
            "next": explainer.next(resource),
            "conditions": [item.dump() for item in present],
            **explainer.details(resource, related),
        }
    )


def reason_of(present: Iterable[Condition], type_: ConditionType) -> str:
    """The state of an object that one condition sums up."""
    found = find(present, type_)
    return found.reason if found else UNSEEN_STATE


def message_of(present: Iterable[Condition], type_: ConditionType) -> str:
    """The next step for an object that one condition sums up."""
    found = find(present, type_)
    return found.message if found else UNSEEN


def attempts_of(shard: AudioShard) -> list[Plain]:
    folded = shard.status.folded
    listed = [attempt_line(shard, record) for record in shard.status.attempts]
    if folded is None:
        return listed
    seconds = seconds_text(folded.machine_milliseconds)
    before: Plain = {"shard": shard.metadata.name, "attempt": f"{folded.attempts} before", "machineSeconds": seconds}
    return [before, *listed]


def attempt_line(shard: AudioShard, record: AttemptRecord) -> Plain:
    ended = record.outcome is not AttemptOutcome.ASSIGNED
    usage = seconds_text(record.usage.machine_milliseconds) if record.usage else None
    estimate = None if record.usage is None else record.usage.estimate
    return without_empty(
        {
            "shard": shard.metadata.name,
            "attempt": record.attempt,
            "mac": record.mac,
            "outcome": str(record.outcome),
            "class": str(record.failure_class) if record.failure_class else None,
            "message": record.message,
            "machineSeconds": usage,
            "estimatedSeconds": None if estimate is None else f"{seconds_text(estimate.milliseconds)}, its Mac is gone",
            "usage": None if usage or not ended or shard.spec.stage is not Stage.PROCESS else "not verified yet",
        }
    )


def without_empty(plain: Plain) -> Plain:
    return {key: value for key, value in plain.items() if value not in (None, "", [], {})}

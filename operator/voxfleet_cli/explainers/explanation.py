"""What explanations of all kinds have in common. Pure: turns resources into plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from voxfleet_api.conditions import Condition
from voxfleet_api.kinds import AudioShard, Resource
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, Stage
from voxfleet_api.quantities import seconds_text

Plain = dict[str, Any]
R = TypeVar("R", bound=Resource)

UNSEEN_STATE = "Unseen"
UNSEEN = "the operator has not looked at it yet; see whether it runs: kubectl get lease -A | grep voxfleet-operator"


@dataclass(frozen=True, slots=True)
class Explainer(Generic[R]):
    kind: type[R]
    explain: Callable[[R, Sequence[AudioShard]], Plain]
    """Gives state, reason and next step, from the object and the shards that `shows` chooses."""
    shows: Callable[[R, AudioShard], bool] | None = None
    """Whether a shard belongs to the explanation; None: no shard does."""


def attempts_of(shard: AudioShard) -> list[Plain]:
    return [attempt_line(shard, record) for record in shard.status.attempts]


def attempt_line(shard: AudioShard, record: AttemptRecord) -> Plain:
    ended = record.outcome is not AttemptOutcome.ASSIGNED
    usage = seconds_text(record.usage.machine_milliseconds) if record.usage else None
    return without_empty(
        {
            "shard": shard.metadata.name,
            "attempt": record.attempt,
            "mac": record.mac,
            "outcome": str(record.outcome),
            "class": str(record.failure_class) if record.failure_class else None,
            "message": record.message,
            "machineSeconds": usage,
            "usage": None if usage or not ended or shard.spec.stage is not Stage.PROCESS else "not verified yet",
        }
    )


def identity(resource: Resource) -> Plain:
    metadata = resource.metadata
    return {"kind": resource.crd.kind, "namespace": metadata.namespace, "name": metadata.name}


def conditions(present: Iterable[Condition]) -> list[Plain]:
    return [item.dump() for item in present]


def without_empty(plain: Plain) -> Plain:
    return {key: value for key, value in plain.items() if value not in (None, "", [], {})}

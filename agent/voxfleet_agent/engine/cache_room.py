"""Which cached models give way to a new one. A pure decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voxfleet_agent.engine.model_files import unavailable
from voxfleet_api.failures import FailureClass, VoxFleetError


@dataclass(frozen=True, slots=True)
class CachedModel:
    name: str
    size_bytes: int
    last_used_seconds: float
    """Wall clock."""
    in_use: bool


def make_room(cached: Sequence[CachedModel], needed_bytes: int, quota_bytes: int) -> tuple[str, ...]:
    """Names of the models to remove, the least recently used first; those in use stay.

    Raises VoxFleetError(MODEL_UNAVAILABLE) when the new model is larger than the quota,
    VoxFleetError(SCRATCH_EXHAUSTED) when models in use leave too little.
    """
    if needed_bytes > quota_bytes:
        raise unavailable(
            f"the model has {needed_bytes} bytes and modelCache.quota is {quota_bytes}, {needed_bytes - quota_bytes}"
            " too few; raise the quota, or put the model on the Mac and use model.path"
        )
    excess_bytes = sum(model.size_bytes for model in cached) + needed_bytes - quota_bytes
    leaving: list[str] = []
    for model in sorted(cached, key=lambda model: (model.last_used_seconds, model.name)):
        if excess_bytes <= 0:
            break
        if not model.in_use:
            leaving.append(model.name)
            excess_bytes -= model.size_bytes
    if excess_bytes > 0:
        used_bytes = sum(model.size_bytes for model in cached if model.in_use)
        raise VoxFleetError(
            FailureClass.SCRATCH_EXHAUSTED,
            f"the model needs {needed_bytes} bytes of the cache, {used_bytes} are in use and modelCache.quota is"
            f" {quota_bytes}: {excess_bytes} too few; raise the quota, or let the running attempts end",
        )
    return tuple(leaving)

"""How long a run may work on clips, as its job says. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api.kinds.audio_batch_job import AudioBatchJobSpec


@dataclass(frozen=True, slots=True)
class RunLimit:
    seconds: float
    """From the start of the command; then what runs is stopped, and what was done is merged."""
    reason: str
    """Why it stopped, and how it goes on."""


def run_limit(spec: AudioBatchJobSpec, lanes: int, before_seconds: float) -> RunLimit | None:
    """The limit that comes first. `before_seconds`: how long earlier commands of this run took."""
    found = []
    if (deadline_seconds := spec.active_deadline_seconds) is not None:
        reason = f"the run took longer than spec.activeDeadlineSeconds, {deadline_seconds}"
        found.append(RunLimit(deadline_seconds, f"{reason}; the same command goes on, with as much time again"))
    if (machine_seconds := spec.max_machine_seconds) is not None:
        reason = f"the run may have used its spec.maxMachineSeconds, {machine_seconds}"
        left_seconds = max(0.0, machine_seconds / lanes - before_seconds)
        found.append(RunLimit(left_seconds, f"{reason}; raise it, and the same command goes on"))
    return min(found, key=lambda limit: limit.seconds, default=None)

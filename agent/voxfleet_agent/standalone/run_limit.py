"""How long a run may work, as its job says. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api.kinds.audio_batch_job import AudioBatchJobSpec


@dataclass(frozen=True, slots=True)
class RunLimit:
    seconds: float
    """From the start of the command; then what is planned or runs is stopped, and what was done is merged."""
    reason: str
    """Why it stopped, and how it goes on."""


def run_limit(spec: AudioBatchJobSpec, lanes: int, before_machine_seconds: float) -> RunLimit | None:
    """The limit that comes first. `before_machine_seconds`: what earlier commands of this run may have used."""
    found = []
    if (deadline_seconds := spec.active_deadline_seconds) is not None:
        reason = f"the run took longer than spec.activeDeadlineSeconds, {deadline_seconds}"
        found.append(RunLimit(deadline_seconds, f"{reason}; the same command goes on, with as much time again"))
    if (machine_seconds := spec.max_machine_seconds) is not None:
        reason = f"the run may have used its spec.maxMachineSeconds, {machine_seconds}"
        left_seconds = max(0.0, (machine_seconds - before_machine_seconds) / lanes)
        found.append(RunLimit(left_seconds, f"{reason}; raise it, and the same command goes on"))
    return min(found, key=lambda limit: limit.seconds, default=None)

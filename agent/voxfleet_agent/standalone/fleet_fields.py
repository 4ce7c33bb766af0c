"""What a job's fields for a fleet mean to a run on one machine: refused, or told as without meaning. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from voxfleet_api.kinds.audio_batch_job import AudioBatchJobSpec
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.quantities import quantity_bytes


def refusals(spec: AudioBatchJobSpec) -> Iterator[str]:
    """Why a job cannot be run at all, by field."""
    if spec.source is not None:
        yield (
            "spec.source: names a job of a cluster, which a run does not see; write input, or try the failed clips of a"
            " finished run again with --retry-failed"
        )
    if spec.suspend:
        yield "spec.suspend: the job is suspended, so nothing of it may run; write false, or leave it out"
    if spec.cancel:
        yield "spec.cancel: the job is cancelled, so nothing of it may run; leave it out"


def remarks(spec: AudioBatchJobSpec, chip: str, memory_bytes: int) -> Iterator[str]:
    """What is written and not looked at. `chip`, `memory_bytes`: this machine's."""
    choosing = {
        "spec.priority": spec.priority != 0,
        "spec.macSelector": bool(spec.mac_selector.match_labels or spec.mac_selector.match_expressions),
        "spec.tolerations": bool(spec.tolerations),
        "spec.requirements.homogeneous": spec.requirements.homogeneous,
    }
    if unread := ", ".join(name for name, written in choosing.items() if written):
        yield f"{unread}: chooses among the Macs of a fleet, and says nothing to a run on one machine"
    yield from _unmet(spec.requirements, chip, memory_bytes)
    if spec.billing_key is not None:
        yield "spec.billingKey: without a cluster no machine time is signed, so nobody is billed"


def _unmet(asked: Requirements, chip: str, memory_bytes: int) -> Iterator[str]:
    """A run goes where its user starts it; that a fleet would not place it there is worth a line."""
    if asked.memory is not None and quantity_bytes(asked.memory) > memory_bytes:
        yield (
            f"spec.requirements.memory: asks for {asked.memory}, and this machine has {memory_bytes / 2**30:.1f} GiB;"
            " it runs all the same"
        )
    if not asked.takes_chip(chip):
        yield (
            f"spec.requirements.chips: asks for {' or '.join(asked.chips)}, and this machine has {chip}; it runs all"
            " the same"
        )

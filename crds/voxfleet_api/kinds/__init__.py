"""The resource kinds, one file each. KINDS is every one of them: whatever needs all kinds reads it."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from voxfleet_api.kinds.audio_batch_job import AudioBatchJob
from voxfleet_api.kinds.audio_batch_schedule import AudioBatchSchedule
from voxfleet_api.kinds.audio_shard import AudioShard
from voxfleet_api.kinds.mac_agent import MacAgent
from voxfleet_api.kinds.machine_hour_statement import MachineHourStatement
from voxfleet_api.kinds.resource import Resource
from voxfleet_api.kinds.voice_contract import VoiceContract
from voxfleet_api.kinds.voice_endpoint import VoiceEndpoint


def _found_kinds() -> tuple[type[Resource], ...]:
    """Returns the kinds that the modules of this package define, by name."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    kinds = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Resource) and "crd" in vars(value)
    }
    return tuple(sorted(kinds, key=lambda kind: kind.crd.kind))


KINDS = _found_kinds()

__all__ = [
    "KINDS",
    "AudioBatchJob",
    "AudioBatchSchedule",
    "AudioShard",
    "MacAgent",
    "MachineHourStatement",
    "Resource",
    "VoiceContract",
    "VoiceEndpoint",
]

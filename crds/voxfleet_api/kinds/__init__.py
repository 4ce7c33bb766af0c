"""The resource kinds, one file each."""

from voxfleet_api.kinds.audio_batch_job import AudioBatchJob
from voxfleet_api.kinds.audio_shard import AudioShard
from voxfleet_api.kinds.mac_agent import MacAgent
from voxfleet_api.kinds.resource import Resource
from voxfleet_api.kinds.voice_contract import VoiceContract

KINDS: tuple[type[Resource], ...] = (VoiceContract, AudioBatchJob, AudioShard, MacAgent)

__all__ = ["KINDS", "AudioBatchJob", "AudioShard", "MacAgent", "Resource", "VoiceContract"]

"""An attempt spec, of which a test gives only the fields that it is about."""

from __future__ import annotations

from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

SPEECH = ContractInput(containers=(Container.WAV,), sample_rates_hz=(16000,), channels=(1,))


def attempt_spec(stage: Stage, shard_uid: str, contract: VoiceContractSpec, **fields: object) -> AttemptSpec:
    """`fields`: replace or extend the fields that are set here."""
    content: dict[str, object] = {
        "namespace": "speech",
        "job": JobRef(name="nightly", uid="0f0f0f0f"),
        "shard_name": shard_uid,
        "shard_uid": shard_uid,
        "attempt": 1,
        "stage": stage,
        "task": Task.TRANSCRIBE,
        "contract": contract,
        "contract_digest": digest_of(contract),
        "output_folder": "file:///out/nightly",
    }
    return AttemptSpec.model_validate(content | fields)

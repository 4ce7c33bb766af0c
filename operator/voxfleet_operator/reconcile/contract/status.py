"""A VoiceContract's status: the digest that jobs and agents name it by. Pure."""

from __future__ import annotations

from voxfleet_api.conditions import ConditionType, Reason, condition
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import VoiceContract
from voxfleet_api.kinds.voice_contract import VoiceContractStatus


def contract_status(contract: VoiceContract, now: str) -> VoiceContractStatus:
    generation = contract.metadata.generation
    accepted = condition(
        contract.status.conditions,
        ConditionType.ACCEPTED,
        True,
        Reason.ACCEPTED,
        "jobs may name this contract; a job copies it when it is accepted",
        generation=generation,
        now=now,
    )
    return VoiceContractStatus(observed_generation=generation, digest=digest_of(contract.spec), conditions=(accepted,))

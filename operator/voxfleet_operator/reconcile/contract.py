"""VoiceContract: publishes the digest that jobs and agents name it by."""

from __future__ import annotations

from voxfleet_api.conditions import ConditionType, Reason, condition
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import VoiceContract
from voxfleet_api.kinds.voice_contract import VoiceContractStatus
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.writes import write_status


class ContractReconciler:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def reconcile(self, key: Key) -> float | None:
        contract = self._context.cache.get(VoiceContract, key.namespace, key.name)
        if contract is None or contract.metadata.deletion_timestamp is not None:
            return None
        written = await write_status(self._context, contract, contract_status(contract, self._context.timestamp()))
        return 0.0 if written is None else None


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

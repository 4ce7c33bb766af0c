"""Keeps a VoiceContract's status: gather the object, compute its status, write what differs."""

from __future__ import annotations

from voxfleet_api.kinds import VoiceContract
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.contract.status import contract_status
from voxfleet_operator.reconcile.status_writer import write_status


class ContractReconciler:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def reconcile(self, key: Key) -> float | None:
        contract = self._context.cache.get(VoiceContract, key.namespace, key.name)
        if contract is None or contract.metadata.deletion_timestamp is not None:
            return None
        status = contract_status(contract, self._context.timestamp())
        written = await write_status(self._context, contract, status)
        return 0.0 if written is None else None

"""MachineHourStatement, for the registry."""

from __future__ import annotations

from voxfleet_api.kinds import MacAgent, MachineHourStatement, Resource
from voxfleet_operator.cache import Cache
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.registration import Registration
from voxfleet_operator.reconcile.statement.reconcile import StatementReconciler


def woken_by(changed: Resource, _: Cache) -> set[Key]:
    """A Mac wakes the settlement of its rows, which then comes back every minute."""
    return {Key(MachineHourStatement.crd.kind, "", changed.metadata.name)} if isinstance(changed, MacAgent) else set()


REGISTRATION = Registration(MachineHourStatement, lambda context, _: StatementReconciler(context), woken_by)

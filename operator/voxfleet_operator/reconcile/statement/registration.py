"""MachineHourStatement, for the registry."""

from __future__ import annotations

from voxfleet_api.kinds import AudioShard, MacAgent, MachineHourStatement, Resource
from voxfleet_operator.cache import Cache
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.registration import Registration
from voxfleet_operator.reconcile.statement.estimates import estimated_macs
from voxfleet_operator.reconcile.statement.reconcile import StatementReconciler


def woken_by(changed: Resource, _: Cache) -> set[Key]:
    """A Mac wakes the settlement of its rows, which then comes back every minute; an estimate that of its Mac."""
    match changed:
        case MacAgent():
            macs = frozenset((changed.metadata.name,))
        case AudioShard():
            macs = estimated_macs(changed)
        case _:
            macs = frozenset()
    return {Key(MachineHourStatement.crd.kind, "", mac) for mac in macs}


REGISTRATION = Registration(
    MachineHourStatement,
    lambda context, findings: StatementReconciler(context, findings.archived_estimates),
    woken_by,
)

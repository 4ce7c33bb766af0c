"""The end of a fleet's life: its Macs are removed, so that every settled row has to be in a statement."""

from __future__ import annotations

from tests.soak.fleet.invariants import BookedMac, statements_are_what_was_signed
from tests.soak.fleet.rig import FleetRig, NoAnswer, NotReady

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.ledger import LedgerError
from voxfleet_dev.processes import ChildFailed

WRITTEN_SECONDS = 30.0


def close_books(rig: FleetRig) -> list[str]:
    """Returns what is wrong with the statements, and what was logged meanwhile. A leader has to be there."""
    return [*_statement_failures(rig), *rig.new_tracebacks()]


def _statement_failures(rig: FleetRig) -> list[str]:
    try:
        for mac in rig.macs:
            rig.api("DELETE", f"/apis/{API_VERSION}/macagents/{mac.mac.name}")
        with_rows = {mac.mac.name for mac in rig.macs if mac.ledger()}
        rig.wait_for(
            "a statement of each Mac",
            lambda: with_rows <= {statement.spec.mac for statement in _statements(rig)},
            WRITTEN_SECONDS,
        )
        booked = {mac.mac.name: BookedMac([item.row for item in mac.ledger()], []) for mac in rig.macs}
        for statement in _statements(rig):
            booked[statement.spec.mac].statements.append(statement)
    except (NotReady, ChildFailed, LedgerError, *NoAnswer) as error:
        return [f"the books could not be closed: {error}"]
    return statements_are_what_was_signed(booked)


def _statements(rig: FleetRig) -> list[MachineHourStatement]:
    return [MachineHourStatement.load(item) for item in rig.objects("machinehourstatements")]

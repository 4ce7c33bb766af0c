"""An attempt belongs to a machine, whatever MacAgents are named and pointed at."""

from __future__ import annotations

import pytest

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, MachineIdentity
from voxfleet_operator.fleet.lease_grants import REMEMBERED_SECONDS, LeaseGrants
from voxfleet_operator.fleet.mac_view import MacView, attempt_view

M, SAME_KEY, SAME_HARDWARE = (
    MachineIdentity(hardware_id="h", ledger_key="k"),
    MachineIdentity(hardware_id="other", ledger_key="k"),
    MachineIdentity(hardware_id="h", ledger_key="other"),
)


def view(name: str, identity: MachineIdentity | None) -> MacView:
    return MacView(name, connected=True, reason=Reason.CONNECTED, message="", identity=identity)


def record(machine: MachineIdentity | None) -> AttemptRecord:
    return AttemptRecord(attempt=1, mac="a", machine=machine, outcome=AttemptOutcome.ASSIGNED)


@pytest.mark.parametrize(
    ("machine", "macs", "found"),
    [
        (M, {"a": M}, "a"),
        (M, {"a": None}, "a"),  # not dialled yet
        (M, {"a": SAME_KEY}, None),
        (M, {"a": SAME_HARDWARE}, None),
        (M, {"a": SAME_KEY, "b": M}, "b"),  # renamed
        (M, {"b": M}, "b"),
        (M, {"b": None}, None),
        (M, {}, None),
        (None, {"a": SAME_KEY, "b": M}, "a"),  # assigned by an older operator
        (None, {"b": M}, None),
    ],
)
def test_whose_attempt_it_is(
    machine: MachineIdentity | None, macs: dict[str, MachineIdentity | None], found: str | None
) -> None:
    views = {name: view(name, identity) for name, identity in macs.items()}
    holder = attempt_view(record(machine), views)
    assert (None if holder is None else holder.name) == found


def test_a_lease_is_of_a_machine() -> None:
    grants = LeaseGrants()
    grants.note("a", M, 10.0)
    grants.note("a", SAME_KEY, 20.0)
    assert grants.last_seconds(record(M)) == 10.0
    assert grants.last_seconds(record(SAME_HARDWARE)) is None
    assert grants.last_seconds(record(None)) == 20.0, "the name is all that is known"


def test_old_grants_are_forgotten() -> None:
    grants = LeaseGrants()
    for number in range(1000):
        grants.note(f"mac-{number}", MachineIdentity(hardware_id=str(number), ledger_key="k"), 0.0)
    grants.note("a", M, REMEMBERED_SECONDS + 1.0)
    assert len(grants) == 2

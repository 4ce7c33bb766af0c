"""When each machine was last sent something that grants a lease: a renewal or a PUT. Pure.

Leases outlive sessions and what a MacAgent's name stands for, and so does this.
"""

from __future__ import annotations

from collections import OrderedDict

from voxfleet_api.kinds.audio_shard import AttemptRecord, MachineIdentity

REMEMBERED_SECONDS = 2 * 24 * 3600.0
"""Longer than the longest lease, with its margin."""


class LeaseGrants:
    def __init__(self) -> None:
        self._granted: OrderedDict[MachineIdentity | str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._granted)

    def note(self, mac: str, machine: MachineIdentity | None, now: float) -> None:
        """To be called before sending: the agent's lease may count from any moment after this one."""
        for holder in (mac, machine):
            if holder is not None:
                self._granted[holder] = now
                self._granted.move_to_end(holder)
        while next(iter(self._granted.values())) < now - REMEMBERED_SECONDS:
            self._granted.popitem(last=False)

    def last_seconds(self, record: AttemptRecord) -> float | None:
        """Of an attempt that was assigned by an operator that recorded no machine, the name counts."""
        return self._granted.get(record.mac if record.machine is None else record.machine)

"""How long a shard's Mac has been silent.

Silence is counted by the operator's own clock, from the last message it sent that grants a lease: a renewal or a PUT.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api.kinds import AudioShard
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.lost_mac import ContactState, contact_state


@dataclass(frozen=True, slots=True)
class MacContact:
    state: ContactState
    lost_in_seconds: float
    """Until a silent Mac counts as lost."""
    lease_and_margin_seconds: float
    """How long silence may last."""


class LeaseClock:
    """Remembers when each Mac was last sent a PUT; renewals are remembered by its view."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._put_sent_seconds: dict[str, float] = {}

    def put_sent(self, mac: str) -> None:
        """To be called before the PUT: the lease may count from any moment after this one."""
        self._put_sent_seconds[mac] = self._context.clock()

    def mac_contact(self, shard: AudioShard) -> MacContact:
        """Of the Mac that has the shard's newest attempt.

        The count starts anew when this process becomes the leader or its event loop has stood still: it cannot tell
        whether a Mac was silent while it was not listening.
        """
        context, mac, lease_seconds = self._context, shard.status.mac or "", shard.status.lease_seconds or 0
        view = context.fleet.view(mac)
        granted = (view.last_renewal_seconds, self._put_sent_seconds.get(mac))
        last = max([context.leader.counts_from_seconds, *(time for time in granted if time is not None)])
        silent_seconds = context.clock() - last
        margin_seconds = context.options.lost_margin_seconds
        return MacContact(
            contact_state(
                view, silent_seconds=silent_seconds, lease_seconds=lease_seconds, margin_seconds=margin_seconds
            ),
            max(0.0, lease_seconds + margin_seconds - silent_seconds),
            lease_seconds + margin_seconds,
        )

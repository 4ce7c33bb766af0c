"""Decides whether a Mac is lost: silent for longer than its attempt's lease and a margin.

Silence is counted by the operator's own clock, from the last message it sent that grants a lease: a renewal or a PUT.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from voxfleet_api.kinds import AudioShard
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.context import Context


class Contact(StrEnum):
    CONNECTED = "Connected"
    SILENT = "Silent"
    LOST = "Lost"  # silent for longer than lease and margin


def contact(view: MacView | None, *, silent_seconds: float, lease_seconds: float, margin_seconds: float) -> Contact:
    """`silent_seconds` is counted from the last lease that was granted, or from when this process began to count."""
    if view is not None and view.connected:
        return Contact.CONNECTED
    return Contact.LOST if silent_seconds >= lease_seconds + margin_seconds else Contact.SILENT


@dataclass(frozen=True, slots=True)
class MacContact:
    state: Contact
    lost_in_seconds: float
    """How long it takes until a silent Mac counts as lost."""


class MacContacts:
    """Remembers when each Mac was last sent a PUT; renewals are remembered by its view."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._put_sent_seconds: dict[str, float] = {}

    def put_sent(self, mac: str) -> None:
        """To be called before the PUT: the lease may count from any moment after this one."""
        self._put_sent_seconds[mac] = self._context.clock()

    def of(self, shard: AudioShard) -> MacContact:
        """The contact with the Mac that has the shard's newest attempt.

        The count starts anew when this process becomes the leader or its event loop has stood still: it cannot tell
        whether a Mac was silent in the meantime.
        """
        context, mac, lease_seconds = self._context, shard.status.mac or "", shard.status.lease_seconds or 0
        view = context.fleet.view(mac)
        granted = (view.last_renewal_seconds, self._put_sent_seconds.get(mac))
        last = max([context.leader.counts_from_seconds, *(time for time in granted if time is not None)])
        silent_seconds = context.clock() - last
        margin_seconds = context.options.lost_margin_seconds
        return MacContact(
            contact(view, silent_seconds=silent_seconds, lease_seconds=lease_seconds, margin_seconds=margin_seconds),
            max(0.0, lease_seconds + margin_seconds - silent_seconds),
        )

"""How long a Mac has been silent, by the only clock that counts: the last renewal that was sent to it."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api.kinds import AudioShard
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.shard_decision import Contact, contact


@dataclass(frozen=True, slots=True)
class Reached:
    contact: Contact
    lost_in_seconds: float
    """Until a silent Mac counts as lost."""


def reached(context: Context, shard: AudioShard) -> Reached:
    """Whether the Mac of the shard's newest attempt is in contact, silent or lost.

    The count starts anew when this process begins to lead or its loop stood still: what it did not see is no silence.
    """
    mac, lease_seconds = shard.status.mac or "", shard.status.lease_seconds or 0
    view = context.fleet.view(mac)
    told = (view.last_renewal_seconds, context.put_sent_seconds.get(mac))
    last = max([context.leader.counts_from_seconds, *(time for time in told if time is not None)])
    silent_seconds = context.clock() - last
    margin_seconds = context.options.lost_margin_seconds
    return Reached(
        contact(view, silent_seconds=silent_seconds, lease_seconds=lease_seconds, margin_seconds=margin_seconds),
        max(0.0, lease_seconds + margin_seconds - silent_seconds),
    )

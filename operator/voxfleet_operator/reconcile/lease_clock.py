"""How long a shard's Mac has been silent.

Silence is counted by the operator's own clock, from the last message it sent that grants a lease: a renewal or a PUT.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api.kinds.audio_shard import AttemptRecord
from voxfleet_operator.fleet.mac_view import attempt_view
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.lost_mac import ContactState, contact_state


@dataclass(frozen=True, slots=True)
class MacContact:
    state: ContactState
    lost_in_seconds: float
    """Until a silent Mac counts as lost."""
    lease_and_margin_seconds: float
    """How long silence may last."""
    lost_for_seconds: float
    """Since when it counts as lost; 0 if it does not. Its leases had ended by then, and nothing holds its lanes."""


class LeaseClock:
    def __init__(self, context: Context) -> None:
        self._context = context

    def mac_contact(self, record: AttemptRecord, lease_seconds: int) -> MacContact:
        """Of the machine that has the attempt.

        The count starts anew when this process becomes the leader or its event loop has stood still: it cannot tell
        whether a Mac was silent while it was not listening.
        """
        context = self._context
        last = context.leader.counts_from_seconds
        if (granted := context.fleet.lease_granted_seconds(record)) is not None:
            last = max(last, granted)
        silent_seconds = context.clock() - last
        margin_seconds = context.options.lost_margin_seconds
        state = contact_state(
            attempt_view(record, context.fleet.views()),
            silent_seconds=silent_seconds,
            lease_seconds=lease_seconds,
            margin_seconds=margin_seconds,
        )
        left_seconds = lease_seconds + margin_seconds - silent_seconds
        return MacContact(
            state,
            lost_in_seconds=max(0.0, left_seconds),
            lease_and_margin_seconds=lease_seconds + margin_seconds,
            lost_for_seconds=max(0.0, -left_seconds) if state is ContactState.LOST else 0.0,
        )

"""Whether a Mac is lost: silent for longer than its attempt's lease and a margin. Pure."""

from __future__ import annotations

from enum import StrEnum

from voxfleet_operator.fleet.mac_view import MacView


class ContactState(StrEnum):
    CONNECTED = "Connected"
    SILENT = "Silent"
    LOST = "Lost"  # silent for longer than lease and margin


def contact_state(
    view: MacView | None, *, silent_seconds: float, lease_seconds: float, margin_seconds: float
) -> ContactState:
    """`silent_seconds` is counted from the last lease that was granted, or from when this process began to count."""
    if view is not None and view.connected:
        return ContactState.CONNECTED
    return ContactState.LOST if silent_seconds >= lease_seconds + margin_seconds else ContactState.SILENT

"""A session that dials nobody, so that a test calls its parts itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

from voxfleet_api.kinds import MacAgent
from voxfleet_operator.fleet.lease_grants import LeaseGrants
from voxfleet_operator.fleet.session import MacSession
from voxfleet_operator.fleet.session_context import SessionContext, SessionTiming


class Nowhere:
    """A dialer that never comes to a connection."""

    def same_connection(self, *_: MacAgent) -> bool:
        return True

    def connected_message(self, _: MacAgent) -> str:
        return "connected"

    async def dial(self, _: MacAgent) -> None:
        await asyncio.Event().wait()


def idle_session(mac: MacAgent, **context: object) -> MacSession:
    """`context`: fields of SessionContext that the test cares for. To be stopped."""
    fields: dict[str, object] = {
        "control_plane": "c",
        "clock": lambda: 0.0,
        "now": lambda: datetime.now(UTC),
        "timing": SessionTiming(),
        "dialer": Nowhere(),
        "older_twin": lambda _: None,
        "on_change": lambda *_: None,
        "on_sessions": lambda _: None,
        "stored_head": lambda *_: None,
        "settles": lambda: True,
        "grants": LeaseGrants(),
    }
    return MacSession(mac, cast("SessionContext", SimpleNamespace(**(fields | context))))

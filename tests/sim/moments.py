"""Moments in the lives of jobs and shards that a fault can wait for, told from what is sent to the API server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

MOMENTS = ("planned", "assigned", "working", "replacing", "committed", "finalizing")


class Moments:
    """Each comes once, at the first object that shows it; a moment may come before the write that shows it arrives."""

    def __init__(self) -> None:
        self._events = {name: asyncio.Event() for name in MOMENTS}

    def status_sent(self, kind: str, name: str, status: Mapping[str, Any]) -> None:
        """To be called when a status is on its way to the server."""
        process = not name.endswith(("-plan", "-finalize"))
        if kind == "audioshards":
            attempt = status.get("attempt", 0)
            self._come("assigned" if attempt else None)
            self._come("working" if attempt and process else None)
            self._come("replacing" if attempt > 1 and "commit" not in status else None)
            self._come("committed" if "commit" in status and status.get("clips") else None)
        elif kind == "audiobatchjobs":
            self._come("planned" if "plan" in status else None)
            reasons = {item["reason"] for item in status.get("conditions", ()) if item["type"] == "Complete"}
            self._come("finalizing" if "Finalizing" in reasons else None)

    async def come(self, name: str, longest_seconds: float) -> bool:
        """Waits for a moment; False if it does not come."""
        try:
            async with asyncio.timeout(longest_seconds):
                await self._events[name].wait()
        except TimeoutError:
            return False
        return True

    def _come(self, name: str | None) -> None:
        if name is not None:
            self._events[name].set()

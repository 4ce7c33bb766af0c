"""Gives up what an attempt need not finish once it is called back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from voxfleet_agent.stages.stage_context import WorkPermit

T = TypeVar("T")


async def unless_called_back(permit: WorkPermit, work: Coroutine[None, None, T]) -> T | None:
    """What `work` returns, or None once the attempt is called back: it is cancelled then, and has ended. Raises what it
    raises.
    """
    working, waiting = asyncio.create_task(work), asyncio.create_task(permit.wait_called_back())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)

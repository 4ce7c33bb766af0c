"""Macs whose transports are stuck in a thread leave threads for the others."""

from __future__ import annotations

import asyncio
import threading

from voxfleet_operator.fleet.ssh.tunnel import THREADS_PER_MAC, SshThreads, _in_thread

STUCK_MACS = 40


async def test_stuck_macs_leave_threads_for_the_others() -> None:
    threads, stuck, released = SshThreads(), threading.Semaphore(0), threading.Event()

    def hang() -> None:
        stuck.release()
        released.wait()

    hung = []
    try:
        for _ in range(STUCK_MACS):
            slots = asyncio.Semaphore(THREADS_PER_MAC)
            hung += [asyncio.create_task(_in_thread(slots, threads, hang)) for _ in range(2 * THREADS_PER_MAC)]
        await asyncio.to_thread(stuck.acquire)
        async with asyncio.timeout(10):
            assert await _in_thread(asyncio.Semaphore(THREADS_PER_MAC), threads, lambda: "sent") == "sent"
    finally:
        released.set()
        await asyncio.gather(*hung)
        threads.shutdown()

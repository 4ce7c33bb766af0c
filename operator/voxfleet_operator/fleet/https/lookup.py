"""Finds the addresses of Macs by name, in threads of its own: a lookup blocks, and cannot be given up."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor

THREADS = 32
"""The event loop has a handful, which check the ledgers of all Macs: a name server that is silent would hold them."""
MAX_ADDRESSES = 2
"""Of a name: one of each family. They are tried one after the other, and a call has time for two."""


class Lookup:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="https-lookup")

    async def addresses(self, host: str, timeout_seconds: float) -> tuple[str, ...]:
        """An address is its own. Raises OSError, also as TimeoutError."""
        if _is_address(host):
            return (host,)
        lookup = functools.partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        async with asyncio.timeout(timeout_seconds):
            answers = await asyncio.get_running_loop().run_in_executor(self._threads, lookup)
        first_of_family: dict[int, str] = {}
        for family, _, _, _, address in answers:
            first_of_family.setdefault(family, str(address[0]))
        return tuple(first_of_family.values())[:MAX_ADDRESSES]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

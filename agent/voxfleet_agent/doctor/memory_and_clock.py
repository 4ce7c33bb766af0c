"""Checks memory, co-tenants and the clock."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from voxfleet_agent.config import PoolConfig, lane_memory
from voxfleet_agent.doctor.finding import Finding, fail, ok, warn

_GIB = 2**30
_CO_TENANT_SHARE = 0.10
_CLOCK_UNSYNCHRONIZED = 5  # TIME_ERROR of adjtimex(2)


@dataclass(frozen=True, slots=True)
class CoTenant:
    """Another process that holds much memory."""

    name: str
    pid: int
    resident_bytes: int


def check_machine(pools: Sequence[PoolConfig]) -> list[Finding]:
    total_bytes = psutil.virtual_memory().total
    return [judge_memory(total_bytes, pools), judge_tenants(total_bytes, _co_tenants(total_bytes)), _check_clock()]


def judge_memory(total_bytes: int, pools: Sequence[PoolConfig]) -> Finding:
    caps, usable = lane_memory(total_bytes, pools)
    found = f"lanes may use {caps / _GIB:.1f} GiB together, the machine has {total_bytes / _GIB:.1f} GiB"
    if caps > usable:
        return fail(
            "memory",
            found,
            f"lower pools.memoryCap or lanes: at most {usable / _GIB:.1f} GiB leave the system its share",
        )
    return ok("memory", found)


def judge_tenants(total_bytes: int, tenants: Sequence[CoTenant]) -> Finding:
    if not tenants:
        return ok("co-tenants", "no other process holds a tenth of the memory")
    names = ", ".join(f"{one.name} ({one.pid}): {one.resident_bytes / _GIB:.1f} GiB" for one in tenants[:5])
    return warn("co-tenants", names, "end them, or lower pools.memoryCap by what they need")


def judge_clock(synchronized: bool | None, how: str) -> Finding:
    if synchronized is None:
        return warn("clock", f"cannot tell whether the clock is set by NTP ({how})", "check that a time service runs")
    if not synchronized:
        return warn(
            "clock", f"the clock is not set by NTP ({how})", "turn a time service on: rows carry wall times for finance"
        )
    return ok("clock", how)


def _co_tenants(total_bytes: int) -> list[CoTenant]:
    own = {psutil.Process().pid, *(child.pid for child in psutil.Process().children(recursive=True))}
    tenants = []
    for process in psutil.process_iter(["name", "pid", "memory_info"]):
        memory = process.info["memory_info"]
        if memory is not None and process.pid not in own and memory.rss > total_bytes * _CO_TENANT_SHARE:
            tenants.append(CoTenant(str(process.info["name"]), process.pid, memory.rss))
    return sorted(tenants, key=lambda tenant: -tenant.resident_bytes)


def _check_clock() -> Finding:
    if sys.platform == "darwin":
        from voxfleet_agent.doctor.macos import read_network_time

        return judge_clock(read_network_time(), "systemsetup -getusingnetworktime")
    return judge_clock(_kernel_clock_synchronized(), "adjtimex")


def _kernel_clock_synchronized() -> bool | None:
    """Whether the kernel reports a synchronized clock; None when it reports nothing."""
    library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    # struct timex has 208 bytes on 64-bit Linux; with `modes` 0 at its start, adjtimex only reads.
    state: int = library.adjtimex(ctypes.create_string_buffer(256))
    return None if state < 0 else state != _CLOCK_UNSYNCHRONIZED

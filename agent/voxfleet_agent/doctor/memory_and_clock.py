"""Checks memory, co-tenants and the clock."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from voxfleet_agent.config import PoolConfig, ReservedConfig, memory_claims
from voxfleet_agent.doctor.finding import Finding, fail, ok, warn
from voxfleet_api.pools import claimed_bytes, usable_memory_bytes

_GIB = 2**30
_CO_TENANT_SHARE = 0.10
_CLOCK_UNSYNCHRONIZED = 5  # TIME_ERROR of adjtimex(2)


@dataclass(frozen=True, slots=True)
class CoTenant:
    """Another process that holds much memory."""

    name: str
    pid: int
    resident_bytes: int


def check_machine(
    pools: Sequence[PoolConfig] = (PoolConfig(name="offline"),), reserved: Sequence[ReservedConfig] = ()
) -> list[Finding]:
    total_bytes = psutil.virtual_memory().total
    return [
        judge_memory(total_bytes, pools, reserved),
        judge_tenants(_co_tenants(total_bytes), sum(one.memory_bytes for one in reserved)),
        _check_clock(),
    ]


def judge_memory(total_bytes: int, pools: Sequence[PoolConfig], reserved: Sequence[ReservedConfig] = ()) -> Finding:
    claimed, usable = claimed_bytes(memory_claims(pools, reserved)), usable_memory_bytes(total_bytes)
    who = "lanes and co-tenants" if reserved else "lanes"
    found = f"{who} may use {claimed / _GIB:.1f} GiB together, the machine has {total_bytes / _GIB:.1f} GiB"
    if claimed > usable:
        what = "pools.memoryCap, lanes or reserved" if reserved else "pools.memoryCap or lanes"
        return fail("memory", found, f"lower {what}: at most {usable / _GIB:.1f} GiB leave the system its share")
    return ok("memory", found)


def judge_tenants(tenants: Sequence[CoTenant], reserved_bytes: int) -> Finding:
    """`tenants`: those that hold a tenth of the memory or more."""
    if not tenants:
        return ok("co-tenants", "no other process holds a tenth of the memory")
    names = ", ".join(f"{one.name} ({one.pid}): {one.resident_bytes / _GIB:.1f} GiB" for one in tenants[:5])
    if sum(one.resident_bytes for one in tenants) <= reserved_bytes:
        return ok("co-tenants", f"{names}, of {reserved_bytes / _GIB:.1f} GiB reserved")
    return warn("co-tenants", names, "end them, or write what they need into reserved and lower pools.memoryCap by it")


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

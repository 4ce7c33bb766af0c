"""Gives up rights, then becomes a lane's worker.

    python -I -S launch.py ORDER COMMAND...

ORDER is JSON: {"files": …, "network": …, "keeps_undroppable_rights": …, "readable": […], "writable": […]}. Guards act
on one thread, so they are in place before the worker's process image exists, in which libraries start threads. The
standard library alone: the launcher must start quickly. Ends with EXIT_NOT_CONFINED and `<guard>: <reason>` on stderr
when a guard cannot be had.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2]))

from voxfleet_agent.confinement import landlock, linux_syscalls, network_namespace, seccomp
from voxfleet_agent.confinement.guards import FileGuard, NetworkGuard

EXIT_NOT_CONFINED = 78
"""EX_CONFIG of sysexits.h."""
CAPABILITIES = "capabilities"
"""What is named in place of a guard when this process may not drop its capabilities."""
EXIT_NO_COMMAND = 127
"""As a shell has it."""

_SYSTEM = (
    "/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/nix/store", "/gnu/store",
    "/home/linuxbrew/.linuxbrew/Cellar", "/home/linuxbrew/.linuxbrew/lib", "/home/linuxbrew/.linuxbrew/opt",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/alternatives",
    "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/os-release",
    "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf",
    "/proc", "/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm",
)  # fmt: skip
"""What an interpreter and its libraries read. Landlock itself closes what in /proc tells of other processes' memory."""
_READ_ANY_FILE = 2
"""CAP_DAC_READ_SEARCH: a lane of root reads models whatever their owner, within what Landlock leaves it."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


_RESET_PEAK = "/proc/self/clear_refs"
"""Written to reset the peak of a process's own memory."""


def main(arguments: list[str]) -> int:
    """Returns only when the command could not be started."""
    order, command = json.loads(arguments[0]), arguments[1:]
    guard = ""
    try:
        if order["network"] == NetworkGuard.NAMESPACE:
            guard = NetworkGuard.NAMESPACE.value
            network_namespace.enter()
        with suppress(OSError):  # the guards below then need rights of root, or are refused
            linux_syscalls.forbid_new_privileges()
        if order["files"] == FileGuard.LANDLOCK:
            guard = FileGuard.LANDLOCK.value
            _pin(_RESET_PEAK)
            landlock.restrict(_rules(order["readable"], order["writable"]))
        if order["network"] == NetworkGuard.SECCOMP:
            guard = NetworkGuard.SECCOMP.value
            seccomp.restrict()
        guard = CAPABILITIES
        with suppress(OSError) if order["keeps_undroppable_rights"] else nullcontext():
            linux_syscalls.drop_capabilities(_READ_ANY_FILE)
    except OSError as error:
        where = "" if error.filename is None else f": {error.filename}"
        print(f"{guard}: {error.strerror}{where}", file=sys.stderr, flush=True)
        return EXIT_NOT_CONFINED
    try:
        os.execv(command[0], command)  # noqa: S606 -- the worker's command, from the agent
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return EXIT_NO_COMMAND


def _pin(path: str) -> None:
    """Keeps a file of /proc open in the worker: a rule of Landlock is bound to an inode, and /proc may replace that.

    Kernels may lack the file; peaks are then those of the worker's whole life.
    """
    with suppress(OSError):
        os.set_inheritable(os.open(path, os.O_PATH), True)


def _rules(readable: Iterable[str], writable: Iterable[str]) -> list[tuple[str, int]]:
    return [
        *((path, landlock.READ) for path in (*_SYSTEM, sys.base_prefix, sys.base_exec_prefix)),
        *((path, landlock.WRITE) for path in (*_DEVICES, _RESET_PEAK)),
        *((path, landlock.READ) for path in readable),
        *((path, landlock.WRITE) for path in writable),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

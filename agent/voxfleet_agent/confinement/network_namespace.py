"""A network namespace without interfaces, where no seccomp filter can be had. Linux only."""

from __future__ import annotations

import os
from pathlib import Path

from voxfleet_agent.confinement import linux_syscalls

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000


def enter() -> None:
    """Leaves the machine's network, keeping this account. Raises OSError where the kernel or a container forbids it.

    Sockets in the file system stay reachable, as they belong to no network. An account without rights needs a user
    namespace to do this, in which it stays what it was.
    """
    uid, gid = os.getuid(), os.getgid()
    linux_syscalls.unshare(_NEW_USER | _NEW_NETWORK)
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{uid} {uid} 1")
    (own / "gid_map").write_text(f"{gid} {gid} 1")

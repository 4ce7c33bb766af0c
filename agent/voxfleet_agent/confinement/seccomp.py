"""A seccomp filter: a process gives up the system calls that make sockets or reach into other processes and the kernel.

Needs no root. seccomp(2); the program is classic BPF over struct seccomp_data. Numbers: asm/unistd_64.h (x86_64) and
asm-generic/unistd.h (aarch64).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from voxfleet_agent.confinement import linux_syscalls

_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET = 0, 4
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_SET_MODE_FILTER = 1
_X32_BIT = 0x40000000
"""Numbers from here on are a second way into the calls of x86_64."""

_REFUSED = (
    # sockets, and the two ways past a filter of them
    ("socket", 41, 198),
    ("socketpair", 53, 199),
    ("io_uring_setup", 425, 425),
    ("pidfd_getfd", 438, 438),
    # other processes
    ("ptrace", 101, 117),
    ("process_vm_readv", 310, 270),
    ("process_vm_writev", 311, 271),
    ("process_madvise", 440, 440),
    ("kcmp", 312, 272),
    # the kernel's keys, programs, counters, modules, mounts and namespaces
    ("add_key", 248, 217),
    ("request_key", 249, 218),
    ("keyctl", 250, 219),
    ("bpf", 321, 280),
    ("perf_event_open", 298, 241),
    ("userfaultfd", 323, 282),
    ("init_module", 175, 105),
    ("finit_module", 313, 273),
    ("kexec_load", 246, 104),
    ("mount", 165, 40),
    ("umount2", 166, 39),
    ("pivot_root", 155, 41),
    ("move_mount", 429, 429),
    ("fsopen", 430, 430),
    ("unshare", 272, 97),
    ("setns", 308, 268),
)


@dataclass(frozen=True, slots=True)
class Architecture:
    audit_number: int
    """AUDIT_ARCH_* of linux/audit.h."""
    seccomp_number: int
    refused: tuple[int, ...]
    has_x32: bool = False


ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, 317, tuple(call for _, call, _ in _REFUSED), has_x32=True),
    "aarch64": Architecture(0xC00000B7, 277, tuple(call for _, _, call in _REFUSED)),
}


def program(architecture: Architecture) -> bytes:
    """The filter. Refused calls, and all calls of another architecture, give EPERM. Pure."""
    refuse = _instruction(_RETURN, _ERRNO | errno.EPERM)
    checks = [(_JUMP_EQUAL, number) for number in architecture.refused]
    if architecture.has_x32:
        checks.insert(0, (_JUMP_AT_LEAST, _X32_BIT))
    return b"".join(
        (
            _instruction(_LOAD_WORD, _ARCHITECTURE_OFFSET),
            _instruction(_JUMP_EQUAL, architecture.audit_number, if_true=1),
            refuse,
            _instruction(_LOAD_WORD, _NUMBER_OFFSET),
            *_jumps_to_last(checks),
            _instruction(_RETURN, _ALLOW),
            refuse,
        )
    )


def restrict() -> None:
    """Filters the calls of this thread and of what it executes. Raises OSError where that cannot be done."""
    architecture = ARCHITECTURES.get(os.uname().machine)
    if architecture is None:
        raise OSError(errno.ENOSYS, f"no filter is written for {os.uname().machine}")
    code = ctypes.create_string_buffer(program(architecture))
    count = (len(code) - 1) // 8
    header = ctypes.create_string_buffer(struct.pack("@HP", count, ctypes.addressof(code)))
    linux_syscalls.call(architecture.seccomp_number, _SET_MODE_FILTER, 0, ctypes.addressof(header))


def _jumps_to_last(checks: Sequence[tuple[int, int]]) -> list[bytes]:
    """Each check that holds jumps over the rest and over the instruction behind it."""
    return [_instruction(kind, value, if_true=len(checks) - position) for position, (kind, value) in enumerate(checks)]


def _instruction(code: int, value: int, if_true: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, 0, value)

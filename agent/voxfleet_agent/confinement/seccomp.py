"""A seccomp filter: a process gives up the system calls that make sockets, change what belongs to a file beside its
content, or reach into other processes and the kernel.

Needs no root. seccomp(2); the program is classic BPF over struct seccomp_data. Numbers: asm/unistd_64.h (x86_64) and
asm-generic/unistd.h (aarch64). Landlock knows nothing of a file's mode, owner, attributes and times, nor before Linux
6.2 of truncation, so a filter refuses them whatever the path.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from voxfleet_agent.confinement import linux_syscalls

_LOAD_WORD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_ALWAYS, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT = 0x05, 0x15, 0x35, 0x45
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_SET_MODE_FILTER = 1
_X32_BIT = 0x40000000
"""Numbers from here on are a second way into the calls of x86_64."""

_Numbers = tuple[int | None, int | None]
"""Of x86_64 and aarch64; None: the architecture has no such call."""

_REFUSED: tuple[tuple[str, _Numbers], ...] = (
    # sockets, and the two ways past a filter of them
    ("socket", (41, 198)),
    ("socketpair", (53, 199)),
    ("io_uring_setup", (425, 425)),
    ("pidfd_getfd", (438, 438)),
    # the length, mode, owner, attributes and times of a file by its path, and files by their number
    ("truncate", (76, 45)),
    ("chmod", (90, None)),
    ("fchmod", (91, 52)),
    ("fchmodat", (268, 53)),
    ("fchmodat2", (452, 452)),
    ("chown", (92, None)),
    ("lchown", (94, None)),
    ("fchown", (93, 55)),
    ("fchownat", (260, 54)),
    ("setxattr", (188, 5)),
    ("lsetxattr", (189, 6)),
    ("fsetxattr", (190, 7)),
    ("setxattrat", (463, 463)),
    ("removexattr", (197, 14)),
    ("lremovexattr", (198, 15)),
    ("fremovexattr", (199, 16)),
    ("removexattrat", (466, 466)),
    ("file_setattr", (469, 469)),
    ("utime", (132, None)),
    ("utimes", (235, None)),
    ("futimesat", (261, None)),
    ("utimensat", (280, 88)),
    ("open_by_handle_at", (304, 265)),
    # other processes
    ("ptrace", (101, 117)),
    ("process_vm_readv", (310, 270)),
    ("process_vm_writev", (311, 271)),
    ("process_madvise", (440, 440)),
    ("kcmp", (312, 272)),
    # the kernel's keys, programs, counters, modules, mounts and namespaces
    ("add_key", (248, 217)),
    ("request_key", (249, 218)),
    ("keyctl", (250, 219)),
    ("bpf", (321, 280)),
    ("perf_event_open", (298, 241)),
    ("userfaultfd", (323, 282)),
    ("init_module", (175, 105)),
    ("finit_module", (313, 273)),
    ("delete_module", (176, 106)),
    ("kexec_load", (246, 104)),
    ("kexec_file_load", (320, 294)),
    ("mount", (165, 40)),
    ("umount2", (166, 39)),
    ("pivot_root", (155, 41)),
    ("chroot", (161, 51)),
    ("open_tree", (428, 428)),
    ("open_tree_attr", (467, 467)),
    ("move_mount", (429, 429)),
    ("fsopen", (430, 430)),
    ("fsconfig", (431, 431)),
    ("fsmount", (432, 432)),
    ("fspick", (433, 433)),
    ("mount_setattr", (442, 442)),
    ("unshare", (272, 97)),
    ("setns", (308, 268)),
)
_UNKNOWN: tuple[tuple[str, _Numbers], ...] = (("clone3", (435, 435)), ("openat2", (437, 437)))
"""Answered as by an older kernel, upon which libraries use clone and openat: a filter cannot see what these are told in
memory."""
_NEW_NAMESPACES = 0x7E02_0000
"""The flags CLONE_NEW* of linux/sched.h that clone takes."""
_ACCESS_MODE, _TRUNCATE = 0o3, 0o1000
_READ_ONLY, _FOR_IOCTL = 0o0, 0o3
"""Opening for reading, or with mode 3 for no access at all, which truncate too when they are told to."""
_WORD = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class ArgumentRule:
    """Refuses a call for one of its arguments, of which the lower 32 bits count."""

    call: int
    argument: int
    """Its position, from 0."""
    mask: int
    values: tuple[int, ...] = ()
    """What the masked argument must not be; none: any bit of it refuses the call."""


_TRUNCATING = (_TRUNCATE | _READ_ONLY, _TRUNCATE | _FOR_IOCTL)
_BY_ARGUMENT: tuple[tuple[str, _Numbers, int, int, tuple[int, ...]], ...] = (
    ("clone", (56, 220), 0, _NEW_NAMESPACES, ()),
    ("open", (2, None), 1, _TRUNCATE | _ACCESS_MODE, _TRUNCATING),
    ("openat", (257, 56), 2, _TRUNCATE | _ACCESS_MODE, _TRUNCATING),
    ("prlimit64", (302, 261), 0, _WORD, ()),  # 0 is the caller, anything else another process of the account
)


@dataclass(frozen=True, slots=True)
class Architecture:
    audit_number: int
    """AUDIT_ARCH_* of linux/audit.h."""
    seccomp_number: int
    refused: tuple[int, ...]
    unknown: tuple[int, ...] = ()
    by_argument: tuple[ArgumentRule, ...] = ()
    has_x32: bool = False


def _architecture(audit_number: int, seccomp_number: int, column: Literal[0, 1]) -> Architecture:
    """`column`: of the numbers in the tables above."""
    return Architecture(
        audit_number,
        seccomp_number,
        refused=tuple(call for _, calls in _REFUSED if (call := calls[column]) is not None),
        unknown=tuple(call for _, calls in _UNKNOWN if (call := calls[column]) is not None),
        by_argument=tuple(
            ArgumentRule(call, argument, mask, values)
            for _, calls, argument, mask, values in _BY_ARGUMENT
            if (call := calls[column]) is not None
        ),
        has_x32=column == 0,
    )


ARCHITECTURES = {"x86_64": _architecture(0xC000003E, 317, 0), "aarch64": _architecture(0xC00000B7, 277, 1)}


def program(architecture: Architecture) -> bytes:
    """The filter. Refused calls, and all calls of another architecture, give EPERM, unknown ones ENOSYS. Pure."""
    refuse = _instruction(_RETURN, _ERRNO | errno.EPERM)
    refused = [(_JUMP_EQUAL, number) for number in architecture.refused]
    if architecture.has_x32:
        refused.insert(0, (_JUMP_AT_LEAST, _X32_BIT))
    unknown = [(_JUMP_EQUAL, number) for number in architecture.unknown]
    return b"".join(
        (
            _instruction(_LOAD_WORD, _ARCHITECTURE_OFFSET),
            _instruction(_JUMP_EQUAL, architecture.audit_number, if_true=1),
            refuse,
            _instruction(_LOAD_WORD, _NUMBER_OFFSET),
            *_unless(refused, refuse),
            *_unless(unknown, _instruction(_RETURN, _ERRNO | errno.ENOSYS)),
            *(step for rule in architecture.by_argument for step in _argument_steps(rule, refuse)),
            _instruction(_RETURN, _ALLOW),
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


def _unless(checks: Sequence[tuple[int, int]], end: bytes) -> list[bytes]:
    """Ends with `end` if one of the checks holds, else goes on behind it."""
    jumps = [_instruction(kind, value, if_true=len(checks) - position) for position, (kind, value) in enumerate(checks)]
    return [*jumps, _instruction(_JUMP_ALWAYS, 1), end]


def _argument_steps(rule: ArgumentRule, refuse: bytes) -> list[bytes]:
    """Decides about one call, or goes on behind the last step with the call's number loaded."""
    checks = [(_JUMP_EQUAL, value) for value in rule.values] or [(_JUMP_ANY_BIT, rule.mask)]
    steps = [
        _instruction(_LOAD_WORD, _ARGUMENTS_OFFSET + 8 * rule.argument),
        *([_instruction(_AND, rule.mask)] if rule.values else []),
        *_unless(checks, refuse),
        _instruction(_RETURN, _ALLOW),
    ]
    return [_instruction(_JUMP_EQUAL, rule.call, if_false=len(steps)), *steps]


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)

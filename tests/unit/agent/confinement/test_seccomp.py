"""The filter's program, run by an interpreter of the seven instructions that it is made of."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from voxfleet_agent.confinement.seccomp import ARCHITECTURES, Architecture, program

ALLOW, REFUSE, UNKNOWN = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
OTHER_ARCHITECTURE = 0x40000003  # i386, whose `socketcall` would be another way to a socket
CLONE_NEWNS, CLONE_NEWUSER, CLONE_VM_AND_THREAD = 0x20000, 0x10000000, 0x10100


def decide(architecture: Architecture, audit_number: int, call: int, *arguments: int) -> int:
    code = program(architecture)
    words = {0: call, 4: audit_number} | {16 + 8 * place: value for place, value in enumerate((*arguments, 0, 0, 0))}
    position, loaded = 0, 0
    jumps = {
        0x15: lambda value: loaded == value,
        0x35: lambda value: loaded >= value,
        0x45: lambda value: loaded & value,
    }
    while True:
        kind, if_true, if_false, value = struct.unpack_from("=HBBI", code, position * 8)
        position += 1
        if kind == 0x20:
            loaded = words[value]
        elif kind == 0x54:
            loaded &= value
        elif kind == 0x05:
            position += value
        elif kind in jumps:
            position += if_true if jumps[kind](value) else if_false
        else:
            assert kind == 0x06
            return int(value)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_exactly_the_listed_calls_are_refused(name: str) -> None:
    architecture = ARCHITECTURES[name]
    decided = {call: decide(architecture, architecture.audit_number, call) for call in range(512)}
    assert {call for call, what in decided.items() if what == REFUSE} == {*architecture.refused}
    assert {call for call, what in decided.items() if what == UNKNOWN} == {*architecture.unknown}
    assert {*decided.values()} == {ALLOW, REFUSE, UNKNOWN}


@pytest.mark.parametrize(
    ("x86_64", "aarch64", "arguments", "what"),
    [
        (56, 220, (CLONE_NEWNS,), REFUSE),
        (56, 220, (CLONE_NEWUSER | CLONE_VM_AND_THREAD,), REFUSE),
        (56, 220, (CLONE_VM_AND_THREAD | 17,), ALLOW),
        (257, 56, (0, 0, os.O_RDONLY | os.O_TRUNC | os.O_CLOEXEC), REFUSE),
        (257, 56, (0, 0, 3 | os.O_TRUNC), REFUSE),
        (257, 56, (0, 0, os.O_WRONLY | os.O_TRUNC | os.O_CREAT), ALLOW),
        (257, 56, (0, 0, os.O_RDWR | os.O_TRUNC), ALLOW),
        (257, 56, (0, 0, os.O_RDONLY | os.O_CLOEXEC), ALLOW),
        (2, None, (0, os.O_RDONLY | os.O_TRUNC), REFUSE),
        (2, None, (0, os.O_WRONLY | os.O_TRUNC), ALLOW),
        (302, 261, (0,), ALLOW),
        (302, 261, (4711,), REFUSE),
    ],
)
def test_calls_that_a_lane_needs_are_judged_by_their_arguments(
    x86_64: int, aarch64: int | None, arguments: tuple[int, ...], what: int
) -> None:
    for name, call in (("x86_64", x86_64), ("aarch64", aarch64)):
        if call is not None:
            architecture = ARCHITECTURES[name]
            assert decide(architecture, architecture.audit_number, call, *arguments) == what


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_call_of_another_architecture_is_refused(name: str) -> None:
    assert {decide(ARCHITECTURES[name], OTHER_ARCHITECTURE, call) for call in range(512)} == {REFUSE}


def test_the_second_numbering_of_x86_64_is_refused() -> None:
    architecture = ARCHITECTURES["x86_64"]
    assert decide(architecture, architecture.audit_number, 0x40000000 + 41) == REFUSE

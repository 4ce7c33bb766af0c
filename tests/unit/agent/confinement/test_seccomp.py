"""The filter's program, run by an interpreter of the five instructions that it is made of."""

from __future__ import annotations

import errno
import struct

import pytest

from voxfleet_agent.confinement.seccomp import ARCHITECTURES, Architecture, program

ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
OTHER_ARCHITECTURE = 0x40000003  # i386, whose `socketcall` would be another way to a socket


def decide(architecture: Architecture, audit_number: int, call: int) -> int:
    code = program(architecture)
    words, position, loaded = {0: call, 4: audit_number}, 0, 0
    while True:
        kind, if_true, if_false, value = struct.unpack_from("=HBBI", code, position * 8)
        position += 1
        if kind == 0x20:
            loaded = words[value]
        elif kind in (0x15, 0x35):
            position += if_true if (loaded == value if kind == 0x15 else loaded >= value) else if_false
        else:
            assert kind == 0x06
            return int(value)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_exactly_the_listed_calls_are_refused(name: str) -> None:
    architecture = ARCHITECTURES[name]
    refused = {call for call in range(512) if decide(architecture, architecture.audit_number, call) == REFUSE}
    assert refused == {*architecture.refused}
    allowed = {decide(architecture, architecture.audit_number, call) for call in {*range(512)} - refused}
    assert allowed == {ALLOW}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_call_of_another_architecture_is_refused(name: str) -> None:
    assert {decide(ARCHITECTURES[name], OTHER_ARCHITECTURE, call) for call in range(512)} == {REFUSE}


def test_the_second_numbering_of_x86_64_is_refused() -> None:
    architecture = ARCHITECTURES["x86_64"]
    assert decide(architecture, architecture.audit_number, 0x40000000 + 41) == REFUSE

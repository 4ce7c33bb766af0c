"""What differs from what the job's status froze."""

from __future__ import annotations

from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError


def mismatch(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.PLAN_MISMATCH, message)


def require_sha256(name: str, content: bytes, expected: str) -> None:
    found = sha256_hex(content)
    if found != expected:
        raise mismatch(f"{name} has sha256 {found[:12]}…, expected {expected[:12]}…")

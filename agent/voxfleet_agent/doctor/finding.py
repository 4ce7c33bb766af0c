"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    OK = "ok"
    WARN = "warn"  # work goes on, but something will be slow, late or unclear
    FAIL = "fail"  # attempts will fail, or promises cannot be kept


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    health: Health
    found: str
    mend: str = ""
    """What to do about it; empty when all is well and nobody could want more."""


def ok(name: str, found: str) -> Finding:
    return Finding(name, Health.OK, found)


def warn(name: str, found: str, mend: str) -> Finding:
    return Finding(name, Health.WARN, found, mend)


def fail(name: str, found: str, mend: str) -> Finding:
    return Finding(name, Health.FAIL, found, mend)

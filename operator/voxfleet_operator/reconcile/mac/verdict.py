"""What a condition of a Mac says, before it is one. Pure."""

from __future__ import annotations

from typing import NamedTuple

from voxfleet_api.conditions import Reason


class ConditionVerdict(NamedTuple):
    """`status` is None while it is unknown."""

    status: bool | None
    reason: Reason
    message: str

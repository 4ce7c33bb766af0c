"""What becomes of a link to a Mac. Pure."""

from __future__ import annotations

from enum import StrEnum


class LinkState(StrEnum):
    CLOSED = "closed"  # nobody needs it
    DIALLING = "dialling"
    UP = "up"
    DOWN = "down"  # it failed, and is dialled again soon

"""The names of a Mac's statements, and how far they have settled its chains. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from voxfleet_api.digest import sha256_hex
from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.ledger import ChainHead

MONTHS_BACK = 24
"""How many months a chain may rest until it is read again from its first row."""
LONGEST_NAME = 253


def statement_name(mac: str, month: str) -> str:
    """Deterministic, so that creating a statement again finds the one that exists."""
    name = f"{mac}-{month}"
    return name if len(name) <= LONGEST_NAME else f"{mac[:200]}-{sha256_hex(mac.encode())[:16]}-{month}"


def recent_months(now: datetime) -> Iterator[str]:
    """The current month and those before it, newest first. `now` is in UTC."""
    for back in range(MONTHS_BACK):
        year, month = divmod(now.year * 12 + now.month - 1 - back, 12)
        yield f"{year:04d}-{month + 1:02d}"


def newest_head(statements: Iterable[MachineHourStatement], chain_id: str) -> ChainHead | None:
    """The newest row of a chain that a statement counts; its rows are settled in the chain's order."""
    heads = [
        ChainHead(chain_id, cursor.sequence, cursor.hash)
        for statement in statements
        for cursor in statement.status.cursors
        if cursor.chain_id == chain_id
    ]
    return max(heads, key=lambda head: head.sequence, default=None)

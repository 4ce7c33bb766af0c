"""A Mac's newest statements, as the cache holds them: what is settled of its chains."""

from __future__ import annotations

from datetime import datetime

from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.ledger import ChainHead
from voxfleet_operator.cache import Cache
from voxfleet_operator.metering.statements import newest_head, recent_months, statement_name


def stored_statements(cache: Cache, mac: str, now: datetime) -> list[MachineHourStatement]:
    """The Mac's statements of the last months, newest first."""
    found = (cache.get(MachineHourStatement, "", statement_name(mac, month)) for month in recent_months(now))
    return [statement for statement in found if statement is not None]


def stored_head(cache: Cache, mac: str, chain_id: str, now: datetime) -> ChainHead | None:
    return newest_head(stored_statements(cache, mac, now), chain_id)

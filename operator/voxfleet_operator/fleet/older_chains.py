"""The chains that a Mac left behind, with a new ledger key or after a fork, and how far they are read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from voxfleet_api.ledger import ChainHead
from voxfleet_api.protocol import LedgerChain

MAX_KEYS = 8

StoredHead = Callable[[str, str], ChainHead | None]
"""(ledger key, chain) -> the newest row of the chain that a statement counts."""


@dataclass(frozen=True, slots=True)
class OlderChain:
    """A chain that is behind the current one, of which rows are left to read."""

    chain_id: str
    ledger_key: str
    """A key that was pinned while the chain was the Mac's, or still is."""
    after: ChainHead
    """The newest row that is settled or was read."""


def left_to_read(
    listed: Iterable[LedgerChain], current: str, keys: Iterable[str], stored: StoredHead
) -> list[OlderChain]:
    """The older chains with rows that no statement counts, the oldest first.

    `keys`: those that are or were pinned. The Mac's word for a key proves nothing: it has to be one of them, or one
    under which a statement counts the chain. Rows of any other key are never read, and so never billed.
    """
    pinned, found = frozenset(keys), []
    for chain in listed:
        if chain.chain_id == current or chain.ledger_key is None:
            continue
        head = stored(chain.ledger_key, chain.chain_id)
        if head is None and chain.ledger_key not in pinned:
            continue
        after = head or ChainHead(chain.chain_id)
        if after.sequence < chain.sequence:
            found.append(OlderChain(chain.chain_id, chain.ledger_key, after))
    return found[::-1]

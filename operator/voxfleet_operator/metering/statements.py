"""The names of statements, and how far all of them have settled each chain. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from voxfleet_api.digest import sha256_hex
from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.ledger import ChainHead

LONGEST_NAME = 253

SignedChain = tuple[str, str]
"""A ledger key and the id of a chain. It is one machine's, whatever the name of its MacAgent."""


def statement_name(mac: str, month: str, part: int = 1) -> str:
    """Deterministic, so that creating a statement again finds the one that exists.

    A month has further parts, from 2, only if the Mac began more chains in it than one statement lists.
    """
    end = month if part == 1 else f"{month}-{part}"
    name = f"{mac}-{end}"
    return name if len(name) <= LONGEST_NAME else f"{mac[:200]}-{sha256_hex(mac.encode())[:16]}-{end}"


def newest_heads(statements: Iterable[MachineHourStatement]) -> Mapping[SignedChain, ChainHead]:
    """The newest row of each chain that a statement counts; a chain's rows are settled in their order."""
    heads: dict[SignedChain, ChainHead] = {}
    for statement in statements:
        for cursor in statement.status.cursors:
            chain = (cursor.ledger_key, cursor.chain_id)
            if chain not in heads or heads[chain].sequence < cursor.sequence:
                heads[chain] = ChainHead(cursor.chain_id, cursor.sequence, cursor.hash)
    return heads

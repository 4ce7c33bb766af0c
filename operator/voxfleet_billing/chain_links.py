"""Whether the rows of a chain follow each other: none is missing, repeated or put in. Pure.

Rows may lie in several months and come in any order; only their numbers and hashes count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from voxfleet_api.ledger import GENESIS_HASH
from voxfleet_billing.archive_format import ArchivedHead
from voxfleet_billing.finding import Check, Finding


@dataclass(frozen=True, slots=True)
class Link:
    """What ties a row to its neighbours."""

    month: str
    chain_id: str
    sequence: int
    previous_hash: str
    hash: str

    @property
    def row_name(self) -> str:
        return f"{self.chain_id}#{self.sequence}"


@dataclass(frozen=True, slots=True)
class SettledUpTo:
    """How far a statement counts a chain."""

    statement: str
    chain_id: str
    sequence: int
    hash: str


def broken_links(mac: str, links: Iterable[Link]) -> Iterator[Finding]:
    """Gaps, repeated rows, and rows that do not name the hash of the one before, chain by chain."""
    ordered = sorted(links, key=attrgetter("chain_id", "sequence"))
    for _, chain in groupby(ordered, key=attrgetter("chain_id")):
        previous: Link | None = None
        for link in chain:
            yield from _after(mac, previous, link)
            previous = link


def broken_ends(
    mac: str, links: Iterable[Link], heads: Iterable[tuple[str, ArchivedHead]], settled: Iterable[SettledUpTo]
) -> Iterator[Finding]:
    """Beginnings and ends of chains that are not those that the index and the statements know.

    `heads`: with their months.
    """
    by_place = {(link.chain_id, link.sequence): link for link in links}
    first: dict[tuple[str, str], Link] = {}
    for link in by_place.values():
        found = first.get((link.month, link.chain_id))
        if found is None or link.sequence < found.sequence:
            first[link.month, link.chain_id] = link
    told = {(month, head.chain_id) for month, head in heads}
    for month, chain_id in sorted(first.keys() - told):
        name = first[month, chain_id].row_name
        yield Finding(
            mac, month, Check.INDEX, name, "the index names no head of its chain, so a cut-off tail is hidden"
        )
    for month, head in heads:
        yield from _head(mac, month, head, first.get((month, head.chain_id)), by_place)
    last = dict(sorted(by_place))
    for cursor in settled:
        yield from _settled(mac, cursor, by_place, last)


def _after(mac: str, previous: Link | None, link: Link) -> Iterator[Finding]:
    if previous is None:
        if link.sequence == 0 and link.previous_hash != GENESIS_HASH:
            yield _chain(mac, link, "is its chain's first and names a row before it")
    elif link.sequence == previous.sequence:
        same = "the same row" if link.hash == previous.hash else "another row"
        yield _chain(mac, link, f"stands twice in the archive, as {same} (months {previous.month} and {link.month})")
    elif link.sequence != previous.sequence + 1:
        names = f"{link.chain_id}#{previous.sequence + 1}"
        if link.sequence > previous.sequence + 2:
            names += f" to #{link.sequence - 1}"
        message = f"missing between {previous.row_name} and {link.row_name}"
        yield Finding(mac, link.month, Check.GAP, names, message)
    elif link.previous_hash != previous.hash:
        yield _chain(mac, link, f"does not name the hash of {previous.row_name}")


def _head(
    mac: str, month: str, head: ArchivedHead, first: Link | None, by_place: dict[tuple[str, int], Link]
) -> Iterator[Finding]:
    name = f"{head.chain_id}#{head.sequence}"
    last = by_place.get((head.chain_id, head.sequence))
    if first is None or last is None:
        yield Finding(
            mac, month, Check.TAIL, name, "the index says that the chain goes up to here, and the row is missing"
        )
        return
    if last.hash != head.hash:
        yield Finding(mac, month, Check.INDEX, name, "is another row than the one at which the index ends the chain")
    if first.previous_hash != head.first_previous_hash:
        message = "is another row than the one at which the index begins the chain; rows before it may be missing"
        yield Finding(mac, month, Check.INDEX, first.row_name, message)
    beyond = by_place.get((head.chain_id, head.sequence + 1))
    if beyond is not None and beyond.month == month:
        yield Finding(mac, month, Check.INDEX, beyond.row_name, f"lies beyond the index's head {name}")


def _settled(
    mac: str, cursor: SettledUpTo, by_place: dict[tuple[str, int], Link], last: dict[str, int]
) -> Iterator[Finding]:
    name = f"{cursor.chain_id}#{cursor.sequence}"
    month = ""
    link = by_place.get((cursor.chain_id, cursor.sequence))
    if link is not None:
        if link.hash != cursor.hash:
            message = f"is another row than the one that statement {cursor.statement} has counted"
            yield Finding(mac, link.month, Check.STATEMENT, name, message)
    elif cursor.sequence > last.get(cursor.chain_id, -1):
        archived = last.get(cursor.chain_id)
        ends = "none of the chain is archived" if archived is None else f"the archive ends at #{archived}"
        message = f"statement {cursor.statement} counts the chain up to here, and {ends}"
        yield Finding(mac, month, Check.TAIL, name, message)


def _chain(mac: str, link: Link, message: str) -> Finding:
    return Finding(mac, link.month, Check.CHAIN, link.row_name, message)

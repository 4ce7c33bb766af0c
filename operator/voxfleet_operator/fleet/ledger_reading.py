"""Reads one machine's signed rows: what is new of its current chain, and then what older chains still have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog

from voxfleet_api.machine_messages import Capability
from voxfleet_operator.fleet.agent_client import LEDGER_PAGE_ROWS, AgentClient
from voxfleet_operator.fleet.ledger_book import damaged
from voxfleet_operator.fleet.mac_record import MacRecord
from voxfleet_operator.fleet.older_chains import OlderChain, left_to_read
from voxfleet_operator.fleet.row_room import RowRoom
from voxfleet_operator.fleet.session_context import SessionContext

log = structlog.get_logger()


class LedgerReading:
    """Of one record, for as long as that lives. `changed` hears of the shards of which something became known."""

    def __init__(self, record: MacRecord, context: SessionContext, changed: Callable[[set[str]], None]) -> None:
        self._record = record
        self._context = context
        self._changed = changed
        self._room = RowRoom()
        self._older: list[OlderChain] | None = None
        """Those with rows to read, in this conversation; None: its agent was not asked yet."""
        self._name = record.view.name
        self._log = log.bind(mac=self._name)

    @property
    def has_room(self) -> bool:
        return self._room_left > 0

    @property
    def _room_left(self) -> int:
        return self._room.left(len(self._record.book.rows))

    def conversation_begins(self) -> None:
        self._older = None

    async def read_new(self, client: AgentClient) -> None:
        """Reads all signed rows after the newest verified one: an attempt that waits for others names none."""
        error = self._record.view.ledger_error
        if await self.read(client):
            self._changed(self._record.rows_exhausted())
        found = self._record.view.ledger_error
        if found != error:
            if found is not None:
                self._log.error("ledger_refused", error=found)
            self._context.on_change(self._name, frozenset())

    async def read(self, client: AgentClient) -> bool:
        """Returns whether all are read that there are; False if there is no room for more.

        May run beside the events, which deliver rows, too: a page that they were faster than is asked for again.
        """
        record = self._record
        book = record.book
        while book.error is None:
            head, room = book.head, self._room_left
            if not room:
                record.rows_are_left()
                return False
            page = await client.ledger(book.last_sequence, limit=min(room, LEDGER_PAGE_ROWS))
            if book.head != head:
                continue
            checked = await asyncio.to_thread(book.check, page.rows, head)
            self._changed(record.rows_checked(checked))
            if page.damaged_sequence is not None and book.error is None:
                book.refuse_damaged(page.chain_id, page.damaged_sequence)
            if not page.rows:
                break
        return True

    async def read_on(self, client: AgentClient) -> None:
        """Goes on with the rows for which there was no room, if there is some by now. To be called at each renewal."""
        self._room.renewed(len(self._record.book.rows), settles=self._context.settles())
        if self._record.view.rows_left:
            await self.read_new(client)

    async def read_older(self, client: AgentClient, ledger_keys: Iterable[str]) -> None:
        """One page of what the Mac signed before its current chain, if it is not settled: renewals come first."""
        record, machine = self._record, self._record.view.machine
        if machine is None or Capability.LEDGER_CHAINS not in machine.capabilities:
            return
        if self._older is None:
            listed = await client.ledger_chains()
            current, stored = machine.ledger_chain_id, self._context.stored_head
            self._older = left_to_read(listed.chains, current, ledger_keys, stored)
        if not self._older or not self.has_room:
            return
        chain, limit = self._older.pop(0), min(self._room_left, LEDGER_PAGE_ROWS)
        page = await client.ledger(chain.after.sequence, chain_id=chain.chain_id, limit=limit)
        checked = await asyncio.to_thread(record.book.check, page.rows, chain.after, chain)
        if checked.error is None and page.damaged_sequence is not None:
            checked = replace(checked, error=damaged(chain.chain_id, page.damaged_sequence))
        self._changed(record.older_rows_checked(checked))
        if checked.error is not None:
            self._log.error("older_chain_refused", chain_id=chain.chain_id, error=checked.error)
            self._context.on_change(self._name, frozenset())
        elif page.rows and checked.head is not None:
            self._older.insert(0, replace(chain, after=checked.head))

"""What all statements in the cache say together: how far each chain is settled, when each Mac was settled, and
what each namespace has used lately."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from voxfleet_api.kinds import MacAgent, MachineHourStatement
from voxfleet_api.kinds.audio_shard import AttemptRecord
from voxfleet_api.ledger import ChainHead
from voxfleet_billing.budget_use import Payer
from voxfleet_operator.cache import Cache
from voxfleet_operator.metering.endpoint_usage import EndpointSum, endpoint_sums
from voxfleet_operator.metering.month_use import counted_milliseconds
from voxfleet_operator.metering.recent_use import counted_use_seconds, decay
from voxfleet_operator.metering.statements import SignedChain, newest_heads


class StoredStatements:
    """Reads the cache anew after a statement has changed, which each Mac's does once an hour."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._seen_changes = -1
        self._heads: Mapping[SignedChain, ChainHead] = {}
        self._written_at: Mapping[str, tuple[str, ...]] = {}
        self._use: tuple[datetime, Mapping[str, float]] | None = None
        self._of_month: tuple[str, Mapping[Payer, int]] | None = None
        self._endpoints: Mapping[str, EndpointSum] | None = None

    def head(self, ledger_key: str, chain_id: str) -> ChainHead | None:
        """The newest row of the chain that a statement counts, under whatever name the Mac had then."""
        self._read()
        return self._heads.get((ledger_key, chain_id))

    def counts(self, record: AttemptRecord, *, synced: bool) -> bool:
        """Whether a statement counts all rows of an attempt that is settled.

        Also if no MacAgent stands for the machine: there is no session, and nothing will be settled. Asks the cache
        alone, which `synced` says knows every Mac: what a new leader's fleet does not know yet says nothing.
        """
        if record.usage is None or record.usage.rows == 0:
            return True
        if record.machine is not None:
            key = record.machine.ledger_key
        elif (mac := self._cache.get(MacAgent, "", record.mac)) is not None:
            key = mac.spec.ledger_public_key
        else:
            return synced
        head = self.head(key, record.usage.chain_id)
        if head is not None and head.sequence >= record.usage.last_sequence:
            return True
        return synced and all(mac.spec.ledger_public_key != key for mac in self._cache.all(MacAgent))

    def written_at(self, mac: str) -> tuple[str, ...]:
        """When rows were last added to each statement of this name."""
        self._read()
        return self._written_at.get(mac, ())

    @property
    def heads(self) -> Mapping[SignedChain, ChainHead]:
        """The newest row of each chain that a statement counts."""
        self._read()
        return self._heads

    def use_seconds(self, now: datetime) -> Mapping[str, float]:
        """The recent machine time of each namespace, as far as statements count it."""
        self._read()
        if self._use is None:
            self._use = now, counted_use_seconds(self._cache.all(MachineHourStatement), now)
        then, used = self._use
        left = decay((now - then).total_seconds())
        return {namespace: seconds * left for namespace, seconds in used.items()}

    def milliseconds_of(self, month: str) -> Mapping[Payer, int]:
        """The machine time that statements count of the month, by payer."""
        self._read()
        if self._of_month is None or self._of_month[0] != month:
            self._of_month = month, counted_milliseconds(self._cache.all(MachineHourStatement), month)
        return self._of_month[1]

    def endpoint(self, uid: str) -> EndpointSum | None:
        """What statements count of a VoiceEndpoint's lanes; None: nothing."""
        self._read()
        if self._endpoints is None:
            self._endpoints = endpoint_sums(self._cache.all(MachineHourStatement))
        return self._endpoints.get(uid)

    def _read(self) -> None:
        changes = self._cache.changes(MachineHourStatement)
        if changes == self._seen_changes:
            return
        statements = self._cache.all(MachineHourStatement)
        self._seen_changes, self._heads = changes, newest_heads(statements)
        written_at: dict[str, tuple[str, ...]] = {}
        for item in statements:
            if item.status.updated_at:
                written_at[item.spec.mac] = (*written_at.get(item.spec.mac, ()), item.status.updated_at)
        self._written_at = written_at
        self._use = self._of_month = self._endpoints = None

"""Writes estimates of attempts whose Macs are gone into the archive, then into statements, and takes them back when
signed rows come after all.

Consistency: an attempt's estimate lies in the index of the month in which it was made, which its shard names, so it is
there once however often it is written. It goes before the rows that replace it are archived; whoever dies between the
two finds the same rows again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MachineHourStatement
from voxfleet_billing.archive_format import MonthIndex, SettlementRecord
from voxfleet_billing.archive_reader import KnownIndex
from voxfleet_operator.fleet.verified_row import NO_MONTH
from voxfleet_operator.metering.statements import statement_name
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.archived_estimates import ArchivedEstimates
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.statement.archive_calls import ArchiveCalls
from voxfleet_operator.reconcile.statement.archiving import month_of
from voxfleet_operator.reconcile.statement.decide import SettledRun
from voxfleet_operator.reconcile.statement.estimates import (
    adding,
    classed,
    correcting,
    estimated_macs,
    estimates_of,
    lacks,
    months_between,
    removing,
    replaced_by,
    says_estimates,
)
from voxfleet_operator.reconcile.statement.final import is_final
from voxfleet_operator.reconcile.statement.restore import MONTHS
from voxfleet_operator.reconcile.statement.status import with_estimates_of
from voxfleet_operator.reconcile.status_writer import write_status

Create = Callable[[str, str, int], Awaitable[MachineHourStatement | None]]
"""Creates a part of a Mac's month; None if it existed and the cache lacked it."""

log = structlog.get_logger(__name__)


class EstimateSettlement:
    """All raise ArchiveError and ArchiveBusy."""

    def __init__(self, context: Context, archive: ArchiveCalls, archived: ArchivedEstimates, create: Create) -> None:
        self._context = context
        self._archive = archive
        self._archived = archived
        self._create = create
        self._shards = context.cache.index(AudioShard, estimated_macs)

    async def settle(self, mac: str) -> bool:
        """Archives what the Mac's shards estimate. False if it has to be done again."""
        seen: set[AttemptKey] = set()
        for month, wanted in sorted(self._wanted(mac).items()):
            known = await self._archive.newest(mac, month)
            if known is None or (lacks(known.index, wanted) and not known.index.final):
                self._context.leader.check()
                known = await self._archive.revise(mac, month, adding(wanted))
            if not await self._say(mac, month, known):
                # Its own key goes on: the shards, which name what is wanted, may be gone by then.
                self._context.queue.add(Key(MachineHourStatement.crd.kind, "", statement_name(mac, month)))
                return False
            if lacks(known.index, wanted):
                log.error("estimates came after their month was final", mac=mac, month=month, attempts=len(wanted))
            seen |= wanted.keys()
        self._archived.seen(mac, seen)
        return True

    async def tell(self, statement: MachineHourStatement) -> bool:
        """Makes a statement say what the archive estimates, also after a process has died between the two. False if it
        has to be done again.
        """
        mac, month = statement.spec.mac, statement.spec.month
        if statement.metadata.name != statement_name(mac, month):
            return True  # a further part
        known = await self._archive.newest(mac, month)
        return known is None or await self._say(mac, month, known)

    def waits(self, mac: str, index: MonthIndex) -> bool:
        """Whether the month has estimates that are not archived yet."""
        return lacks(index, self._wanted(mac).get(index.month, {}))

    def macs(self) -> set[str]:
        """Those with estimates in their shards: nobody else wakes a Mac that is gone."""
        return {mac for shard in self._context.cache.all(AudioShard) for mac in estimated_macs(shard)}

    async def replace(self, mac: str, run: SettledRun) -> SettledRun | None:
        """Takes back estimates of attempts that the run has rows of. Returns it with their class; None: to be done
        again.
        """
        context, now = self._context, month_of(self._context.now())
        first = now if run.month == NO_MONTH else run.month
        for month in months_between(first, now, MONTHS):
            known = await self._archive.newest(mac, month)
            found = {} if known is None else replaced_by(known.index, run)
            if known is None or not found:
                continue
            context.leader.check()
            if known.index.final:
                said, revised = now, await self._archive.revise(mac, now, correcting(month, found))
            else:
                said, revised = month, await self._archive.revise(mac, month, removing(found))
            log.info("estimates replaced by signed rows", mac=mac, month=month, attempts=len(found))
            if not await self._say(mac, said, revised):
                return None
            run = classed(run, found)
        return run

    def _wanted(self, mac: str) -> dict[str, dict[AttemptKey, SettlementRecord]]:
        by_month: dict[str, dict[AttemptKey, SettlementRecord]] = {}
        for shard in self._shards.of(mac):
            job = self._context.cache.by_uid(AudioBatchJob, shard.spec.job_ref.uid)
            for month, found in estimates_of(shard, job, mac, self._context.timestamp()).items():
                by_month.setdefault(month, {}).update(found)
        return by_month

    async def _say(self, mac: str, month: str, known: KnownIndex) -> bool:
        """The first statement of the month says what its index says."""
        statement = self._context.cache.get(MachineHourStatement, "", statement_name(mac, month))
        if statement is None:
            statement = await self._create(mac, month, 1)
        if statement is None:
            return False
        if is_final(statement) or says_estimates(statement.status, known.index):
            return True
        status = with_estimates_of(statement, known, self._context.timestamp())
        return await write_status(self._context, statement, status) is not None

"""Settles a Mac's verified rows: gather what is settled, decide whether it is time, then run by run archive and count.

Consistency: a run is in the archive before a statement counts it. A write moves cursor and totals at once and only on
the version that was decided on, so a row counts once whatever dies in between. Where the archive has more of a month
than its statement counts, the statement takes the archive's word: after a process died between the two, and after etcd
was lost. The runs of a chain are written in order, and the first that fails ends the pass.
"""

from __future__ import annotations

import structlog

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, Reason
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, MachineHourStatement
from voxfleet_api.kinds.machine_hour_statement import MAX_CHAINS
from voxfleet_billing.archive_access import ArchiveError, ObjectDamaged, ObjectMissing
from voxfleet_billing.archive_reader import KnownIndex
from voxfleet_billing.archive_writer import with_rows
from voxfleet_operator.kube_errors import AlreadyExists
from voxfleet_operator.ledger_archive import ArchiveBusy
from voxfleet_operator.metering.statements import statement_name
from voxfleet_operator.queue import RESTORE, Key
from voxfleet_operator.reconcile.archived_estimates import ArchivedEstimates
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.mac_closing import closing
from voxfleet_operator.reconcile.statement.archive_calls import ArchiveCalls
from voxfleet_operator.reconcile.statement.archived_chains import ArchivedChains
from voxfleet_operator.reconcile.statement.archiving import (
    addition,
    finished,
    month_of,
    tells_facts,
    with_facts,
    without_mac,
)
from voxfleet_operator.reconcile.statement.decide import SettledRun, is_due, settled_runs
from voxfleet_operator.reconcile.statement.estimate_settlement import EstimateSettlement
from voxfleet_operator.reconcile.statement.final import LOOK_AGAIN_SECONDS, Finality, finality, is_final
from voxfleet_operator.reconcile.statement.restore import Restore, behind, parts
from voxfleet_operator.reconcile.statement.status import NO_ARCHIVE, from_archive, takes, with_condition, with_run
from voxfleet_operator.reconcile.status_writer import observe, write_status
from voxfleet_operator.reconcile.stored_statements import StoredStatements

POLL_SECONDS = 60.0
BUSY_SECONDS = 2.0

log = structlog.get_logger(__name__)


class StatementReconciler:
    """Its keys name Macs: a statement comes to be only when there is something to write. A statement's own key asks
    whether it is final.
    """

    def __init__(self, context: Context, archived_estimates: ArchivedEstimates) -> None:
        self._context = context
        self._stored = StoredStatements(context.cache)
        archive = context.archive
        self._archive = None if archive is None else ArchiveCalls(archive, context.options.control_plane)
        self._estimates = (
            None
            if self._archive is None
            else EstimateSettlement(context, self._archive, archived_estimates, self._create)
        )
        self._chains = ArchivedChains()
        self._told_of_no_archive = False
        self._restore = None if self._archive is None else Restore(context, self._archive, self._take_up)

    async def reconcile(self, key: Key) -> float | None:
        if not self._context.synced():
            known = key == RESTORE or self._context.cache.get(MacAgent, "", key.name) is not None
            return POLL_SECONDS if known else None
        try:
            if key == RESTORE:
                return await self._step_of_restore()
            waits = (await self._settle(key.name), await self._finish(key.name))
        except ArchiveBusy:
            return BUSY_SECONDS
        except (ObjectDamaged, ObjectMissing) as error:  # of this Mac alone, until somebody restores it from a copy
            log.error("an object of the ledger archive cannot be used", key=key.name, error=str(error))
            await self._tell(key.name, str(error))
            return LOOK_AGAIN_SECONDS
        except ArchiveError as error:
            await self._tell(key.name, str(error))
            return POLL_SECONDS if self._archive is None else self._archive.again_seconds
        return min((seconds for seconds in waits if seconds is not None), default=None)

    async def _step_of_restore(self) -> float | None:
        if self._restore is None or self._estimates is None:
            return None
        if self._restore.is_done:
            await self._restore.look_again()
        elif not await self._restore.step():
            return 0.0
        else:
            for mac in self._estimates.macs():
                self._context.queue.add(Key(MachineHourStatement.crd.kind, "", mac))
        return LOOK_AGAIN_SECONDS if self._restore.unread else None

    # A Mac's rows.

    async def _settle(self, name: str) -> float | None:
        context = self._context
        mac = context.cache.get(MacAgent, "", name)
        again_seconds = None if mac is None else POLL_SECONDS
        if self._archive is not None:
            await self._note_facts(name, mac)
            if self._restore is not None and not self._restore.is_done:
                # Else rows that were archived under a former name of this Mac would be archived again.
                return BUSY_SECONDS
        if self._estimates is not None and not await self._estimates.settle(name):
            return 0.0
        view = context.fleet.view(name)
        if view.identity is None or (mac is not None and view.identity.ledger_key != mac.spec.ledger_public_key):
            return again_seconds  # its rows are of the machine that the MacAgent stood for before it was edited
        keys = {row.chain_id: row.ledger_key or view.identity.ledger_key for row in view.rows}
        runs = settled_runs(view, self._shard, lambda chain_id: self._cursor(keys[chain_id], chain_id))
        now = context.now()
        # At once for a Mac that goes, or whose MacAgent was deleted: nobody asks again.
        stays = mac is not None and not closing(mac, now).renewal(now).takes_nothing
        times = (mac.metadata.creation_timestamp, *self._stored.written_at(name)) if mac and stays else ()
        if is_due(runs, times, now):
            for run in runs:
                if not await self._write(name, keys[run.chain_id], run):
                    return 0.0
            log.info("rows settled", mac=name, rows=sum(len(run.rows) for run in runs))
        return again_seconds

    def _shard(self, uid: str) -> AudioShard | None:
        """None if its job is gone, too: nobody records any more how the attempts of such a shard end."""
        cache = self._context.cache
        shard = cache.by_uid(AudioShard, uid)
        return None if shard is None or cache.by_uid(AudioBatchJob, shard.spec.job_ref.uid) is None else shard

    def _cursor(self, ledger_key: str, chain_id: str) -> int:
        head = self._stored.head(ledger_key, chain_id)
        return -1 if head is None else head.sequence

    async def _note_facts(self, name: str, mac: MacAgent | None) -> None:
        """In the index of this month: bills need it when the MacAgent is long gone."""
        archive, now = self._archive, self._context.now()
        if archive is None:
            return
        month = month_of(now)
        known = await archive.newest(name, month)
        if mac is None:
            if known is not None and known.index.facts and known.index.facts[-1].until is None:
                await archive.revise(name, month, without_mac(self._context.timestamp()))
        elif known is None or not (known.index.final or tells_facts(known.index, mac)):
            await archive.revise(name, month, with_facts(mac, self._context.timestamp()))

    async def _write(self, mac: str, ledger_key: str, run: SettledRun) -> bool:
        """False if the pass has to run again; also if another process has settled rows of the run meanwhile."""
        context = self._context
        known = run if self._estimates is None else await self._estimates.replace(mac, run)
        if known is None:
            return False
        run = known
        month, archived = await self._archived(mac, ledger_key, run)
        if month is None:
            return False
        statement = await self._statement(mac, month, run.chain_id, ledger_key)
        if statement is None or self._cursor(ledger_key, run.chain_id) >= run.rows[0].row.sequence:
            return False
        status = with_run(statement, run, ledger_key, context.timestamp(), archived)
        return await write_status(context, statement, status) is not None

    async def _archived(self, mac: str, ledger_key: str, run: SettledRun) -> tuple[str | None, KnownIndex | None]:
        """The month in which the run counts, and the index that names it. No month: to be decided anew."""
        context, archive = self._context, self._archive
        if archive is None:
            self._say_that_there_is_none()
            return run.month, None
        month = run.month
        known = await archive.newest(mac, month)
        if known is not None and known.index.final:
            month = month_of(context.now())
            known = await archive.newest(mac, month)
        if known is not None and known.index.final:
            return run.month, known  # of a clock that was ahead; it is not final for long
        if known is not None and behind(known.index, self._parts(mac, month)):
            await self._take_up(mac, month, known)
            return None, None
        if await self._is_archived_elsewhere(mac, ledger_key, run, archive):
            return None, None
        context.leader.check()
        before = known.index.head(run.chain_id, ledger_key) if known is not None else None
        with self._chains.archiving(ledger_key, run.chain_id, mac, month):
            revised = await archive.revise(mac, month, with_rows(addition(run, ledger_key, context.timestamp())))
        after = revised.index.head(run.chain_id, ledger_key)
        last = run.rows[-1].row.sequence
        if (
            after is None
            or after.sequence != last
            or (before is not None and before.sequence >= run.rows[0].row.sequence)
        ):
            return None, None  # another leader has archived other rows meanwhile: its word counts
        return month, revised

    async def _is_archived_elsewhere(self, mac: str, ledger_key: str, run: SettledRun, archive: ArchiveCalls) -> bool:
        """Whether rows of the run are in the month of another Mac, as which this machine was known."""
        elsewhere = self._chains.elsewhere(ledger_key, run.chain_id, mac)
        known = None if elsewhere is None else await archive.reread(*elsewhere)
        head = None if known is None else known.index.head(run.chain_id, ledger_key)
        if elsewhere is None or known is None or head is None or head.sequence < run.rows[0].row.sequence:
            return False
        if behind(known.index, self._parts(*elsewhere)):
            await self._take_up(*elsewhere, known)
        return True

    def _say_that_there_is_none(self) -> None:
        if not self._told_of_no_archive:
            self._told_of_no_archive = True
            log.warning("statements are never final", reason=NO_ARCHIVE)

    def _parts(self, mac: str, month: str) -> tuple[MachineHourStatement, ...]:
        return parts(self._context.cache, mac, month)

    async def _take_up(self, mac: str, month: str, known: KnownIndex) -> bool:
        """Makes the statements of the month say what the archive says. False if that has to be done again."""
        archive, context = self._archive, self._context
        if archive is None:
            return False
        found = await archive.read(known)
        left = {head.chain_id: head for head in found.index.heads}
        part = 1
        while left or part == 1:
            statement = context.cache.get(MachineHourStatement, "", statement_name(mac, month, part))
            if statement is None:
                statement = await self._create(mac, month, part)
            if statement is None:
                return False
            own = [cursor.chain_id for cursor in statement.status.cursors if cursor.chain_id in left]
            for chain_id, head in left.items():
                if chain_id not in own and len(own) < MAX_CHAINS and takes(statement, chain_id, head.ledger_key):
                    own.append(chain_id)
            chosen = frozenset(own)
            rows = [row for chain_id, row in found.rows if chain_id in chosen]
            status = from_archive(statement, known, rows, chosen, context.timestamp())
            if await write_status(context, statement, status) is None:
                return False
            log.info("statement taken from the archive", mac=mac, month=month, part=part, rows=len(rows))
            left = {chain_id: head for chain_id, head in left.items() if chain_id not in chosen}
            part += 1
        return True

    # Statements.

    async def _statement(self, mac: str, month: str, chain_id: str, ledger_key: str) -> MachineHourStatement | None:
        """The first part of the month's statement that takes the chain, created if all others are full.

        None if one existed that the cache lacked.
        """
        part, get = 1, self._context.cache.get
        while (found := get(MachineHourStatement, "", statement_name(mac, month, part))) is not None:
            if takes(found, chain_id, ledger_key):
                return found
            part += 1
        return await self._create(mac, month, part)

    async def _create(self, mac: str, month: str, part: int) -> MachineHourStatement | None:
        """None if a statement existed that the cache lacked: its cursor has to be seen first."""
        context, name = self._context, statement_name(mac, month, part)
        context.leader.check()
        body = {
            "apiVersion": API_VERSION,
            "kind": MachineHourStatement.crd.kind,
            "metadata": {"name": name},
            "spec": {"mac": mac, "month": month},
        }
        try:
            created = MachineHourStatement.load(await context.api.create(body))
        except AlreadyExists:
            found = await context.api.get(MachineHourStatement, "", name)
            if found is not None:
                observe(context, found)
            return None
        observe(context, created)
        return created

    # The end of a month.

    async def _finish(self, name: str) -> float | None:
        context, archive = self._context, self._archive
        statement = context.cache.get(MachineHourStatement, "", name)
        if statement is None or is_final(statement):
            return None
        if archive is None:
            status = with_condition(
                statement, ConditionType.ARCHIVED, False, Reason.NO_ARCHIVE, NO_ARCHIVE, context.timestamp()
            )
            await write_status(context, statement, status)
            return None
        if self._estimates is not None and not await self._estimates.tell(statement):
            return 0.0
        statement = context.cache.get(MachineHourStatement, "", name)
        if statement is None:
            return None
        found = self._finality(statement)
        if found.is_final:
            return await self._make_final(statement, archive)
        status = with_condition(statement, ConditionType.FINAL, False, found.reason, found.message, context.timestamp())
        await write_status(context, statement, status)
        return found.again_seconds

    def _finality(self, statement: MachineHourStatement) -> Finality:
        context, name = self._context, statement.spec.mac
        mac, view = context.cache.get(MacAgent, "", name), context.fleet.view(name)
        own_key = "" if view.identity is None else view.identity.ledger_key
        keys = {row.chain_id: row.ledger_key or own_key for row in view.rows}
        return finality(
            statement.spec.month,
            mac,
            view,
            lambda chain_id: self._cursor(keys.get(chain_id, own_key), chain_id),
            context.now(),
        )

    async def _make_final(self, statement: MachineHourStatement, archive: ArchiveCalls) -> float | None:
        """First the archive says so, then the statement, which says what the archive says."""
        context, spec = self._context, statement.spec
        known = await archive.newest(spec.mac, spec.month)
        if known is None or (statement.status.cursors and not known.index.heads):
            message = "its rows were counted before there was an archive"
            status = with_condition(
                statement, ConditionType.ARCHIVED, False, Reason.NO_ARCHIVE, message, context.timestamp()
            )
            await write_status(context, statement, status)
            return None
        if self._estimates is not None and self._estimates.waits(spec.mac, known.index):
            return LOOK_AGAIN_SECONDS
        context.leader.check()
        known = await archive.revise(spec.mac, spec.month, finished)
        if behind(known.index, self._parts(spec.mac, spec.month)) and not await self._take_up(
            spec.mac, spec.month, known
        ):
            return 0.0
        current = context.cache.get(MachineHourStatement, "", statement.metadata.name)
        if current is None:
            return 0.0
        status = with_condition(current, ConditionType.FINAL, True, Reason.FINAL, "", context.timestamp())
        written = await write_status(context, current, status)
        return None if written is not None else 0.0

    async def _tell(self, name: str, message: str) -> None:
        """The statements of a Mac, or one of them, say that the archive does not answer."""
        context = self._context
        found = self._parts(name, month_of(context.now()))
        statement = context.cache.get(MachineHourStatement, "", name)
        for item in found if statement is None else (*found, statement):
            if is_final(item):
                continue
            status = with_condition(
                item, ConditionType.ARCHIVED, False, Reason.ARCHIVE_UNAVAILABLE, message, context.timestamp()
            )
            await write_status(context, item, status)

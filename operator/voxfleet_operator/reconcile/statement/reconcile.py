"""Settles a Mac's verified rows: gather what is settled, decide whether it is time, write run by run.

Consistency: a write moves cursor and totals at once and only on the version that was decided on, so a row counts once
whatever dies in between. The runs of a chain are written in order, and the first that fails ends the pass.
"""

from __future__ import annotations

import structlog

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, MachineHourStatement
from voxfleet_operator.kube import AlreadyExists
from voxfleet_operator.metering.statements import statement_name
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.statement.decide import SettledRun, is_due, settled_runs
from voxfleet_operator.reconcile.statement.status import takes, with_run
from voxfleet_operator.reconcile.status_writer import observe, write_status
from voxfleet_operator.reconcile.stored_statements import StoredStatements

POLL_SECONDS = 60.0

log = structlog.get_logger(__name__)


class StatementReconciler:
    """Its keys name Macs: a statement comes to be only when there is something to write."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stored = StoredStatements(context.cache)

    async def reconcile(self, key: Key) -> float | None:
        context = self._context
        mac = context.cache.get(MacAgent, "", key.name)
        again_seconds = None if mac is None else POLL_SECONDS
        if not context.synced():
            return again_seconds
        view = context.fleet.view(key.name)
        if view.identity is None or (mac is not None and view.identity.ledger_key != mac.spec.ledger_public_key):
            return again_seconds  # its rows are of the machine that the MacAgent stood for before it was edited
        ledger_key = view.identity.ledger_key
        runs = settled_runs(
            view,
            self._shard,
            lambda chain_id: self._cursor(ledger_key, chain_id),
        )
        times = () if mac is None else (mac.metadata.creation_timestamp, *self._stored.written_at(key.name))
        if is_due(runs, times, context.now()):  # at once for a MacAgent that was deleted: nobody asks again
            for run in runs:
                if not await self._write(key.name, ledger_key, run):
                    return 0.0
            log.info("rows settled", mac=key.name, rows=sum(len(run.rows) for run in runs))
        return again_seconds

    def _shard(self, uid: str) -> AudioShard | None:
        """None if its job is gone, too: nobody records any more how the attempts of such a shard end."""
        cache = self._context.cache
        shard = cache.by_uid(AudioShard, uid)
        return None if shard is None or cache.by_uid(AudioBatchJob, shard.spec.job_ref.uid) is None else shard

    def _cursor(self, ledger_key: str, chain_id: str) -> int:
        head = self._stored.head(ledger_key, chain_id)
        return -1 if head is None else head.sequence

    async def _write(self, mac: str, ledger_key: str, run: SettledRun) -> bool:
        """False if the pass has to run again; also if another process has settled rows of the run meanwhile."""
        context = self._context
        statement = await self._statement(mac, ledger_key, run)
        if statement is None or self._cursor(ledger_key, run.chain_id) >= run.rows[0].row.sequence:
            return False
        status = with_run(statement, run, ledger_key, context.timestamp())
        return await write_status(context, statement, status) is not None

    async def _statement(self, mac: str, ledger_key: str, run: SettledRun) -> MachineHourStatement | None:
        """The first part of the month's statement that takes the chain, created if all others are full.

        None if one existed that the cache lacked.
        """
        part, get = 1, self._context.cache.get
        while (found := get(MachineHourStatement, "", statement_name(mac, run.month, part))) is not None:
            if takes(found, run, ledger_key):
                return found
            part += 1
        return await self._create(mac, run.month, part)

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

"""Closes nights, one after the other: gather what is still expected, decide, then write manifest and CSV.

The manifest decides what the CSV says, and is created once. Whoever leads when it lies there without its CSV writes
that, so a process may die between the two. All reading and writing is done where the archive's calls are, one Mac at a
time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

import structlog

from voxfleet_api.kinds import AudioShard
from voxfleet_api.quantities import hours_text
from voxfleet_billing.archive_access import ArchiveError, ArchiveStore, ObjectDamaged, ObjectMissing
from voxfleet_billing.instants import moment_of, text_of
from voxfleet_billing.nightly.night_archive import (
    StoredNight,
    add_source,
    create_night,
    differing,
    newest_night,
    read_source,
)
from voxfleet_billing.nightly.night_csv import NightCsv, NightFrame
from voxfleet_billing.nightly.nightly_format import (
    MAX_AWAITED,
    Closed,
    EarlierNight,
    NightFile,
    NightManifest,
    NightSource,
    nothing_new,
    path_of,
)
from voxfleet_billing.nights import NightClock
from voxfleet_operator.cache import Cache
from voxfleet_operator.event_reasons import Announced, EventReason
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.leader import NotLeader
from voxfleet_operator.ledger_archive import ArchiveBusy, LedgerArchive
from voxfleet_operator.metrics import NightlyMetrics
from voxfleet_operator.nightly.awaited import awaited_macs
from voxfleet_operator.nightly.decide import (
    closing_reason,
    is_told,
    months_of,
    next_night,
    open_sources,
    overdue_seconds,
)
from voxfleet_operator.reconcile.stored_statements import StoredStatements
from voxfleet_shared import crash_points

POLL_SECONDS = 60.0
BUSY_SECONDS = 1.0
BUSY_TRIES = 120

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Leadership(Protocol):
    @property
    def lease(self) -> Mapping[str, str]: ...

    def check(self) -> None:
        """Raises NotLeader."""
        ...


class Publish(Protocol):
    def __call__(self, about: Mapping[str, str], reason: Announced, note: str) -> None: ...


@dataclass(frozen=True, slots=True)
class NightlyEnvironment:
    archive: LedgerArchive
    cache: Cache
    views: Callable[[], Iterable[MacView]]
    leader: Leadership
    night_clock: Callable[[], NightClock | None]
    """None while it is unknown."""
    publish: Publish
    """Its events regard the Lease: a night is no object of the API server."""
    synced: Callable[[], bool]
    now: Callable[[], datetime]
    metrics: NightlyMetrics
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class NightlyWriter:
    def __init__(self, environment: NightlyEnvironment) -> None:
        self._environment = environment
        self._stored = StoredStatements(environment.cache)
        self._has_looked = False
        self._last: StoredNight | None = None
        self._told: str | None = None

    async def run(self) -> None:
        while True:
            await self._environment.sleep(await self.step())

    async def step(self) -> float:
        """Closes a night if one is due. Returns after how many seconds to look again."""
        try:
            return await self._step()
        except (ArchiveBusy, NotLeader):
            return POLL_SECONDS
        except ArchiveError as error:
            self._failed(str(error))
            return max(POLL_SECONDS, self._environment.archive.again_seconds)

    async def _step(self) -> float:
        environment = self._environment
        clock = environment.night_clock()
        if clock is None or not environment.synced():
            return POLL_SECONDS
        if not self._has_looked:
            self._last = await self._ask(newest_night)
            self._has_looked = True
        if self._last is not None and self._last.missing:
            environment.metrics.overdue(overdue_seconds(NightFrame.of(self._last.manifest), environment.now()))
            await self._write_files(self._last)
        previous = None if self._last is None else self._last.manifest
        frame = next_night(previous, clock, environment.now())
        environment.metrics.overdue(overdue_seconds(frame, environment.now()))
        if frame is None:
            return POLL_SECONDS
        awaited = self._awaited(frame)
        reason = closing_reason(frame, awaited, environment.now())
        if reason is None:
            return POLL_SECONDS
        await self._close(frame, reason, awaited, self._last)
        return BUSY_SECONDS

    def _awaited(self, frame: NightFrame) -> tuple[str, ...]:
        return awaited_macs(
            self._environment.cache.all(AudioShard),
            self._environment.views(),
            lambda record: self._stored.counts(record, synced=True),
            self._is_counted,
            moment_of(frame.end),
        )

    def _is_counted(self, view: MacView, row: VerifiedRow) -> bool:
        key = row.ledger_key or ("" if view.identity is None else view.identity.ledger_key)
        head = self._stored.head(key, row.chain_id)
        return head is not None and head.sequence >= row.sequence

    async def _close(
        self, frame: NightFrame, reason: Closed, awaited: tuple[str, ...], last: StoredNight | None
    ) -> None:
        files: list[NightFile] = []
        csv = NightCsv(frame, lambda _, file, __: files.append(file))
        previous = None if last is None else last.manifest
        sources = await self._sources(csv, frame, previous)
        await self._ask(csv.end)
        manifest = NightManifest(
            night=frame.night,
            first=text_of(frame.start),
            until=text_of(frame.end),
            time_zone=frame.clock.zone.key,
            closes_at=f"{frame.clock.closes_at:%H:%M}",
            closed=reason,
            awaited=awaited[:MAX_AWAITED],
            previous=None if last is None else EarlierNight(night=last.manifest.night, sha256=last.sha256),
            sources=sources,
            files=tuple(files),
            rows=csv.rows,
            late_rows=csv.late_rows,
            machine_milliseconds=csv.machine_milliseconds,
        )
        self._environment.leader.check()
        self._last = await self._ask(partial(create_night, manifest=manifest))
        crash_points.point("night-closed")
        await self._write_files(self._last)

    async def _sources(
        self, csv: NightCsv, frame: NightFrame, previous: NightManifest | None
    ) -> tuple[NightSource, ...]:
        keys = set(open_sources(previous))
        for month in months_of(frame):
            keys |= {(mac, month) for mac in await self._ask(partial(_macs, month=month))}
        before = {source.key: source for source in (() if previous is None else previous.sources)}
        found: list[NightSource] = []
        for mac, month in sorted(keys):
            earlier = before.get((mac, month))
            if earlier is not None and is_told(earlier, frame):
                found.append(nothing_new(earlier))
                continue
            read = partial(read_source, mac=mac, month=month, csv=csv, before=earlier, is_first_night=previous is None)
            source = await self._ask(read)
            if source is not None:
                found.append(source)
        return tuple(found)

    async def _write_files(self, stored: StoredNight) -> None:
        """Those that are missing. What the archive cannot give any more is told, and holds up no later night."""
        manifest, environment = stored.manifest, self._environment
        problems = [source.problem for source in manifest.sources if source.problem is not None]

        def done(store: ArchiveStore, file: NightFile, content: bytes) -> None:
            problem = differing(file, manifest.files)
            if problem is not None:
                raise ObjectDamaged(f"{store.uri}/{path_of(problem)}")
            store.create(path_of(file.name), content)

        csv = NightCsv(NightFrame.of(manifest), done)
        environment.leader.check()
        try:
            for source in manifest.sources:
                if source.rows:
                    await self._ask(partial(add_source, source=source, csv=csv))
            await self._ask(csv.end)
        except (ObjectDamaged, ObjectMissing) as error:
            self._failed(f"CSV of night {manifest.night}: {error}")
            self._last = replace(stored, missing=())
            return
        self._last, self._told = replace(stored, missing=()), None
        environment.metrics.written()
        hours = hours_text(manifest.machine_milliseconds)
        note = f"night {manifest.night}: {manifest.rows} rows, {hours} machine-hours"
        if manifest.late_rows:
            note = f"{note}, {manifest.late_rows} rows of earlier nights"
        log.info("night closed", night=manifest.night, rows=manifest.rows, late=manifest.late_rows)
        environment.publish(
            environment.leader.lease, EventReason.NIGHT_CLOSED, f"{note}; it is {manifest.files[0].name}"
        )
        for problem in problems:
            self._failed(f"CSV of night {manifest.night} lacks rows: {problem}")

    async def _ask(self, work: Callable[[ArchiveStore], T]) -> T:
        """Raises ArchiveError, and ArchiveBusy."""
        for _ in range(BUSY_TRIES):
            try:
                return await self._environment.archive.call(work)
            except ArchiveBusy:
                await self._environment.sleep(BUSY_SECONDS)
        raise ArchiveBusy

    def _failed(self, problem: str) -> None:
        """Told once as long as it stays the same."""
        self._environment.metrics.failed()
        if problem != self._told:
            self._told = problem
            log.error("night not closed", error=problem)
            self._environment.publish(self._environment.leader.lease, EventReason.NIGHT_NOT_CLOSED, problem)


def _macs(store: ArchiveStore, month: str) -> list[str]:
    return store.names(month)

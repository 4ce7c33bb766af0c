"""Leadership by a coordination.k8s.io Lease: one process acts at a time, and it knows when it may no longer act.

A thread with its own event loop and connection renews the Lease, but only while the main loop runs. The holder gives
up `RENEW_DEADLINE_SECONDS` after the start of its last successful renewal. Others take over later, `LEASE_SECONDS`
after they last saw the record change, or after they found it deleted. So two processes never hold the Lease at once.

One window is left: a process that has never seen the Lease, or not the one that was made and deleted again between two
of its looks, cannot tell a cluster without one from a Lease that was deleted a moment ago. It takes it at once, and the
holder notices within `RETRY_SECONDS` and a request, at the latest `RENEW_DEADLINE_SECONDS` after its last renewal.
Until then both act; that each write is conditional has to do.

A Lease that is older than what was seen of it shows that the API server was restored from a backup. Holder and standby
then end: what they remember, and have cached, is newer than what exists.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import structlog

from voxfleet_operator.cache import version_number
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.events import event as make_event
from voxfleet_operator.events import write_event
from voxfleet_operator.heartbeat import Heartbeat
from voxfleet_operator.kube import Json, Kube
from voxfleet_operator.kube_errors import AlreadyExists, ApiUnavailable, Conflict, KubeError, NotFound

LEASE_NAME = "voxfleet-operator"
LEASE_SECONDS = 10
RENEW_DEADLINE_SECONDS = 8.0
RETRY_SECONDS = 2.0
REQUEST_SECONDS = 3.0
LOST_EXIT_CODE = 75

log = structlog.get_logger(__name__)


class NotLeader(Exception):
    """This process does not hold the Lease, so it must not act."""


@dataclass(frozen=True, slots=True)
class _Record:
    """A Lease as it was read. Comparing two shows whether the holder still writes."""

    uid: str
    resource_version: str
    holder: str
    transitions: int
    renewed_at: datetime | None
    """By its holder's clock."""


def machine_seconds() -> float:
    """A monotonic clock that also runs while the machine is suspended, as others may take over meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


def random_identity() -> str:
    return f"{socket.gethostname()}-{secrets.token_hex(8)}"


def exit_process(message: str) -> None:
    """Ends the process without cleanup, as another one may already be acting."""
    try:
        log.critical("the process ends, as it may not act any more", reason=message)
        sys.stderr.flush()
        sys.stdout.flush()
    finally:  # also if nobody reads its output any more
        os._exit(LOST_EXIT_CODE)


class Leader:
    """One candidate. Only the main loop may acquire, release and raise the epoch; any thread may read."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Kube]],
        namespace: str,
        heartbeat: Heartbeat,
        *,
        name: str = LEASE_NAME,
        identity: str | None = None,
        on_lost: Callable[[str], None] = exit_process,
        clock: Callable[[], float] = time.monotonic,
        machine_clock: Callable[[], float] = machine_seconds,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.identity = identity or random_identity()
        self._connect = connect
        self._namespace = namespace
        self._name = name
        self._heartbeat = heartbeat
        self._on_lost = on_lost
        self._clock = clock
        self._machine_clock = machine_clock
        self._now = now
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace)}/leases"
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._lock = asyncio.Lock()  # taken in the renewer's loop only
        self._acquired: Future[None] = Future()
        self._ended = False
        self._held_until = float("-inf")
        self._acquired_at_seconds = float("-inf")
        self._epoch = 0
        self._record: _Record | None = None
        self._record_seen = 0.0
        self._deleted_seen: float | None = None
        """Since when the Lease that was seen before is missing."""
        self._acquire_time = ""
        self._unled: tuple[datetime, datetime] | None = None

    @property
    def epoch(self) -> int:
        """The number of the Lease's transitions while this process holds it. Grows with each change of holder."""
        return self._epoch

    @property
    def lease(self) -> Mapping[str, str]:
        """The object that events about leadership refer to."""
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "namespace": self._namespace,
            "name": self._name,
        }

    @property
    def counts_from_seconds(self) -> float:
        """The time.monotonic() from which silence counts. Before it, the Lease was not held or the loop stood still."""
        return max(self._acquired_at_seconds, self._heartbeat.resumed_at_seconds)

    @property
    def unled(self) -> tuple[datetime, datetime] | None:
        """From when until when nobody led, before this process did; None if that is unknown."""
        return self._unled

    def holds(self) -> bool:
        """Whether this process may act now."""
        return self._machine_clock() < self._held_until and not self._heartbeat.stalled

    def check(self) -> None:
        """Raises NotLeader."""
        if not self.holds():
            raise NotLeader(f"{self.identity} does not hold the Lease {self._namespace}/{self._name}")

    async def acquire(self) -> None:
        """Returns once the Lease is held, and keeps renewing it. Raises what `connect` raises."""
        self._thread = threading.Thread(target=self._run_thread, name="leader", daemon=True)
        self._thread.start()
        await asyncio.wrap_future(self._acquired)

    async def raise_epoch(self, held: int) -> int:
        """Raises the epoch above one that an agent has seen, and returns it. Raises NotLeader, KubeError."""
        self.check()
        if self._loop is None:
            raise NotLeader("leadership was never asked for")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._raise(held), self._loop))

    async def release(self) -> None:
        """Stops renewing and frees the Lease, so that another process takes it at once."""
        self._held_until, self._ended = float("-inf"), True
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    # The renewer's thread.

    def _run_thread(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as error:
            # Whatever the error was, the Lease is no longer renewed.
            if self._epoch == 0 and not self._acquired.done():
                self._acquired.set_exception(error)
            elif not self._ended:
                log.exception("lease renewer failed")
                self._lose(f"the renewer failed: {error!r}")

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with await self._connect() as kube:
            self._kube = kube
            while not self._ended:
                await self._step()
                try:
                    async with asyncio.timeout(RETRY_SECONDS):
                        await self._stop.wait()
                except TimeoutError:
                    continue
            if self._epoch:
                await self._free()
            else:
                self._acquired.cancel()

    async def _step(self) -> None:
        try:
            async with self._lock:
                if self._epoch:
                    await self._renew()
                else:
                    await self._try_to_take()
        except (Conflict, AlreadyExists) as error:
            log.debug("lease changed meanwhile", error=str(error))
        except ApiUnavailable as error:
            log.warning("lease not renewed" if self._epoch else "lease not read", error=str(error))
        except KubeError as error:
            log.error("lease refused", namespace=self._namespace, lease=self._name, error=str(error))
        if self._epoch and not self._ended and self._machine_clock() >= self._held_until:
            self._lose(f"it could not be renewed for {RENEW_DEADLINE_SECONDS:g} s")

    async def _try_to_take(self) -> None:
        try:
            found = _record(await self._call("GET", self._name))
        except NotFound:
            await self._take_missing()
            return
        if self._is_restored(found):
            await self._resign_restored()
            return
        self._deleted_seen = None
        if self._record is None or found.resource_version != self._record.resource_version:
            self._record, self._record_seen = found, self._machine_clock()
        silent = self._machine_clock() - self._record_seen >= LEASE_SECONDS
        if not found.holder or silent:
            await self._hold(found, transitions=found.transitions + 1)

    async def _take_missing(self) -> None:
        """The holder of a Lease that was deleted acts until it notices, and under its epoch nobody else may."""
        if self._record is None:
            await self._hold(None, transitions=1)
            return
        now = self._machine_clock()
        if self._deleted_seen is None:
            self._deleted_seen = now
        if now - self._deleted_seen >= LEASE_SECONDS:
            await self._hold(None, transitions=self._record.transitions + 1)

    async def _renew(self) -> None:
        if self._heartbeat.stalled:
            age_seconds = round(self._heartbeat.age_seconds(), 1)
            log.warning("lease not renewed: the event loop stands still", seconds=age_seconds)
            return
        await self._hold_again(self._epoch)

    async def _raise(self, held: int) -> int:
        async with self._lock:
            if self._epoch <= held:
                await self._hold_again(held + 1)
            return self._epoch

    async def _hold_again(self, transitions: int) -> None:
        try:
            await self._hold(self._record, transitions=transitions)
        except (Conflict, NotFound):
            # Somebody has written: this process, whose answer got lost, a person who annotates, or the next holder.
            try:
                found = _record(await self._call("GET", self._name))
            except NotFound:
                await self._resign(EventReason.LEASE_DELETED, "the Lease was deleted; its holder ends and starts anew")
                raise
            if self._is_restored(found):
                await self._resign_restored()
                raise
            if found.holder != self.identity:
                self._lose(f"{found.holder or 'nobody'} holds it now")
                raise
            await self._hold(found, transitions=transitions)

    async def _hold(self, record: _Record | None, *, transitions: int) -> None:
        started = self._machine_clock()
        written = await self._write(record, holder=self.identity, transitions=transitions)
        if self._is_restored(written):
            await self._resign_restored()
            return
        if record is not None and written.uid != record.uid:
            await self._tell(
                EventReason.LEASE_DELETED, "somebody has deleted the Lease; its holder has made it anew, and goes on"
            )
        self._record, self._record_seen = written, started
        if self._ended:
            return
        self._held_until = started + RENEW_DEADLINE_SECONDS
        newly = self._epoch == 0
        self._epoch = transitions
        if newly:
            self._acquired_at_seconds = self._clock()
            if record is not None and record.renewed_at is not None:
                self._unled = record.renewed_at, self._now()
            log.info("lease acquired", identity=self.identity, epoch=transitions)
            if self._acquired.set_running_or_notify_cancel():
                self._acquired.set_result(None)

    async def _free(self) -> None:
        try:
            record = _record(await self._call("GET", self._name))
            if record.holder == self.identity:
                await self._write(record, holder="", transitions=record.transitions)
                log.info("lease released", identity=self.identity)
        except KubeError as error:
            log.warning("lease not released; it expires by itself", error=str(error))

    async def _write(self, record: _Record | None, *, holder: str, transitions: int) -> _Record:
        """Writes conditionally: raises Conflict or AlreadyExists if somebody else wrote first.

        A Lease that was deleted is made anew by a PUT of its last version, unless its namespace is gone, too.
        """
        now = f"{self._now().replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
        if transitions != self._epoch:
            self._acquire_time = now
        body: Json = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": LEASE_SECONDS,
                "leaseTransitions": transitions,
                "renewTime": now,
                "acquireTime": self._acquire_time,
            },
        }
        if record is None:
            return _record(await self._call("POST", "", body))
        body["metadata"]["resourceVersion"] = record.resource_version
        return _record(await self._call("PUT", self._name, body))

    async def _call(self, method: str, name: str, body: Mapping[str, Any] | None = None) -> Json:
        path = f"{self._path}/{quote(name)}" if name else self._path
        return await self._kube.request(method, path, body=body, timeout_seconds=REQUEST_SECONDS)

    def _is_restored(self, found: _Record) -> bool:
        """Whether the API server gives an older Lease than it gave before. It reads and writes without a cache."""
        known = self._record
        return known is not None and version_number(found.resource_version) < version_number(known.resource_version)

    async def _resign_restored(self) -> None:
        note = (
            "the Lease is older than it was before: the API server was restored from a backup. The operator starts"
            " anew, as what it remembers is newer than what exists"
        )
        await self._resign(EventReason.API_SERVER_RESTORED, note)

    async def _resign(self, reason: EventReason, note: str) -> None:
        """Gives up for a cause that people are told of before the process ends."""
        self._held_until, self._ended = float("-inf"), True
        try:
            await self._tell(reason, note)
        finally:  # nobody else ends it any more
            self._on_lost(note)

    async def _tell(self, reason: EventReason, note: str) -> None:
        """Whether people hear of it changes nothing about leadership."""
        event = make_event(self.lease, reason, note)
        try:
            await write_event(self._kube, event, self.identity, timeout_seconds=REQUEST_SECONDS)
        except KubeError as error:
            log.warning("event not written", reason=reason, error=str(error))
        except Exception:
            log.exception("event not written", reason=reason)

    def _lose(self, message: str) -> None:
        self._held_until, self._ended = float("-inf"), True
        self._on_lost(message)


def _record(lease: Json) -> _Record:
    spec = lease.get("spec") or {}
    return _Record(
        uid=lease["metadata"]["uid"],
        resource_version=lease["metadata"]["resourceVersion"],
        holder=spec.get("holderIdentity") or "",
        transitions=spec.get("leaseTransitions") or 0,
        renewed_at=_moment(spec.get("renewTime")),
    )


def _moment(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return None if found.tzinfo is None else found

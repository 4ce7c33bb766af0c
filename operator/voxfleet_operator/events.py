"""Writes events.k8s.io/v1 objects, which `kubectl describe` and `kubectl events` show. On transitions only."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

import structlog

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import truncate
from voxfleet_api.kinds import Resource
from voxfleet_operator.event_reasons import Action, Announced, facts_of
from voxfleet_operator.kube import REQUEST_TIMEOUT_SECONDS, Kube
from voxfleet_operator.kube_errors import KubeError

CONTROLLER = "voxfleet.dev/operator"
NOTE_LIMIT_BYTES = 1000
QUEUE_SIZE = 1000
REPEAT_SECONDS = 600.0
BURST = 25
"""So many events of one reason an object gets within that time: what befalls a thousand shards is told of some."""
REMEMBERED = 4096

log = structlog.get_logger(__name__)

Severity = Literal["Normal", "Warning"]


def reference(resource: Resource) -> dict[str, str]:
    """The ObjectReference to a resource."""
    metadata = resource.metadata
    found = {"apiVersion": API_VERSION, "kind": resource.crd.kind, "name": metadata.name, "uid": metadata.uid}
    return {**found, "namespace": metadata.namespace} if metadata.namespace else found


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to an object, for people."""

    regarding: Mapping[str, str]
    severity: Severity
    reason: Announced
    action: Action
    note: str
    at: datetime


def event(about: Resource | Mapping[str, str], reason: Announced, note: str) -> Event:
    facts = facts_of(reason)
    target = reference(about) if isinstance(about, Resource) else about
    return Event(target, "Warning" if facts.warning else "Normal", reason, facts.action, _cut(note), datetime.now(UTC))


class EventRecorder:
    """Queues events and writes them in the background. Does not repeat the same one within ten minutes, and tells of
    one object no more than BURST of the same reason meanwhile.
    """

    def __init__(self, kube: Kube, instance: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._instance = instance
        self._clock = clock
        self._queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_SIZE)
        self._recent: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._bursts: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        """By object and reason: since when, and how many."""
        self.written_total, self.repeated_total, self.lost_total = 0, 0, 0

    def publish(self, about: Resource | Mapping[str, str], reason: Announced, note: str) -> None:
        """`note` is for people. Never waits and never raises."""
        made = event(about, reason, note)
        if self._is_repeated(made):
            self.repeated_total += 1
            return
        try:
            self._queue.put_nowait(made)
        except asyncio.QueueFull:
            self.lost_total += 1
            log.warning("event dropped: too many wait", reason=reason, object=made.regarding["name"])

    def _is_repeated(self, made: Event) -> bool:
        about, now = made.regarding.get("uid") or made.regarding["name"], self._clock()
        seen, kind = (about, made.reason, made.note), (about, made.reason)
        if now - self._recent.get(seen, float("-inf")) < REPEAT_SECONDS:
            return True
        since, count = self._bursts.get(kind, (now, 0))
        if now - since >= REPEAT_SECONDS:
            since, count = now, 0
        if count >= BURST:
            return True
        self._recent[seen], self._bursts[kind] = now, (since, count + 1)
        self._recent.move_to_end(seen)
        self._bursts.move_to_end(kind)
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        if len(self._bursts) > REMEMBERED:
            self._bursts.popitem(last=False)
        return False

    async def run(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                await write_event(self._kube, event, self._instance)
                self.written_total += 1
            except KubeError as error:
                self.lost_total += 1
                log.warning("event not written", reason=event.reason, object=event.regarding["name"], error=str(error))
            except Exception:  # one event is lost; those after it are not
                self.lost_total += 1
                log.exception("event not written", reason=event.reason, object=event.regarding["name"])
            finally:
                self._queue.task_done()

    async def drain(self) -> None:
        """Returns once the operator has tried to write all queued events."""
        await self._queue.join()


async def write_event(
    kube: Kube, event: Event, instance: str, *, timeout_seconds: float = REQUEST_TIMEOUT_SECONDS
) -> None:
    """Raises KubeError. `instance` names this process."""
    namespace = event.regarding.get("namespace", "default")
    await kube.request(
        "POST",
        f"/apis/events.k8s.io/v1/namespaces/{quote(namespace)}/events",
        body={
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": f"{event.regarding['name'][:50].rstrip('.-')}-", "namespace": namespace},
            "eventTime": event.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": event.severity,
            "reason": event.reason,
            "action": event.action,
            "note": event.note,
            "regarding": dict(event.regarding),
            "reportingController": CONTROLLER,
            "reportingInstance": instance[:128],
        },
        timeout_seconds=timeout_seconds,
    )


def _cut(note: str) -> str:
    if len(note.encode()) <= NOTE_LIMIT_BYTES:
        return note
    return truncate(note.encode()[: NOTE_LIMIT_BYTES - 3].decode(errors="ignore") + "…")

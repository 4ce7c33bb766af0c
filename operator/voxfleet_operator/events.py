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
from voxfleet_operator.kube import REQUEST_TIMEOUT_SECONDS, Kube, KubeError

CONTROLLER = "voxfleet.dev/operator"
API_SERVER_RESTORED = "ApiServerRestored"
"""Somebody found the API server behind what it has said or what has happened."""
NOTE_LIMIT_BYTES = 1000
QUEUE_SIZE = 1000
REPEAT_SECONDS = 600.0
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
    reason: str
    action: str
    note: str
    at: datetime


class EventRecorder:
    """Queues events and writes them in the background. Does not repeat the same one within ten minutes."""

    def __init__(self, kube: Kube, instance: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._instance = instance
        self._clock = clock
        self._queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_SIZE)
        self._recent: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def publish(
        self,
        about: Resource | Mapping[str, str],
        reason: str,
        note: str,
        *,
        warning: bool = False,
        action: str = "Reconcile",
    ) -> None:
        """`reason` is one word, as in conditions; `note` is for people. Never waits and never raises."""
        target = reference(about) if isinstance(about, Resource) else about
        severity: Severity = "Warning" if warning else "Normal"
        note = _cut(note)
        seen = (target.get("uid") or target["name"], reason, note)
        now = self._clock()
        if now - self._recent.get(seen, float("-inf")) < REPEAT_SECONDS:
            return
        self._recent[seen] = now
        self._recent.move_to_end(seen)
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        try:
            self._queue.put_nowait(Event(target, severity, reason, action, note, datetime.now(UTC)))
        except asyncio.QueueFull:
            log.warning("event dropped: too many wait", reason=reason, object=target["name"])

    async def run(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                await write_event(self._kube, event, self._instance)
            except KubeError as error:
                log.warning("event not written", reason=event.reason, object=event.regarding["name"], error=str(error))
            except Exception:  # one event is lost; those after it are not
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

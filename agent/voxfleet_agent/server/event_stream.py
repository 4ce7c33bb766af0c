"""GET /v1/events: state changes, sealed rows and coalesced progress, one JSON line each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from voxfleet_agent.attempts.event_feed import EventFeed, UnknownCursor
from voxfleet_agent.journal.event_table import StoredEvent
from voxfleet_agent.journal.journal import Journal
from voxfleet_api.protocol import HEARTBEAT_SECONDS, Event, EventType

PAGE_EVENTS = 200


async def stream(feed: EventFeed, journal: Journal, after: int, closing: asyncio.Event) -> AsyncIterator[bytes]:
    """Yields lines, at least one every 5 s, until the agent stops or the next events of a slow reader are deleted."""
    progress_count = 0
    yield _line(Event(type=EventType.HEARTBEAT, cursor=feed.cursor(after)))
    while not closing.is_set():
        changed = journal.changed  # fetched before reading, so that an event in between wakes this stream again
        try:
            page = await feed.page(after, progress_count, PAGE_EVENTS)
        except UnknownCursor:
            return  # the client reconnects, gets 410, and lists
        progress_count = page.progress_count
        for event in page.events:
            after = event.number
            yield _stored_line(event, feed.cursor(after))
        for status in page.progressed:
            yield _line(Event(type=EventType.ATTEMPT, cursor=feed.cursor(after), attempt=status))
        if not page.events and not await _any(changed, closing, timeout_seconds=HEARTBEAT_SECONDS - 1):
            yield _line(Event(type=EventType.HEARTBEAT, cursor=feed.cursor(after)))


async def _any(*events: asyncio.Event, timeout_seconds: float) -> bool:
    """Waits for one of the events; returns False after the timeout."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waiting, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
    return bool(done)


def _line(event: Event) -> bytes:
    return json.dumps(event.dump()).encode() + b"\n"


def _stored_line(event: StoredEvent, cursor: str) -> bytes:
    field = {EventType.ATTEMPT: "attempt", EventType.ROW: "row"}[event.type]
    return json.dumps({"type": event.type.value, "cursor": cursor, field: event.content}).encode() + b"\n"

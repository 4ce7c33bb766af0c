"""Finds what the tables of a process still say of jobs and shards that are gone."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping

OURS = "voxfleet_operator"
CONTAINERS = (dict, OrderedDict, set, frozenset, list, deque, tuple)
BOUNDED = frozenset(
    {
        # They keep a fixed number of the newest entries.
        "Cache._gone",
        "EventRecorder._recent",
        "Mailbox._answers",
        # A key is in them until its time has come, which is at most half an hour.
        "WorkQueue._due",
        "WorkQueue._timers",
        # A pause ends within ten minutes, and the next placement pass forgets it.
        "Backoffs._shards",
    }
)
"""Tables that may mention what is gone, and why."""
OF_A_MAC = ("LedgerBook.", "MacRecord.")
"""What they hold of a Mac that never returns goes with its MacAgent."""
MARKS = ("-audioshard", "-audiobatchjob", "AudioShard/", "AudioBatchJob/")
"""What the modelled API server's UIDs end with, and how a queue's keys begin."""
SHOWN = 3


def mentions(roots: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Returns `Class.attribute` of each table that mentions a job or a shard, and its first such entries."""
    found: dict[str, list[str]] = {}
    seen: set[int] = set()
    todo: list[object] = list(roots.values())
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, CONTAINERS):
            todo.extend(item.values() if isinstance(item, dict) else item)
            continue
        if not type(item).__module__.startswith(OURS):
            continue
        for name, value in _attributes(item):
            table = f"{type(item).__name__}.{name}"
            if table in BOUNDED:
                continue
            todo.append(value)
            if isinstance(value, CONTAINERS) and not (isinstance(value, tuple) and hasattr(value, "_fields")):
                entries = [text for text in _entries(value) if any(mark in text for mark in MARKS)]
                if entries:
                    found.setdefault(table, []).extend(entries[:SHOWN])
    return {table: tuple(entries[:SHOWN]) for table, entries in sorted(found.items())}


def _attributes(item: object) -> Iterator[tuple[str, object]]:
    yield from getattr(item, "__dict__", {}).items()
    for kind in type(item).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if hasattr(item, name):
                yield name, getattr(item, name)


def _entries(table: Iterable[object]) -> Iterator[str]:
    for entry in table:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, tuple):
            parts = [part if isinstance(part, str) else "/".join(map(str, part)) for part in entry if _is_key(part)]
            yield "/".join(parts)


def _is_key(part: object) -> bool:
    return isinstance(part, str) or (isinstance(part, tuple) and all(isinstance(item, str | int) for item in part))

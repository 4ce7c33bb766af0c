"""Finds what the tables of a process still say of jobs and shards that are gone, and how much they hold."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from voxfleet_api.protocol import TOMBSTONE_DAYS
from voxfleet_operator.cache import REMEMBERED_DELETIONS, Cache, ObjectIndex
from voxfleet_operator.events import REMEMBERED
from voxfleet_operator.fleet.mailbox import MAX_ANSWERS
from voxfleet_operator.reconcile.statement import archived_chains, known_indexes

OURS = "voxfleet_operator"
CONTAINERS = (dict, OrderedDict, set, frozenset, list, deque, tuple)
BOUNDED = frozenset(
    {
        # They keep a fixed number of the newest entries.
        "Cache._gone",
        "EventRecorder._bursts",
        "EventRecorder._recent",
        "Mailbox._answers",
        # A key is in them until its time has come, which is at most half an hour.
        "WorkQueue._due",
        "WorkQueue._timers",
        # A pause ends within ten minutes, and the next placement pass forgets it.
        "Backoffs._shards",
        # The newest failures of a machine, with their jobs: an hour's, and five at most.
        "_History.failed",
    }
)
"""Tables that may mention what is gone, and why."""
OF_A_MAC = ("LedgerBook.", "MacRecord.", "Mailbox._deletes", "Patience._deleting", "UnansweredOrders.")
"""What they hold of a Mac that never returns goes with its MacAgent."""
MARKS = ("-audioshard", "-audiobatchjob", "AudioShard/", "AudioBatchJob/")
"""What the modelled API server's UIDs end with, and how a queue's keys begin."""
SHOWN = 3
_UNSET = object()
MAX_PREFIXES = 16 * 32
"""What a MacAgent can open to a namespace."""
AT_MOST: Mapping[str, int] = {
    "Cache._gone": REMEMBERED_DELETIONS,
    "EventRecorder._bursts": REMEMBERED,
    "EventRecorder._recent": REMEMBERED,
    "Mailbox._answers": MAX_ANSWERS,
    "KnownIndexes._known": known_indexes.KEPT,
    "ArchivedChains._places": archived_chains.KEPT,
    "AgentAnswer.uri_prefixes": MAX_PREFIXES,
    "agent.events": 1000,  # those from before a connection stay until the first one after it is acknowledged
}
"""Tables that fill up to a bound of their own; of several, the longest counts."""
KEPT_DAYS: Mapping[str, int] = {"agent.tombstones": TOMBSTONE_DAYS}
"""Tables whose entries go after some days."""
GROWING_BY_DESIGN: Mapping[str, str] = {
    "agent.rows": "a Mac keeps what it signed, some 2 MB a month, as the archive is a copy that others hold",
    "API MachineHourStatement": "one a Mac and month",
    "Cache.MachineHourStatement": "one a Mac and month",
}


def sizes(roots: Mapping[str, object]) -> dict[str, int]:
    """The entries of all tables that the objects hold, summed by `Class.attribute`. A cache counts by kind."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    todo: list[object] = [roots]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Cache):
            found.update(f"Cache.{key.kind}" for key in item._objects)
            found["Cache._gone"] += len(item._gone)
            found["Cache._assumed"] += len(item._assumed)
            found["Cache.indexed_values"] += item.indexed_values
            found["Cache.derived_values"] += item.derived_values
            found["Cache._key_by_uid"] += len(item._key_by_uid) - found["Cache.MachineHourStatement"]
        elif isinstance(item, ObjectIndex):
            pass  # the objects are the cache's own table, and its values are counted there
        elif isinstance(item, CONTAINERS):
            todo.extend(item.values() if isinstance(item, dict) else item)
        elif isinstance(item, MappingProxyType):
            todo.append(dict(item))
        elif type(item).__module__.startswith(OURS):
            for name, value in _attributes(item):
                table = f"{type(item).__name__}.{name}"
                if isinstance(value, (*CONTAINERS, MappingProxyType)) and not hasattr(value, "_fields"):
                    found[table] = max(found[table], len(value)) if table in AT_MOST else found[table] + len(value)
                todo.append(value)
    return dict(found)


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
            if name == "__weakref__":  # no table, and some versions of Python refuse to read it
                continue
            value = getattr(item, name, _UNSET)
            if value is not _UNSET:
                yield name, value


def _entries(table: Iterable[object]) -> Iterator[str]:
    for entry in table:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, tuple):
            parts = [part if isinstance(part, str) else "/".join(map(str, part)) for part in entry if _is_key(part)]
            yield "/".join(parts)


def _is_key(part: object) -> bool:
    return isinstance(part, str) or (isinstance(part, tuple) and all(isinstance(item, str | int) for item in part))

"""What the operator knows about the API server: parsed, frozen objects, of which the newest version wins.

The watch, the relist and the operator's own writes all put objects here, so the next decision sees a write even if
the watch has not delivered it yet. A write that is under way overlays what is known: it is assumed until it is known
to have happened or to have failed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from voxfleet_api.kinds import Resource
from voxfleet_operator.compact import Compactor
from voxfleet_operator.index import Index
from voxfleet_operator.queue import Key

R = TypeVar("R", bound=Resource)
T = TypeVar("T")

REMEMBERED_DELETIONS = 10_000
_NO_LABELS: Mapping[str, str] = MappingProxyType({})


def key_of(resource: Resource) -> Key:
    return Key(resource.crd.kind, resource.metadata.namespace, resource.metadata.name)


def version_number(resource_version: str) -> int:
    """The version as a number, which only grows on one server; 0 if there is none."""
    return int(resource_version) if resource_version.isdecimal() else 0


def controller_uid(resource: Resource) -> str | None:
    """The UID of the object that owns this one."""
    return next((owner.uid for owner in resource.metadata.owner_references if owner.controller), None)


class ObjectIndex(Generic[R]):
    """The objects of one kind by some of their values, kept up with every change."""

    def __init__(self, objects: Mapping[Key, Resource], values_of: Callable[[R], Collection[str]]) -> None:
        self._objects = objects
        self._values_of = values_of
        self._index: Index[Key] = Index()

    def __len__(self) -> int:
        return len(self._index)

    def of(self, value: str) -> list[R]:
        """Those that have the value, ordered by name."""
        return [cast("R", self._objects[key]) for key in self._index.of(value)]

    def version(self, value: str) -> int:
        """Another number means that what `of` returns may have changed; 0 while there is nothing."""
        return self._index.version(value)

    def follow(self) -> set[str]:
        """A set to which every value is added of which an object changes from now on; all that there are, to begin
        with. Whoever follows takes them out.
        """
        return self._index.follow()

    def _change(self, key: Key, old: R | None, new: R | None) -> None:
        before = () if old is None else self._values_of(old)
        self._index.change(key, before, () if new is None else self._values_of(new))


class Derived(Generic[R, T]):
    """What follows from each object of one kind alone, worked out once for each version of it, when it comes in."""

    def __init__(self, make: Callable[[R], T]) -> None:
        self._make = make
        self._made: dict[str, tuple[R, T]] = {}

    def __len__(self) -> int:
        return len(self._made)

    def of(self, resource: R) -> T:
        """Also of a version that the cache does not hold, or no longer: then it is worked out now."""
        made = self._made.get(resource.metadata.uid)
        return made[1] if made is not None and made[0] is resource else self._make(resource)

    def _change(self, old: R | None, new: R | None) -> None:
        if old is not None:
            self._made.pop(old.metadata.uid, None)
        if new is not None:
            with suppress(Exception):  # it raises for whoever asks, and not for the watch that brings the object
                self._made[new.metadata.uid] = new, self._make(new)


class Cache:
    """Objects by key and by UID, and the labels of namespaces. To be used in one event loop; never blocks."""

    def __init__(self) -> None:
        self._compactor = Compactor()
        self._objects: dict[Key, Resource] = {}
        self._keys_by_kind: dict[str, list[Key]] = {}
        """In their order."""
        self._key_by_uid: dict[str, Key] = {}
        self._indexes: dict[str, dict[Callable[[Any], Collection[str]], ObjectIndex[Any]]] = {}
        """By kind, then by what they index."""
        self._derived: dict[str, dict[Callable[[Any], Any], Derived[Any, Any]]] = {}
        """By kind, then by what makes it."""
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._changes: Counter[str] = Counter()
        self._assumed: dict[str, Resource] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}

    def get(self, kind: type[R], namespace: str, name: str) -> R | None:
        return cast("R | None", self._objects.get(Key(kind.crd.kind, namespace, name)))

    def by_uid(self, kind: type[R], uid: str) -> R | None:
        key = self._key_by_uid.get(uid)
        return cast("R", self._objects[key]) if key is not None and key.kind == kind.crd.kind else None

    def all(self, kind: type[R], namespace: str | None = None) -> list[R]:
        """All objects of a kind, in one namespace or in all, ordered by name."""
        keys = self._keys_by_kind.get(kind.crd.kind, [])
        if namespace is not None:
            first = bisect_left(keys, Key(kind.crd.kind, namespace, ""))
            keys = keys[first : bisect_left(keys, Key(kind.crd.kind, f"{namespace}\0", ""))]
        return [cast("R", self._objects[key]) for key in keys]

    @property
    def indexed_values(self) -> int:
        """By how many values objects are found, in all indexes together."""
        return sum(len(index) for indexes in self._indexes.values() for index in indexes.values())

    @property
    def derived_values(self) -> int:
        """How many objects something is worked out of, for each thing that is."""
        return sum(len(derived) for made in self._derived.values() for derived in made.values())

    def owned(self, kind: type[R]) -> ObjectIndex[R]:
        """The objects of a kind by the UID of their controller."""
        return self.index(kind, _controllers)

    def by_own_uid(self, kind: type[R]) -> ObjectIndex[R]:
        return self.index(kind, _own_uids)

    def owned_by(self, kind: type[R], uid: str) -> list[R]:
        """Objects whose controller has this UID, ordered by name."""
        return self.owned(kind).of(uid)

    def index(self, kind: type[R], values_of: Callable[[R], Collection[str]]) -> ObjectIndex[R]:
        """The index by these values, which is pure. It is made once, and kept up for as long as the cache lives."""
        indexes = self._indexes.setdefault(kind.crd.kind, {})
        found = indexes.get(values_of)
        if found is None:
            found = indexes[values_of] = ObjectIndex(self._objects, values_of)
            for resource in self.all(kind):
                found._change(key_of(resource), None, resource)
        return found

    def derived(self, kind: type[R], make: Callable[[R], T]) -> Derived[R, T]:
        """What `make`, which is pure, says of each object; all who ask for the same share it."""
        made = self._derived.setdefault(kind.crd.kind, {})
        found = made.get(make)
        if found is None:
            found = made[make] = Derived(make)
            for resource in self.all(kind):
                found._change(None, resource)
        return found

    def changes(self, kind: type[Resource]) -> int:
        """How often an object of the kind came, changed or went: another number means another content."""
        return self._changes[kind.crd.kind]

    def is_assumed(self, uid: str) -> bool:
        """Whether the object is shown as a write will leave it that may not have happened."""
        return uid in self._assumed

    def labels_by_namespace(self) -> Mapping[str, Mapping[str, str]]:
        """As they are now."""
        return dict(self._namespaces)

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        return self._namespaces.get(namespace, _NO_LABELS)

    # Writes.

    def assume(self, resource: R) -> None:
        """Shows an object as a write that begins now will leave it, until a newer version or `withdraw`.

        It has the version that the write was decided on. Assuming an object that has a newer version changes nothing.
        """
        key, uid = key_of(resource), resource.metadata.uid
        known = self._objects.get(key)
        if known is None or known.metadata.uid != uid:
            return
        if known.metadata.resource_version != resource.metadata.resource_version:
            return
        self._assumed.setdefault(uid, known)
        self._set(key, known, resource)

    def withdraw(self, uid: str) -> None:
        """Shows the object as it was: the write is known not to have happened."""
        known = self._assumed.pop(uid, None)
        if known is not None:
            key = key_of(known)
            self._set(key, self._objects[key], known)

    def put(self, resource: Resource) -> bool:
        """Stores an object unless a newer version or its deletion is known. True if this changed something."""
        uid = resource.metadata.uid
        if uid in self._gone:
            return False
        key = key_of(resource)
        known = self._objects.get(key)
        if known is not None:
            if version_number(known.metadata.resource_version) >= version_number(resource.metadata.resource_version):
                return False
            if known.metadata.uid != uid:
                self._drop(key)
                known = None
        if known is None:
            insort(self._keys_by_kind.setdefault(key.kind, []), key)
            self._key_by_uid[uid] = key
        self._assumed.pop(uid, None)
        self._set(key, known, self._compactor.compact(resource))
        return True

    def remove(self, resource: Resource) -> bool:
        """Records a deletion; True if the object was known. An object with the same name but another UID stays."""
        return self.remove_uid(resource.metadata.uid)

    def remove_uid(self, uid: str) -> bool:
        self._gone[uid] = None
        if len(self._gone) > REMEMBERED_DELETIONS:
            self._gone.popitem(last=False)
        key = self._key_by_uid.get(uid)
        if key is None:
            return False
        self._drop(key)
        return True

    def replace(
        self, kind: type[R], resources: Iterable[R], resource_version: str, unreadable: Collection[str] = ()
    ) -> list[Resource]:
        """Stores a full list as of `resource_version`; returns the objects that it changed, added or removed.

        `unreadable` holds the UIDs of listed objects that do not parse: their last known versions stay.
        """
        listed = list(resources)
        changed: list[Resource] = [resource for resource in listed if self.put(resource)]
        present = {resource.metadata.uid for resource in listed} | set(unreadable)
        for key in list(self._keys_by_kind.get(kind.crd.kind, ())):
            known = self._objects[key]
            not_newer_than_list = version_number(known.metadata.resource_version) <= version_number(resource_version)
            if known.metadata.uid not in present and not_newer_than_list:
                self.remove(known)
                changed.append(known)
        return changed

    def put_namespace(self, name: str, labels: Mapping[str, str]) -> bool:
        """True if its labels changed."""
        if self._namespaces.get(name) == labels:
            return False
        self._namespaces[name] = MappingProxyType(dict(labels))
        return True

    def remove_namespace(self, name: str) -> None:
        self._namespaces.pop(name, None)

    def replace_namespaces(self, labels_by_name: Mapping[str, Mapping[str, str]]) -> bool:
        """Stores a full list; True if this changed something."""
        changed = [self.put_namespace(name, labels) for name, labels in labels_by_name.items()]
        stale = self._namespaces.keys() - labels_by_name.keys()
        for name in stale:
            self.remove_namespace(name)
        return any(changed) or bool(stale)

    def _set(self, key: Key, old: Resource | None, new: Resource) -> None:
        self._objects[key] = new
        self._changed(key, old, new)

    def _drop(self, key: Key) -> None:
        known = self._objects.pop(key)
        self._assumed.pop(known.metadata.uid, None)
        keys = self._keys_by_kind[key.kind]
        del keys[bisect_left(keys, key)]
        self._key_by_uid.pop(known.metadata.uid, None)
        self._changed(key, known, None)

    def _changed(self, key: Key, old: Resource | None, new: Resource | None) -> None:
        self._changes[key.kind] += 1
        for index in self._indexes.get(key.kind, {}).values():
            index._change(key, old, new)
        for derived in self._derived.get(key.kind, {}).values():
            derived._change(old, new)


def _controllers(resource: Resource) -> tuple[str, ...]:
    uid = controller_uid(resource)
    return () if uid is None else (uid,)


def _own_uids(resource: Resource) -> tuple[str, ...]:
    return (resource.metadata.uid,)

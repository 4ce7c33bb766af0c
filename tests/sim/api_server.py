"""A modelled API server: objects, versions, conditional writes, finalizers, garbage collection, and who watches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tests.sim.history import History
from tests.sim.kinds import KIND_OF, LISTS, ParsedVersions
from tests.sim.moments import Moments
from tests.unit.operator.decisions.memory_api import check_transition

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioShard
from voxfleet_operator.kube import Json
from voxfleet_operator.kube_errors import AlreadyExists, Conflict, NotFound
from voxfleet_operator.queue import Key

Watcher = Callable[[str, Json], None]
"""Gets `ADDED`, `MODIFIED` or `DELETED`, and the object."""


class ApiServer:
    def __init__(self, history: History, edges: Counter[str], wall: Callable[[], datetime]) -> None:
        self.objects: dict[Key, Json] = {}
        self.watchers: list[Watcher] = []
        self.parsed = ParsedVersions()
        self.moments = Moments()
        self.history = history
        self._edges = edges
        self._wall = wall
        self._version = 0
        self._uids = 0

    @property
    def version(self) -> str:
        return str(self._version)

    def turn_back(self, version: int) -> None:
        """Versions go on from here, as after the restore of a backup."""
        self._version = version

    def list(self, kind: str, namespace: str = "") -> list[Json]:
        return [
            item for key, item in sorted(self.objects.items()) if key.kind == kind and namespace in ("", key.namespace)
        ]

    def get(self, key: Key) -> Json:
        """Raises NotFound."""
        found = self.objects.get(key)
        if found is None:
            raise NotFound(f"GET {key}: HTTP 404")
        return found

    def create(self, item: Mapping[str, Any]) -> Json:
        """Raises AlreadyExists, Invalid."""
        key = key_of(item)
        if key in self.objects:
            raise AlreadyExists(f"POST {key}: HTTP 409")
        self._uids += 1
        metadata = {
            **item["metadata"],
            "uid": f"{self._uids:08x}-{item['kind'].lower()}",
            "generation": 1,
            "creationTimestamp": self._wall().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        new = {**item, "metadata": metadata}
        if key.kind in KIND_OF:
            new |= {"apiVersion": API_VERSION, "status": {"observedGeneration": -1}}
        return self._store(new, "ADDED")

    def replace(self, key: Key, item: Mapping[str, Any], version: str | None) -> Json:
        """A PUT of a whole object. Raises NotFound, Conflict."""
        old = self._unchanged(key, version)
        return self._store({**old, **item, "metadata": {**old["metadata"], **item["metadata"]}}, "MODIFIED")

    def apply_status(self, key: Key, status: Mapping[str, Any], version: str | None) -> Json:
        """Raises NotFound, Conflict, Invalid."""
        old = self._unchanged(key, version)
        if old.get("status") == status:
            return old
        if key.kind == AudioShard.crd.kind:
            check_transition(old.get("status", {}), status)
        self._count_transition(key.kind, old.get("status", {}), status)
        size = len(json.dumps(status))
        self.history.largest_status_bytes[key.kind] = max(self.history.largest_status_bytes[key.kind], size)
        return self._store({**old, "status": dict(status)}, "MODIFIED")

    def change_spec(self, key: Key, spec: Mapping[str, Any]) -> Json:
        old = self.get(key)
        metadata = {**old["metadata"], "generation": old["metadata"]["generation"] + 1}
        return self._store({**old, "metadata": metadata, "spec": {**old["spec"], **spec}}, "MODIFIED")

    def merge_metadata(self, key: Key, metadata: Mapping[str, Any]) -> Json:
        """Raises NotFound, Conflict. The last finalizer of an object that is being deleted takes the object along."""
        changes = dict(metadata)
        old = self._unchanged(key, changes.pop("resourceVersion", None))
        new = {**old, "metadata": {**old["metadata"], **changes}}
        if not new["metadata"].get("finalizers") and new["metadata"].get("deletionTimestamp"):
            return self._drop(new)
        return self._store(new, "MODIFIED")

    def delete(self, key: Key, uid: str | None = None) -> Json:
        """Raises NotFound, Conflict."""
        old = self.get(key)
        if uid is not None and old["metadata"]["uid"] != uid:
            raise Conflict(f"DELETE {key}: HTTP 409")
        if not old["metadata"].get("finalizers"):
            return self._drop(old)
        if old["metadata"].get("deletionTimestamp"):
            return old
        stamp = self._wall().strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._store({**old, "metadata": {**old["metadata"], "deletionTimestamp": stamp}}, "MODIFIED")

    def collect_garbage(self) -> None:
        """As kube-controller-manager does by owner references."""
        uids = {item["metadata"]["uid"] for item in self.objects.values()}
        for key, item in list(self.objects.items()):
            owners = item["metadata"].get("ownerReferences", ())
            if owners and not any(owner["uid"] in uids for owner in owners):
                self._edges["api.garbage collected"] += 1
                self.delete(key)

    def _unchanged(self, key: Key, version: str | None) -> Json:
        old = self.get(key)
        if version is not None and old["metadata"]["resourceVersion"] != version:
            self._edges["api.conflict"] += 1
            raise Conflict(f"{key}: HTTP 409")
        return old

    def _store(self, item: Json, event: str) -> Json:
        self._version += 1
        new = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}}
        key = key_of(new)
        kind = KIND_OF.get(key.kind)
        if kind is not None:
            self.parsed.parse(kind, new)
        self.objects[key] = new
        self._tell(event, new)
        return new

    def _drop(self, item: Json) -> Json:
        self._version += 1
        new = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}}
        del self.objects[key_of(new)]
        self._tell("DELETED", new)
        return new

    def _tell(self, event: str, item: Json) -> None:
        if item["kind"] in LISTS:
            for watcher in self.watchers:
                watcher(event, item)

    def _count_transition(self, kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        for name in ("Committed", "Complete"):
            before, after = _reason(old, name), _reason(new, name)
            if before != after:
                self._edges[f"{kind} {before} -> {after}"] += 1
        for record in new.get("attempts", ()):
            if record not in old.get("attempts", ()) and record["outcome"] != "Assigned":
                self._edges[f"attempt {record['outcome']}"] += 1


def key_of(item: Mapping[str, Any]) -> Key:
    metadata = item["metadata"]
    return Key(item["kind"], metadata.get("namespace", ""), metadata["name"])


def _reason(status: Mapping[str, Any], name: str) -> str:
    return next((item["reason"] for item in status.get("conditions", ()) if item["type"] == name), "-")

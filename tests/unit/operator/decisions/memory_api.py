"""An API server in memory, with the rules that decisions rely on, and a clock moved by hand."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

from voxfleet_api import API_VERSION, kinds
from voxfleet_api.kinds import AudioBatchJob, AudioShard, Resource
from voxfleet_operator.kube_errors import AlreadyExists, ApiUnavailable, Conflict, Invalid, NotFound, SecretNotFound
from voxfleet_operator.queue import Key

R = TypeVar("R", bound=Resource)


START = datetime(2026, 11, 20, 22, tzinfo=UTC)


KINDS: dict[str, type[Resource]] = {kind.crd.kind: kind for kind in kinds.KINDS}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


class MemoryApi:
    """Objects, resource versions, conditional writes, and the transition rules of the AudioShard's CRD."""

    def __init__(self, random: Random, clock: Clock) -> None:
        self.objects: dict[Key, dict[str, Any]] = {}
        self.changes: list[tuple[str, Resource]] = []
        self.secrets: dict[tuple[str, str], dict[str, bytes]] = {}
        self.lost_answers = 0.0
        self.writes = 0
        self._random = random
        self._clock = clock
        self._version = 0

    async def get(self, kind: type[R], namespace: str, name: str) -> R | None:
        await self._hop()
        found = self.objects.get(Key(kind.crd.kind, namespace, name))
        return None if found is None else kind.load(found)

    async def check(self, resource: Mapping[str, object]) -> dict[str, Any]:
        await self._hop()
        return dict(resource)

    async def create(self, resource: Mapping[str, object]) -> dict[str, Any]:
        await self._hop(before=True)
        stored = self.add(resource)
        await self._hop(after=True)
        return stored

    async def apply_status(
        self,
        kind: type[R],
        namespace: str,
        name: str,
        status: Mapping[str, object],
        resource_version: str | None = None,
    ) -> R:
        await self._hop(before=True)
        old = self._conditional(Key(kind.crd.kind, namespace, name), resource_version)
        kind.load({**old, "status": dict(status)})
        if kind is AudioShard:
            check_transition(old.get("status", {}), status)
        new = self._store({**old, "status": dict(status)})
        await self._hop(after=True)
        return kind.load(new)

    async def set_finalizers(
        self, kind: type[R], namespace: str, name: str, finalizers: list[str], resource_version: str
    ) -> R:
        await self._hop(before=True)
        old = self._conditional(Key(kind.crd.kind, namespace, name), resource_version)
        new = {**old, "metadata": {**old["metadata"], "finalizers": finalizers}}
        if not finalizers and old["metadata"].get("deletionTimestamp"):
            self._drop(new)
        else:
            new = self._store(new)
        await self._hop(after=True)
        return kind.load(new)

    async def change_spec(
        self, kind: type[R], namespace: str, name: str, changes: Mapping[str, object], *, uid: str
    ) -> R:
        await self._hop(before=True)
        old = self._conditional(Key(kind.crd.kind, namespace, name), None)
        if old["metadata"]["uid"] != uid:
            raise Conflict(name)
        new = self._store({**old, "spec": {**old["spec"], **changes}})
        await self._hop(after=True)
        return kind.load(new)

    async def set_owner(
        self, kind: type[R], namespace: str, name: str, owner: Mapping[str, object], resource_version: str
    ) -> R:
        await self._hop(before=True)
        old = self._conditional(Key(kind.crd.kind, namespace, name), resource_version)
        new = self._store({**old, "metadata": {**old["metadata"], "ownerReferences": [dict(owner)]}})
        await self._hop(after=True)
        return kind.load(new)

    async def delete(self, kind: type[Resource], namespace: str, name: str, uid: str) -> None:
        await self._hop(before=True)
        found = self.objects.get(Key(kind.crd.kind, namespace, name))
        if found is not None and found["metadata"]["uid"] == uid:
            self.user_deletes(kind, namespace, name)
        await self._hop(after=True)

    async def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        await self._hop()
        if (namespace, name) not in self.secrets:
            raise SecretNotFound(namespace, name)
        return self.secrets[namespace, name]

    def back_up(self) -> tuple[dict[Key, dict[str, Any]], int]:
        """A stored object is never changed, only replaced."""
        return dict(self.objects), self._version

    def restore(self, backup: tuple[dict[Key, dict[str, Any]], int]) -> None:
        """Objects and resource versions go back."""
        self.objects, self._version = dict(backup[0]), backup[1]
        self.changes.clear()

    # What people do.

    def add(self, resource: Mapping[str, Any]) -> dict[str, Any]:
        metadata = resource["metadata"]
        key = Key(resource["kind"], metadata.get("namespace", ""), metadata["name"])
        if key in self.objects:
            raise AlreadyExists(str(key))
        uid = sha(f"{key}/{self._version}")[:8] + "-uid"
        created = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._store(
            {
                **resource,
                "apiVersion": API_VERSION,
                "metadata": {**metadata, "uid": uid, "generation": 1, "creationTimestamp": created},
                "status": {"observedGeneration": -1},
            }
        )

    def user_edits(self, kind: str, namespace: str, name: str, **spec: object) -> None:
        """Replaces some fields of a spec."""
        old = self.objects[Key(kind, namespace, name)]
        self._store({**old, "spec": {**old["spec"], **spec}})

    def user_deletes(self, kind: type[Resource], namespace: str, name: str) -> None:
        old = self.objects[Key(kind.crd.kind, namespace, name)]
        if old["metadata"].get("finalizers"):
            stamp = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
            self._store({**old, "metadata": {**old["metadata"], "deletionTimestamp": stamp}})
        else:
            self._drop(old)

    def collect_garbage(self) -> None:
        """As kube-controller-manager does by owner references."""
        jobs = {job.metadata.uid for job in self.all(AudioBatchJob)}
        for shard in self.all(AudioShard):
            if shard.spec.job_ref.uid not in jobs:
                self.user_deletes(AudioShard, shard.metadata.namespace, shard.metadata.name)

    def all(self, kind: type[R]) -> list[R]:
        return [kind.load(item) for key, item in sorted(self.objects.items()) if key.kind == kind.crd.kind]

    def _conditional(self, key: Key, resource_version: str | None) -> dict[str, Any]:
        old = self.objects.get(key)
        if old is None:
            raise NotFound(str(key))
        if resource_version is not None and old["metadata"]["resourceVersion"] != resource_version:
            raise Conflict(str(key))
        return old

    def _store(self, item: dict[str, Any]) -> dict[str, Any]:
        self.writes += 1
        self._version += 1
        stored = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}}
        metadata = stored["metadata"]
        self.objects[Key(item["kind"], metadata.get("namespace", ""), metadata["name"])] = stored
        self.changes.append(("MODIFIED", KINDS[item["kind"]].load(stored)))
        return stored

    def _drop(self, item: dict[str, Any]) -> None:
        metadata = item["metadata"]
        del self.objects[Key(item["kind"], metadata.get("namespace", ""), metadata["name"])]
        self.changes.append(("DELETED", KINDS[item["kind"]].load(item)))

    async def _hop(self, *, before: bool = False, after: bool = False) -> None:
        await hop(self._random)
        if (before or after) and self._random.random() < self.lost_answers:
            raise ApiUnavailable("request lost" if before else "answer lost")


def check_transition(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """The CEL rules of AudioShardStatus."""
    if "attempt" in old:
        if new.get("attempt", 0) < old["attempt"]:
            raise Invalid("attempt is a fencing token and never falls")
        same = new["attempt"] == old["attempt"]
        if same and (new["mac"], new["specDigest"]) != (old["mac"], old["specDigest"]):
            raise Invalid("an attempt belongs to one Mac for ever")
    if "commit" in old and new.get("commit") != old["commit"]:
        raise Invalid("a commit does not change")
    assigned = [record for record in new.get("attempts", []) if record["outcome"] == "Assigned"]
    assert len(assigned) <= 1, "two attempts of a shard are assigned"
    assert all(record["attempt"] == new["attempt"] for record in assigned)


async def hop(random: Random) -> None:
    for _ in range(random.randrange(3)):
        await asyncio.sleep(0)

"""The operator's own client of the API server, over a modelled connection: answers are late, lost or refused."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from random import Random
from typing import Any

from tests.sim.api_server import ApiServer
from tests.sim.kinds import COLLECTIONS, NEVER_MADE
from tests.sim.virtual_loop import Process

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_operator.kube import REQUEST_TIMEOUT_SECONDS, Json, Kube
from voxfleet_operator.kube_errors import ApiUnavailable, KubeError
from voxfleet_operator.queue import Key

SLOWEST_SECONDS = 8.0
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class ApiLink:
    """One process's connection to the API server."""

    def __init__(self, process: Process, server: ApiServer, random: Random, edges: Counter[str]) -> None:
        self.process = process
        self.server = server
        self.loss = 0.0
        self.slowness = self.status_slowness = 0.0
        """Shares of all requests, and of writes of a status, that take seconds."""
        self.slowest_seconds = SLOWEST_SECONDS
        self.down_until = 0.0
        self.leases_down_until = self.status_down_until = 0.0
        self.random = random
        self.edges = edges

    def reaches(self, collection: str, subresource: str) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self.down_until or (collection == "leases" and now < self.leases_down_until):
            return False
        return subresource != "status" or now >= self.status_down_until

    def heal(self) -> None:
        self.loss = self.slowness = self.status_slowness = 0.0
        self.slowest_seconds = SLOWEST_SECONDS
        self.down_until = self.leases_down_until = self.status_down_until = 0.0

    def delay_seconds(self, subresource: str, random: Random) -> float:
        slowness = max(self.slowness, self.status_slowness if subresource == "status" else 0.0)
        if slowness and random.random() < slowness:
            self.edges["api.slow"] += 1
            return random.uniform(0.2, self.slowest_seconds)
        return random.uniform(0.001, 0.02)


class SimKube(Kube):
    """The real client but for the wire: `request` acts on the modelled server.

    `random` decides what happens to its requests; without it they share the link's.
    """

    def __init__(self, link: ApiLink, random: Random | None = None) -> None:
        self.namespace = "default"
        self._link = link
        self._random = random or link.random

    async def close(self) -> None:
        return

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
    ) -> Json:
        link, random, key, subresource = self._link, self._random, *_parse(path)
        link.process.check_alive()
        if COLLECTIONS[key.kind] in NEVER_MADE:
            return self._act(method, key, subresource, body)
        collection, sent = key.kind, asyncio.get_running_loop().time()
        if subresource == "status" and body is not None:
            link.server.moments.status_sent(collection, key.name, body["status"])
        if not link.reaches(collection, subresource):
            link.edges["api.unreachable"] += 1
            await asyncio.sleep(random.choice([0.01, timeout_seconds]))
            raise ApiUnavailable(f"{method} {path}: no answer")
        lost = method in WRITES and link.loss and random.random() < link.loss
        delay_seconds = link.delay_seconds(subresource, random)
        if delay_seconds > timeout_seconds:
            await asyncio.sleep(timeout_seconds)
            raise ApiUnavailable(f"{method} {path}: timed out")
        await asyncio.sleep(delay_seconds)
        link.process.check_alive()
        fate = random.choice(["request", "answer", "late"]) if lost else ""
        if fate:
            link.edges[f"api.lost {fate}"] += 1
        if fate == "request":
            raise ApiUnavailable(f"{method} {path}: request lost")
        if fate == "late":
            asyncio.get_running_loop().call_later(
                random.uniform(0.05, 15), self._act_late, method, key, subresource, body
            )
            raise ApiUnavailable(f"{method} {path}: timed out")
        answer = self._act(method, key, subresource, body)
        if collection == "audioshards" and subresource == "status":
            attempt = AttemptKey(answer["metadata"]["uid"], answer["status"].get("attempt", 0))
            link.server.history.assignments.setdefault(attempt, sent)
        await asyncio.sleep(random.uniform(0, 0.005))
        if fate == "answer" or not link.reaches(collection, subresource):
            raise ApiUnavailable(f"{method} {path}: answer lost")
        return answer

    def _act_late(self, method: str, key: Key, subresource: str, body: Mapping[str, Any] | None) -> None:
        try:
            self._act(method, key, subresource, body)
        except KubeError:
            return

    def _act(self, method: str, key: Key, subresource: str, body: Mapping[str, Any] | None) -> Json:
        server = self._link.server
        key = Key(COLLECTIONS[key.kind], key.namespace, key.name)
        if key.kind == "Event":
            assert body is not None
            self._link.edges[f"event {body['reason']}"] += 1
            return {}
        match method:
            case "GET" if key.name:
                found = server.get(key)
                return _encoded(found) if key.kind == "Secret" else found
            case "GET":
                return {"metadata": {"resourceVersion": server.version}, "items": server.list(key.kind, key.namespace)}
            case "POST":
                assert body is not None
                return server.create(body)
            case "PUT":
                assert body is not None
                return server.replace(key, body, body["metadata"].get("resourceVersion"))
            case "PATCH":
                assert body is not None
                if subresource == "status":
                    return server.apply_status(key, body["status"], body["metadata"].get("resourceVersion"))
                return server.merge_metadata(key, body["metadata"])
            case "DELETE":
                return server.delete(key, (body or {}).get("preconditions", {}).get("uid"))
        raise AssertionError(f"{method} {key} is not modelled")


@lru_cache(4096)
def _parse(path: str) -> tuple[Key, str]:
    """`/apis/GROUP/VERSION/namespaces/NS/COLLECTION/NAME/SUBRESOURCE`; the key's kind is the collection."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    rest += [""] * (3 - len(rest))
    return Key(rest[0], namespace, rest[1]), rest[2]


def _encoded(secret: Json) -> Json:
    return {**secret, "data": {name: base64.b64encode(value).decode() for name, value in secret["data"].items()}}

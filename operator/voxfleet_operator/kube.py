"""A client of the API server: server-side apply, conditional writes, typed errors. Only this module imports kubernetes.

It uses only the raw part of kubernetes.aio, as the typed API costs 135 MB of memory. Calls of the library's untyped
functions carry `type: ignore[no-untyped-call]`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import time
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException

from voxfleet_api import API_VERSION, GROUP
from voxfleet_api.kinds import KINDS, Resource
from voxfleet_operator.kube_errors import (
    ApiUnavailable,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NoCluster,
    NotFound,
    SecretForbidden,
    SecretNotFound,
    error_of,
    no_answer,
    refused_user,
)
from voxfleet_operator.kube_objects import parse, resource_path

FIELD_MANAGER = "voxfleet-operator"
PAGE_SIZE = 500
REQUEST_TIMEOUT_SECONDS = 30.0
_SECRET_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

R = TypeVar("R", bound=Resource)
Json = dict[str, Any]
"""A JSON object as the API server sends it."""
ObserveRequest = Callable[[str, int | None, float], None]
"""Hears of each request: its method, the status of the answer (None: there was none), and the seconds that it took."""


def _unobserved(_verb: str, _code: int | None, _seconds: float) -> None:
    return


@dataclass(frozen=True, slots=True)
class Connection:
    """What another client needs to reach the API server."""

    server: str
    ca_file: str | None
    insecure: bool
    token: str | None
    certificate_file: str | None
    key_file: str | None


class Kube:
    """A connection pool to the API server. Belongs to the event loop that opened it.

    Calls raise the errors of kube_errors and no others.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        user_agent: str = FIELD_MANAGER,
        namespace: str = "default",
        observe: ObserveRequest = _unobserved,
    ) -> None:
        self._observe = observe
        self._client = ApiClient(configuration)
        self._user_agent = user_agent
        self.namespace = namespace
        """The namespace that the kubeconfig's context names."""

    @classmethod
    async def connect(
        cls,
        kubeconfig: Path | None = None,
        *,
        context: str | None = None,
        user_agent: str = FIELD_MANAGER,
        observe: ObserveRequest = _unobserved,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
    ) -> Self:
        """Uses `kubeconfig`, else KUBECONFIG, else ~/.kube/config, else the service account of this pod.

        Raises NoCluster.
        """
        configuration = Configuration()
        # The authorities of clusters often lack the key identifiers that Python's strict mode requires.
        configuration.disable_strict_ssl_verification = True
        location = kubeconfig or _default_kubeconfig()
        namespace = "default"
        try:
            if location is None:
                kube_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                async with asyncio.timeout(timeout_seconds):  # a credential plugin that the kubeconfig names may run
                    loader = await kube_config.load_kube_config(  # type: ignore[no-untyped-call]
                        config_file=str(location),
                        context=context,
                        client_configuration=configuration,
                        persist_config=False,
                    )
                namespace = loader.current_context["context"].get("namespace") or namespace
        except TimeoutError as error:
            plugin = f"the credential plugin that {location} names gave no token within {timeout_seconds:g} s"
            raise NoCluster(f"no cluster access: {plugin}; run it by hand to see what it waits for") from error
        except ConfigException as error:
            where = "there is no kubeconfig, and this is no pod" if location is None else f"{location} gives none"
            raise NoCluster(f"no cluster access: {where} ({error}); set KUBECONFIG or pass --kubeconfig") from error
        return cls(configuration, user_agent=user_agent, namespace=namespace, observe=observe)

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connection(self) -> Connection:
        """How to reach the API server, with the current token, as tokens rotate."""
        configuration = self._client.configuration
        header = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return Connection(
            server=configuration.host,
            ca_file=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            token=header.split(" ", 1)[-1].strip() if header else None,
            certificate_file=configuration.cert_file,
            key_file=configuration.key_file,
        )

    # Resources of this project.

    async def list(self, kind: type[R], namespace: str = "") -> tuple[list[R], str]:
        """All objects of a kind and the resourceVersion of the list; raises Unreadable."""
        items, version = await self.list_objects(resource_path(kind, namespace))
        return [parse(kind, item) for item in items], version

    async def get(self, kind: type[R], namespace: str, name: str) -> R | None:
        """None if it does not exist; raises Unreadable."""
        try:
            return parse(kind, await self.request("GET", resource_path(kind, namespace, name)))
        except NotFound:
            return None

    async def create(
        self, resource: Mapping[str, Any], *, field_manager: str = FIELD_MANAGER, dry_run: bool = False
    ) -> Json:
        """Creates an object of this project's kinds; raises AlreadyExists. With `dry_run` it is only checked."""
        kind = next((kind for kind in KINDS if kind.crd.kind == resource["kind"]), None)
        if kind is None:
            raise Invalid(f"{resource['kind']} is not a kind of {GROUP}")
        namespace = resource["metadata"].get("namespace", "")
        query = {"fieldManager": field_manager, **({"dryRun": "All"} if dry_run else {})}
        return await self.request("POST", resource_path(kind, namespace), body=resource, query=query)

    async def change_spec(
        self,
        kind: type[R],
        namespace: str,
        name: str,
        changes: Mapping[str, object],
        *,
        field_manager: str = FIELD_MANAGER,
        uid: str | None = None,
    ) -> R:
        """Changes some fields of a spec, whatever the others are now.

        With a UID, it raises Conflict if another object has the name meanwhile.
        """
        body: dict[str, object] = {"spec": dict(changes)}
        if uid is not None:
            body["metadata"] = {"uid": uid}
        try:
            answer = await self.request(
                "PATCH",
                resource_path(kind, namespace, name),
                body=body,
                query={"fieldManager": field_manager},
                content_type="application/merge-patch+json",
            )
        except Invalid as error:
            if uid is not None and "metadata.uid" in str(error):  # what it says of a custom resource, instead of 409
                raise Conflict(str(error)) from error
            raise
        return parse(kind, answer)

    async def check(self, resource: Mapping[str, Any]) -> Json:
        """What the API server would make of a new object of this project's kinds, which it does not store.

        An unknown field is an error. Raises AlreadyExists only for an object that it would otherwise take.
        """
        kind = next((kind for kind in KINDS if kind.crd.kind == resource["kind"]), None)
        if kind is None:
            raise Invalid(f"{resource['kind']} is not a kind of {GROUP}")
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", "dryRun": "All"}
        path = resource_path(kind, resource["metadata"].get("namespace", ""))
        return await self.request("POST", path, body=resource, query=query)

    async def apply_status(
        self,
        kind: type[R],
        namespace: str,
        name: str,
        status: Mapping[str, Any],
        resource_version: str | None = None,
    ) -> R:
        """Replaces everything that this operator has written into an object's status.

        With a resource version, the write is conditional and raises Conflict if the object has changed.
        """
        metadata = {"name": name}
        if kind.crd.scope == "Namespaced":
            metadata["namespace"] = namespace
        if resource_version is not None:
            metadata["resourceVersion"] = resource_version
        body = {"apiVersion": API_VERSION, "kind": kind.crd.kind, "metadata": metadata, "status": dict(status)}
        answer = await self.request(
            "PATCH",
            resource_path(kind, namespace, name, "status"),
            body=body,
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            content_type="application/apply-patch+yaml",
        )
        return parse(kind, answer)

    async def set_finalizers(
        self, kind: type[R], namespace: str, name: str, finalizers: Sequence[str], resource_version: str
    ) -> R:
        """Raises Conflict if the object has changed since `resource_version`."""
        answer = await self.request(
            "PATCH",
            resource_path(kind, namespace, name),
            body={"metadata": {"finalizers": [*finalizers], "resourceVersion": resource_version}},
            query={"fieldManager": FIELD_MANAGER},
            content_type="application/merge-patch+json",
        )
        return parse(kind, answer)

    async def set_owner(
        self, kind: type[R], namespace: str, name: str, owner: Mapping[str, object], resource_version: str
    ) -> R:
        """Makes `owner` the only owner. Raises Conflict if the object has changed since `resource_version`."""
        answer = await self.request(
            "PATCH",
            resource_path(kind, namespace, name),
            body={"metadata": {"ownerReferences": [dict(owner)], "resourceVersion": resource_version}},
            query={"fieldManager": FIELD_MANAGER},
            content_type="application/merge-patch+json",
        )
        return parse(kind, answer)

    async def delete(self, kind: type[Resource], namespace: str, name: str, uid: str) -> None:
        """Deletes this very object. Does nothing if it is gone, or if another UID now has its name."""
        try:
            await self.request(
                "DELETE",
                resource_path(kind, namespace, name),
                body={"preconditions": {"uid": uid}, "propagationPolicy": "Background"},
            )
        except (NotFound, Conflict):
            return

    # Everything else.

    async def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        """A Secret's data, decoded; raises SecretNotFound, SecretForbidden.

        The name comes from a user's spec. One that no Secret can have is not asked for: it could lead to another
        namespace's (`../../other/secrets/theirs`), or into the commands that a refusal tells an admin to type.
        """
        if not _SECRET_NAME.fullmatch(name):
            raise SecretNotFound(namespace, name)
        try:
            answer = await self.request(
                "GET", f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets/{quote(name, safe='')}"
            )
        except NotFound as error:
            raise SecretNotFound(namespace, name) from error
        except Forbidden as error:
            raise SecretForbidden(namespace, name, refused_user(error)) from error
        return {key: base64.b64decode(value) for key, value in (answer.get("data") or {}).items()}

    async def config_map(self, namespace: str, name: str) -> dict[str, str] | None:
        """A ConfigMap's data; None without one. Raises KubeError."""
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/configmaps/{quote(name, safe='')}"
        try:
            answer = await self.request("GET", path)
        except NotFound:
            return None
        return {str(key): str(value) for key, value in (answer.get("data") or {}).items()}

    async def namespace_labels(self, namespace: str) -> dict[str, str]:
        """Raises NotFound, Forbidden."""
        answer = await self.request("GET", f"/api/v1/namespaces/{quote(namespace, safe='')}")
        return {str(name): str(value) for name, value in (answer["metadata"].get("labels") or {}).items()}

    async def kube_system_uid(self) -> str:
        """The UID that identifies a control plane."""
        answer = await self.request("GET", "/api/v1/namespaces/kube-system")
        uid: str = answer["metadata"]["uid"]
        return uid

    async def list_objects(self, path: str) -> tuple[Sequence[Json], str]:
        """Reads all objects of a collection, page by page, and the resourceVersion at which they were listed."""
        while True:
            try:
                return await self._list_pages(path)
            except Gone:  # a page token has expired, so the list starts again
                continue

    async def _list_pages(self, path: str) -> tuple[Sequence[Json], str]:
        items: MutableSequence[Json] = []
        query = {"limit": str(PAGE_SIZE)}
        while True:
            page = await self.request("GET", path, query=query)
            items.extend(page.get("items") or [])
            metadata = page["metadata"]
            if not metadata.get("continue"):
                return items, metadata["resourceVersion"]
            query = {"limit": str(PAGE_SIZE), "continue": metadata["continue"]}

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
        """Makes one call, with JSON in and out. Raises a KubeError."""
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": self._user_agent}
        url = f"{self._client.configuration.host}{path}"
        if query:
            url = f"{url}?{urlencode(query)}"
        started = time.perf_counter()
        code: int | None = None
        try:
            async with asyncio.timeout(timeout_seconds) as authorizing:  # a plugin of the kubeconfig may give the token
                await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            response = await self._client.rest_client.request(  # type: ignore[no-untyped-call]
                method,
                url,
                headers=headers,
                body=body,
                _request_timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            )
            content: bytes = await response.read()
            code = response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ConfigException) as error:
            server = self._client.configuration.host
            if authorizing.expired():
                server = "asks for a token first, and the credential plugin that the kubeconfig names"
            raise ApiUnavailable(no_answer(f"{method} {path}", server, error, timeout_seconds)) from error
        finally:
            self._observe(method, code, time.perf_counter() - started)
        if 200 <= response.status < 300:
            answer: Json = json.loads(content)
            return answer
        raise error_of(f"{method} {path}", response.status, content)


def _default_kubeconfig() -> Path | None:
    named = os.environ.get("KUBECONFIG")
    if named:
        return Path(named)
    home = Path.home() / ".kube" / "config"
    return home if home.exists() else None

"""Asks a kube-apiserver as kubectl does, without a process for each of hundreds of questions.

kubectl takes a tenth of a second of processor time to ask one. Tests that apply what people apply still use it.
"""

from __future__ import annotations

import ssl
import time
from typing import Any, Self, TypeVar, cast

import httpx

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import KINDS, Resource
from voxfleet_dev.controlplane import ControlPlane

NAMESPACE = "default"
R = TypeVar("R", bound=Resource)
MOST_REQUESTS = 10
_MERGE = {"Content-Type": "application/merge-patch+json"}


class Refused(Exception):
    """The server's own words."""


class ApiServer:
    """Objects of VoxFleet's kinds. Unknown fields are refused, as kubectl has them be."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._http = httpx.Client(
            base_url=f"{control_plane.url}/apis/{API_VERSION}",
            headers={"Authorization": f"Bearer {control_plane.token}"},
            params={"fieldValidation": "Strict", "fieldManager": "tests"},
            verify=ssl.create_default_context(cafile=str(control_plane.ca_file)),
            trust_env=False,
            timeout=60,
            limits=httpx.Limits(max_keepalive_connections=0),  # tests start the server anew
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, kind: type[R], name: str, namespace: str = NAMESPACE) -> R:
        """Raises Refused, also where there is none."""
        return kind.load(self._request("GET", _path(kind.crd.kind, name, namespace=namespace)))

    def list(self, kind: type[R], namespace: str = NAMESPACE) -> list[R]:
        found = self._request("GET", _path(kind.crd.kind, namespace=namespace))
        return [kind.load(item) for item in found["items"]]

    def create(self, body: dict[str, object], *, dry_run: bool = False) -> dict[str, Any]:
        """What the server stores, or with `dry_run` would store. Raises Refused."""
        params = {"dryRun": "All"} if dry_run else {}
        return self._request("POST", _path(str(body["kind"])), json=body, params=params)

    def patch(self, kind: str, name: str, body: dict[str, object], subresource: str = "") -> dict[str, Any]:
        """Merges `body` into the object. Raises Refused."""
        return self._request("PATCH", _path(kind, name, subresource), json=body, headers=_MERGE)

    def delete(self, kind: str, name: str) -> None:
        """Nothing to delete is no error."""
        answer = self._http.delete(_path(kind, name))
        assert answer.status_code in (200, 404), answer.text

    def _request(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        """Asks again when told to, as kubectl does: a kind that has just been installed answers 429 for a moment."""
        for _ in range(MOST_REQUESTS):
            response = self._http.request(method, path, **content)
            if response.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            time.sleep(float(response.headers.get("Retry-After", "1")))
        return _answer(response)


def _path(kind: str, *parts: str, namespace: str = NAMESPACE) -> str:
    crd = next(known.crd for known in KINDS if known.crd.kind == kind)
    space = f"/namespaces/{namespace}" if crd.scope == "Namespaced" else ""
    return "/".join(part for part in (f"{space}/{crd.plural}", *parts) if part)


def _answer(response: httpx.Response) -> dict[str, Any]:
    answer = cast("dict[str, Any]", response.json())
    if response.is_error:
        raise Refused(answer["message"])
    return answer

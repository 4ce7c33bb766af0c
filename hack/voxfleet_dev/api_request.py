"""Single requests to a kube-apiserver on loopback, where a kubectl process each would take a tenth of a second."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

APPLY = "application/apply-patch+yaml"
TIMEOUT_SECONDS = 30.0


class RequestRefused(RuntimeError):
    """The API server answered with an error: its status code, and its own words."""

    def __init__(self, call: str, status: int, message: str) -> None:
        super().__init__(f"{call}: HTTP {status}: {message}")
        self.status = status
        self.message = message


class ApiRequests:
    """Requests with one bearer token. Raises RequestRefused; OSError while nobody answers."""

    def __init__(self, url: str, ca_file: Path, token: str) -> None:
        self._url = url
        self._token = token
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca_file)))
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type, "Accept": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, content, headers, method=method)
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                found: dict[str, Any] = json.loads(answer.read() or b"{}")
                return found
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            try:
                message = str(json.loads(text)["message"])
            except (ValueError, KeyError, TypeError):
                message = text
            raise RequestRefused(f"{method} {path}", error.code, message) from error

    def apply(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Server-side apply of a whole object, over what others have written into it."""
        return self.call("PATCH", f"{path}?fieldManager=voxfleet-dev&force=true", body, APPLY)

"""Follows every change of some kinds of objects, as the API server tells it."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPResponse
from types import TracebackType
from typing import Self

from tests.bench.failure import MeasurementFailed

from voxfleet_api import API_VERSION
from voxfleet_dev.controlplane import ControlPlane

LONGEST_SECONDS = 3600

OnChange = Callable[[str, Mapping[str, object], int], None]
"""Takes the kind's plural name, the object as it is now, and its size in bytes as the server sends it."""


class ApiWatch:
    """A context manager; `on_change` is called in threads of its own, one a kind. What exists comes first."""

    def __init__(self, control_plane: ControlPlane, plurals: tuple[str, ...], on_change: OnChange) -> None:
        self._control_plane = control_plane
        self._on_change = on_change
        self._plurals = plurals
        self._ended = False
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        for plural in self._plurals:
            threading.Thread(target=self._follow, args=(plural, self._open(plural)), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The streams end with their server. Raises MeasurementFailed when changes may have been missed."""
        self._ended = True
        if self._failure is not None and error is None:
            raise MeasurementFailed(f"a watch ended early: {self._failure}")

    def _open(self, plural: str) -> HTTPResponse:
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self._control_plane.ca_file)))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)
        address = f"{self._control_plane.url}/apis/{API_VERSION}/{plural}?watch=true&timeoutSeconds={LONGEST_SECONDS}"
        headers = {"Authorization": f"Bearer {self._control_plane.token}", "User-Agent": "voxfleet-bench/1"}
        request = urllib.request.Request(address, headers=headers)  # noqa: S310 - https loopback
        stream: HTTPResponse = opener.open(request, timeout=LONGEST_SECONDS)
        return stream

    def _follow(self, plural: str, stream: HTTPResponse) -> None:
        try:
            for line in stream:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise MeasurementFailed(f"{plural}: {event['object']}")
                around = len(f'{{"type":"{event["type"]}","object":}}\n')
                if self._ended:
                    return
                self._on_change(plural, event["object"], len(line) - around)
            raise MeasurementFailed(f"{plural}: the server closed the watch")
        except Exception as error:  # noqa: BLE001 # a thread has nobody else to tell
            if not self._ended:
                self._failure = error

"""What etcd holds, by its own account."""

from __future__ import annotations

import base64
import json
import re
import urllib.request

from tests.bench.failure import MeasurementFailed

_IN_USE = re.compile(r"^etcd_mvcc_db_total_size_in_use_in_bytes (\S+)$", re.MULTILINE)


class EtcdStore:
    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def in_use_bytes(self) -> int:
        """Old revisions included, until the API server compacts them, every 5 minutes."""
        with self._opener.open(f"{self._url}/metrics", timeout=10) as answer:
            found = _IN_USE.search(answer.read().decode())
        if found is None:
            raise MeasurementFailed("etcd does not say how much of its database is in use")
        return int(float(found[1]))

    def compacted_bytes(self) -> int:
        """What is in use once no old revision is left."""
        key = base64.b64encode(b"/registry").decode()
        revision = self._post("/v3/kv/range", {"key": key})["header"]["revision"]
        self._post("/v3/kv/compaction", {"revision": revision, "physical": True})
        return self.in_use_bytes()

    def _post(self, path: str, body: dict[str, object]) -> dict[str, dict[str, str]]:
        request = urllib.request.Request(self._url + path, json.dumps(body).encode())  # noqa: S310 - loopback
        with self._opener.open(request, timeout=30) as answer:
            parsed: dict[str, dict[str, str]] = json.load(answer)
        return parsed

"""What a process's health server answers."""

from __future__ import annotations

import urllib.request


class HealthClient:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answer(self, path: str) -> str:
        """Raises OSError."""
        with self._opener.open(self.url + path, timeout=5) as response:
            text: str = response.read().decode()
            return text

    def ready(self) -> bool:
        try:
            return self.answer("/readyz") == "ok\n"
        except OSError:
            return False

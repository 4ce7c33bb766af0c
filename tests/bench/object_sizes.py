"""The largest objects that the API server ever held, by kind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class ObjectSizes:
    """`note` is an `on_change` of ApiWatch."""

    objects: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)

    def note(self, plural: str, changed: Mapping[str, object], size_bytes: int) -> None:
        status = json.dumps(changed.get("status", {}), separators=(",", ":"), ensure_ascii=False).encode()
        self.objects[plural] = max(self.objects[plural], size_bytes)
        self.statuses[plural] = max(self.statuses[plural], len(status))
        self.changes[plural] += 1

    def __str__(self) -> str:
        return ", ".join(
            f"{plural}: largest {self.objects[plural]} B, its status {self.statuses[plural]} B, {count} changes"
            for plural, count in sorted(self.changes.items())
        )

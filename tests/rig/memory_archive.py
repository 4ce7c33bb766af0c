"""A ledger archive in memory, which can fail or stop between any two writes."""

from __future__ import annotations

from collections.abc import Callable

from voxfleet_billing.archive_access import ArchiveError, ObjectMissing


class MemoryArchive:
    uri = "memory://archive"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.down = False
        self.before_write: Callable[[str], None] = lambda _: None
        """Called with the path; what it raises ends the write."""

    def get(self, path: str) -> bytes:
        self._answer()
        if path not in self.objects:
            raise ObjectMissing(f"{self.uri}/{path}: there is no such object")
        return self.objects[path]

    def create(self, path: str, content: bytes) -> bool:
        self._answer()
        self.before_write(path)
        if path in self.objects:
            return False
        self.objects[path] = content
        return True

    def names(self, path: str) -> list[str]:
        self._answer()
        prefix = f"{path}/" if path else ""
        return sorted({name[len(prefix) :].split("/")[0] for name in self.objects if name.startswith(prefix)})

    def delete(self, path: str) -> None:
        self._answer()
        self.before_write(path)
        self.objects.pop(path, None)

    def _answer(self) -> None:
        if self.down:
            raise ArchiveError(f"{self.uri}: does not answer; start it")

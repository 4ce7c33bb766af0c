"""Reads and writes the files in a job's output folder by their relative names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import RangeReader, Storage
from voxfleet_agent.storage.upload_content import Content
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.results import FileRef

FILE_LIMIT_BYTES = 2**30
SMALL_FILE_BYTES = 16 * 2**20
"""Larger than any plan; limits how much is read when the output's server sends something else."""
MAX_FILES = 1_000_000


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The job's own folder below its output prefix.

    Every call retries the failure classes that the contract lists, and raises VoxFleetError naming the file.
    """

    storage: Storage
    folder: str
    retrier: Retrier

    def uri(self, name: str) -> str:
        return f"{self.folder}/{name}"

    async def exists(self, name: str) -> bool:
        with _naming_file(name):
            return await self.retrier(lambda: self.storage.exists(self.uri(name)))

    async def read(self, name: str, limit_bytes: int = FILE_LIMIT_BYTES) -> bytes:
        with _naming_file(name):
            return await self.retrier(lambda: self.storage.get(self.uri(name), limit_bytes))

    async def read_verified(self, name: str, sha256: str) -> bytes:
        """Raises VoxFleetError(PLAN_MISMATCH) when the content has another sha256."""
        content = await self.read(name)
        require_sha256(name, content, sha256)
        return content

    async def size_bytes(self, name: str) -> int:
        with _naming_file(name):
            return (await self.retrier(lambda: self.storage.head(self.uri(name)))).size_bytes

    async def write(self, name: str, content: bytes | Content) -> None:
        """Replaces the file when it exists."""
        with _naming_file(name):
            await self.retrier(lambda: self.storage.put(self.uri(name), content))

    async def write_once(self, name: str, content: bytes) -> None:
        """Raises VoxFleetError(MACHINE_LOST) when the file exists with other content."""
        with _naming_file(name):
            await self.retrier(lambda: self.storage.put_once(self.uri(name), content))

    async def write_file(self, name: str, path: Path) -> None:
        """Uploads a local file. Raises VoxFleetError(MACHINE_LOST) when the target exists with other content."""
        with _naming_file(name):
            await self.retrier(lambda: self.storage.put_file(self.uri(name), path))

    async def reader(self, name: str) -> RangeReader:
        """The returned reader blocks, so read from it in a thread."""
        with _naming_file(name):
            _, reader = await self.retrier(lambda: self.storage.open_reader(self.uri(name)))
        return reader

    async def names_below(self, name: str) -> list[str]:
        with _naming_file(name):
            return await self.retrier(lambda: self.storage.list_names(f"{self.uri(name)}/", MAX_FILES))


@contextmanager
def _naming_file(name: str) -> Iterator[None]:
    """Puts the file's name in front of an error's message; no name of the job's own files contains that of a clip."""
    try:
        yield
    except VoxFleetError as error:
        raise VoxFleetError(error.failure_class, f"{name}: {error.message}") from error


def plan_mismatch(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.PLAN_MISMATCH, message)


def require_sha256(name: str, content: bytes, expected: str) -> None:
    actual = sha256_hex(content)
    if actual != expected:
        raise plan_mismatch(f"{name} has sha256 {actual[:12]}…, expected {expected[:12]}…")


def file_ref(path: str, content: bytes) -> FileRef:
    return FileRef(path=path, sha256=sha256_hex(content), size_bytes=len(content))

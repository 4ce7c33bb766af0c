"""Reads and writes the files of a job's folder by their relative names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from voxfleet_agent.stages.retry import with_retries
from voxfleet_agent.storage import Storage
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.results import ManifestRow, PlanFile, plan_folder

FILE_LIMIT_BYTES = 2**30
MAX_FILES = 1_000_000


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The job's own folder below its output prefix; every call retries Transport and Throttled
    and raises VoxFleetError naming the file."""

    storage: Storage
    folder: str

    def uri(self, name: str) -> str:
        return f"{self.folder}/{name}"

    async def read(self, name: str) -> bytes:
        with _named(name):
            return await with_retries(lambda: self.storage.get(self.uri(name), FILE_LIMIT_BYTES))

    async def read_verified(self, name: str, sha256: str) -> bytes:
        """Raises VoxFleetError(PLAN_MISMATCH) when the content has another sha256."""
        content = await self.read(name)
        require_sha256(name, content, sha256)
        return content

    async def write(self, name: str, content: bytes) -> None:
        with _named(name):
            await with_retries(lambda: self.storage.put(self.uri(name), content))

    async def write_once(self, name: str, content: bytes) -> None:
        """Raises VoxFleetError(MACHINE_LOST) when the file exists with other content."""
        with _named(name):
            await with_retries(lambda: self.storage.put_once(self.uri(name), content))

    async def names_below(self, name: str) -> list[str]:
        with _named(name):
            return await with_retries(lambda: self.storage.list_names(f"{self.uri(name)}/", MAX_FILES))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Tells which of the job's own files an error is about; their names hold no clip's."""
    try:
        yield
    except VoxFleetError as error:
        raise VoxFleetError(error.failure_class, f"{name}: {error.message}") from error


def require_sha256(name: str, content: bytes, expected: str) -> None:
    found = sha256_hex(content)
    if found != expected:
        raise mismatch(f"{name} has sha256 {found[:12]}…, expected {expected[:12]}…")


@dataclass(frozen=True, slots=True)
class FrozenPlan:
    file: PlanFile
    lines: tuple[bytes, ...]
    """Of manifest.jsonl; line k is clip k."""

    def rows(self, indexes: range) -> dict[int, ManifestRow]:
        """Raises VoxFleetError(PLAN_MISMATCH) for a clip that the manifest does not hold in its place."""
        try:
            rows = {index: ManifestRow.model_validate_json(self.lines[index]) for index in indexes}
        except (IndexError, ValidationError) as error:
            raise mismatch(f"manifest.jsonl does not hold the clips {indexes.start} to {indexes.stop - 1}") from error
        if any(row.index != index for index, row in rows.items()):
            raise mismatch("manifest.jsonl is not in the order of its indexes")
        return rows


async def read_plan(files: JobFiles, attempt: int, manifest_sha256: str) -> FrozenPlan:
    """The plan that the job froze. Raises VoxFleetError(OUTPUT_NOT_SHARED | PLAN_MISMATCH)."""
    await require_shared_output(files, attempt)
    plan_name = f"{plan_folder(attempt)}/plan.json"
    try:
        plan = PlanFile.model_validate_json(await files.read(plan_name))
    except ValidationError as error:
        raise mismatch(f"{plan_name} is not a plan that this agent understands") from error
    if plan.manifest_sha256 != manifest_sha256:
        raise mismatch(f"{plan_name} is of another manifest than the one that the job's status froze")
    manifest = await files.read_verified(f"{plan_folder(attempt)}/manifest.jsonl", manifest_sha256)
    return FrozenPlan(plan, tuple(manifest.splitlines()))


def nonce_name(plan_attempt: int) -> str:
    return f"{plan_folder(plan_attempt)}/nonce"


async def require_shared_output(files: JobFiles, plan_attempt: int) -> None:
    """Raises VoxFleetError(OUTPUT_NOT_SHARED) when this Mac does not see what Plan wrote into a local folder."""
    try:
        await files.read(nonce_name(plan_attempt))
    except VoxFleetError as error:
        if error.failure_class is not FailureClass.INPUT_NOT_FOUND:
            raise
        if files.folder.startswith("file:"):
            raise VoxFleetError(
                FailureClass.OUTPUT_NOT_SHARED,
                "this Mac does not see the output folder that Plan wrote on another one; use an s3:// output, a folder"
                " that every Mac mounts at the same path, or select one Mac with macSelector",
            ) from error
        raise mismatch("the plan's files are gone from the output; apply the job again under another name") from error


def mismatch(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.PLAN_MISMATCH, message)

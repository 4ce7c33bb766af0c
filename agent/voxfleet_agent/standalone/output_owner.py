"""Which state folder a run's output belongs to, so that two of them never tell two stories of one output."""

from __future__ import annotations

import secrets
from enum import Enum, auto
from pathlib import Path

from pydantic import ValidationError

from voxfleet_agent.durable_files import replace_file
from voxfleet_agent.machine import host_id
from voxfleet_agent.storage import Storage
from voxfleet_api.base import StatusModel
from voxfleet_api.digest import canonical_json
from voxfleet_api.failures import FailureClass, VoxFleetError

OWNER_NAME = "owner.json"
_LIMIT_BYTES = 64 * 1024


class OutputOwner(StatusModel):
    """owner.json in the output folder of a run without a cluster."""

    owner_id: str
    """Random; the state folder has the same in its file `owner`."""
    machine: str
    """The id of the machine that the state folder lies on."""
    state: str
    """The state folder."""


class OutputTaken(Exception):
    """The output belongs to another state folder; the message says which, and what to do."""


class Claim(Enum):
    KEEP = auto()
    TAKE = auto()
    REFUSE = auto()


def decide_claim(mine: OutputOwner, found: OutputOwner | None, *, other_state_exists: bool) -> Claim:
    """Whether the run may go on with its output. Pure.

    `other_state_exists`: whether this machine still has the journal in the state folder that `found` names. Without it,
    or when it is this run's own new one, nobody else can go on with the output, so the run takes it over with the
    results that are there.
    """
    if found is None:
        return Claim.TAKE
    if found.owner_id == mine.owner_id:
        return Claim.KEEP
    if found.machine == mine.machine and (found.state == mine.state or not other_state_exists):
        return Claim.TAKE
    return Claim.REFUSE


async def claim_output(
    storage: Storage, output_folder: str, mine: OutputOwner, journal_name: str, *, write: bool
) -> None:
    """Makes the output this run's own; without `write`, only looks whether it may.

    Raises OutputTaken, or VoxFleetError from storage.
    """
    uri = f"{output_folder}/{OWNER_NAME}"
    found = await _read(storage, uri)
    exists = found is not None and await _exists(storage, Path(found.state) / journal_name)
    claim = decide_claim(mine, found, other_state_exists=exists)
    if claim is Claim.REFUSE and found is not None:
        raise OutputTaken(_refusal(output_folder, mine, found))
    if claim is not Claim.TAKE or not write:
        return
    content = canonical_json(mine.dump())
    if found is not None:
        await storage.put(uri, content)
        return
    try:
        await storage.put_once(uri, content)
    except VoxFleetError as error:
        if error.failure_class is not FailureClass.MACHINE_LOST:
            raise
        raise OutputTaken(f"another run has just begun to write to {output_folder}; let it end") from error


def owner_of(state: Path) -> OutputOwner:
    """The owner that this state folder is; it gets an id when it has none. Raises OSError."""
    file = state / "owner"
    try:
        owner_id = file.read_text()
    except FileNotFoundError:
        owner_id = secrets.token_hex(16)
        replace_file(file, owner_id.encode())
    return OutputOwner(owner_id=owner_id, machine=host_id(), state=str(state))


def _refusal(output_folder: str, mine: OutputOwner, found: OutputOwner) -> str:
    if found.machine == mine.machine:
        return (
            f"{output_folder} belongs to the run with the state folder {found.state}; go on with that one (-c and"
            " --state decide which it is), delete that folder to take the output over, or write another metadata.name"
        )
    return (
        f"{output_folder} belongs to a run on another machine (state folder {found.state} there); go on there, delete"
        f" {output_folder}/{OWNER_NAME} to take the output over, or write another metadata.name"
    )


async def _exists(storage: Storage, journal: Path) -> bool:
    """Also of what this account may not look at, or what does not answer: it may well exist."""
    try:
        return await storage.call_at(str(journal), journal.exists)
    except (OSError, VoxFleetError):
        return True


async def _read(storage: Storage, uri: str) -> OutputOwner | None:
    try:
        return OutputOwner.model_validate_json(await storage.get(uri, _LIMIT_BYTES))
    except ValidationError:  # it was damaged, so it names nobody
        return None
    except VoxFleetError as error:
        if error.failure_class is FailureClass.INPUT_NOT_FOUND:
            return None
        raise

"""Whose output a run's folder is."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxfleet_agent.standalone.output_owner import (
    OWNER_NAME,
    Claim,
    OutputOwner,
    OutputTaken,
    claim_output,
    decide_claim,
    owner_of,
)
from voxfleet_agent.storage import Storage

MINE = OutputOwner(owner_id="mine", machine="here", state="/state/mine")
OTHER = OutputOwner(owner_id="other", machine="here", state="/state/other")
ELSEWHERE = OutputOwner(owner_id="other", machine="there", state="/state/other")


@pytest.mark.parametrize(
    ("found", "other_state_exists", "claim"),
    [
        (None, False, Claim.TAKE),
        (MINE, True, Claim.KEEP),
        (OTHER, True, Claim.REFUSE),
        (OTHER, False, Claim.TAKE),
        (OutputOwner(owner_id="lost", machine="here", state=MINE.state), True, Claim.TAKE),
        (ELSEWHERE, False, Claim.REFUSE),
        (ELSEWHERE, True, Claim.REFUSE),
    ],
)
def test_only_one_state_folder_goes_on_with_an_output(
    found: OutputOwner | None, other_state_exists: bool, claim: Claim
) -> None:
    assert decide_claim(MINE, found, other_state_exists=other_state_exists) is claim


async def test_a_state_folder_keeps_its_output_until_it_is_gone(tmp_path: Path) -> None:
    first, second = (owner_of(made(tmp_path / name)) for name in ("first", "second"))
    assert first == owner_of(tmp_path / "first") and first.owner_id != second.owner_id
    output = f"file://{made(tmp_path / 'out')}"
    async with Storage([f"{output}/"]) as storage:
        await claim_output(storage, output, first, "journal", write=False)
        assert not (tmp_path / "out" / OWNER_NAME).exists()
        await claim_output(storage, output, first, "journal", write=True)
        (tmp_path / "first" / "journal").touch()
        with pytest.raises(OutputTaken, match=f"state folder {tmp_path}/first; .* delete that folder"):
            await claim_output(storage, output, second, "journal", write=True)
        await claim_output(storage, output, first, "journal", write=True)
        (tmp_path / "first" / "journal").unlink()
        await claim_output(storage, output, second, "journal", write=True)
        (tmp_path / "second" / "journal").touch()
        with pytest.raises(OutputTaken):
            await claim_output(storage, output, first, "journal", write=False)


async def test_another_machine_s_output_is_taken_over_by_hand_only(tmp_path: Path) -> None:
    output, mine = f"file://{made(tmp_path / 'out')}", owner_of(made(tmp_path / "mine"))
    elsewhere = mine.model_copy(update={"owner_id": "other", "machine": "there"})
    (tmp_path / "out" / OWNER_NAME).write_text(elsewhere.model_dump_json(by_alias=True))
    async with Storage([f"{output}/"]) as storage:
        with pytest.raises(OutputTaken, match=f"another machine .* delete {output}/{OWNER_NAME}"):
            await claim_output(storage, output, mine, "journal", write=True)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def test_a_state_folder_that_may_not_be_looked_at_counts_as_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, mine = f"file://{made(tmp_path / 'out')}", owner_of(made(tmp_path / "mine"))
    other = mine.model_copy(update={"owner_id": "other", "state": "/home/else/state"})
    (tmp_path / "out" / OWNER_NAME).write_text(other.model_dump_json(by_alias=True))

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    async with Storage([f"{output}/"]) as storage:
        with pytest.raises(OutputTaken, match="state folder /home/else/state"):
            await claim_output(storage, output, mine, "journal", write=True)

"""What an attempt's status says of its state, for an operator that may not know that state."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.rig.attempt_spec import SPEECH, attempt_spec

from voxfleet_agent.attempts.event_feed import status_of
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.journal.journal import Journal
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import AttemptState, AttemptStatus


@pytest.mark.parametrize("state", AttemptState)
def test_an_attempt_has_ended_in_its_terminal_states_only(tmp_path: Path, state: AttemptState) -> None:
    spec = attempt_spec(Stage.FINALIZE, "shard", VoiceContractSpec(input=SPEECH))
    record = JournaledAttempt(AttemptKey("shard", 1), "digest", "cp", spec, state)

    async def reported() -> AttemptStatus:
        journal = await Journal.open(tmp_path, tmp_path / "journal.db")
        try:
            return await journal.read(lambda db: status_of(db, "chain", record))
        finally:
            await journal.close()

    assert asyncio.run(reported()).ended is (state in {AttemptState.SUCCEEDED, AttemptState.FAILED})

"""Scratch for the copy that a decoder needs of the audio within a file: counted in Plan, reserved in Process."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.agent.audio.audio_bytes import flac, wav
from tests.unit.agent.audio.mp3_bytes import ID3V1, RATE_HZ, frames, id3v2

from voxfleet_agent.stages.plan.header_inspection import inspect_clip
from voxfleet_agent.stages.plan.input_clip import InputClip
from voxfleet_agent.stages.process.prefetch import clip_scratch_bytes
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.contract_limits import ScratchLimit
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import ManifestRow

AUDIO = frames(20)
ACCEPTED = ContractInput(containers=tuple(Container), sample_rates_hz=(RATE_HZ,), channels=(1,))
CONTRACT = VoiceContractSpec(input=ACCEPTED)


async def planned(folder: Path, content: bytes, contract: VoiceContractSpec = CONTRACT) -> ManifestRow:
    (folder / "x").write_bytes(content)
    return await inspect_clip(Storage([f"{folder.as_uri()}/"]), contract, 0, InputClip("x", f"{folder.as_uri()}/x"))


@pytest.mark.parametrize(
    ("content", "copied_bytes"),
    [
        (AUDIO, len(AUDIO)),  # only all of its frames show whether it is copied
        (id3v2(bytes(90)) + AUDIO + ID3V1, len(AUDIO)),
        (wav(), 0),
        (id3v2(bytes(90)) + wav(), len(wav())),
        (flac() + b"\xff\xf8frame", 0),
        (flac() + b"\xff\xf8frame" + ID3V1, len(flac()) + 7),
    ],
)
async def test_the_copy_is_reserved_beside_the_file(tmp_path: Path, content: bytes, copied_bytes: int) -> None:
    row = await planned(tmp_path, content)
    assert row.refusal is None
    assert row.decode_scratch_bytes == copied_bytes
    assert clip_scratch_bytes(row) == len(content) + copied_bytes


async def test_a_clip_that_does_not_fit_with_its_copy_is_refused(tmp_path: Path) -> None:
    size_bytes = 2 * len(AUDIO)
    fits = CONTRACT.model_copy(update={"scratch": ScratchLimit(max_bytes=str(size_bytes))})
    assert (await planned(tmp_path, AUDIO, fits)).refusal is None
    short = CONTRACT.model_copy(update={"scratch": ScratchLimit(max_bytes=str(size_bytes - 1))})
    refusal = (await planned(tmp_path, AUDIO, short)).refusal
    assert refusal is not None
    assert refusal.failure_class is FailureClass.CONTRACT_VIOLATION
    assert f"has {len(AUDIO)} bytes, and its decoder needs a copy of the {len(AUDIO)} that are audio" in refusal.reason
    assert f"scratch.maxBytes is {size_bytes - 1}" in refusal.reason

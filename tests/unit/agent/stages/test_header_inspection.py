"""A header fails its own clip, whatever its parser raises; what the storage raises is no fault of a clip."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.agent.audio.audio_bytes import wav

from voxfleet_agent.audio.header_facts import ClipReader, HeaderFacts
from voxfleet_agent.stages.plan import header_inspection
from voxfleet_agent.stages.plan.header_inspection import inspect_clip
from voxfleet_agent.stages.plan.input_clip import InputClip
from voxfleet_agent.storage import RangeReader, Storage
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import ManifestRow

CONTRACT = VoiceContractSpec(input=ContractInput(containers=(Container.WAV,), sample_rates_hz=(16_000,), channels=(1,)))


async def inspected(folder: Path) -> ManifestRow:
    (folder / "x.wav").write_bytes(wav())
    uri = folder.as_uri()
    return await inspect_clip(Storage([f"{uri}/"]), CONTRACT, 0, InputClip("x", f"{uri}/x.wav"))


@pytest.mark.parametrize("error", [IndexError("of a box"), RecursionError(), ValueError("of a number")])
async def test_what_a_parser_raises_is_the_clip_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def parse(clip: ClipReader) -> HeaderFacts:
        clip.peek(0, 4)
        raise error

    monkeypatch.setattr(header_inspection, "sniff", lambda _: parse)
    refusal = (await inspected(tmp_path)).refusal
    assert refusal is not None and refusal.failure_class is FailureClass.DECODE_ERROR
    assert refusal.reason == f"has a header that raises {type(error).__name__} in its parser"


async def test_what_the_storage_raises_is_not_frozen_as_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: RangeReader, size: int, /) -> bytes:
        raise ValueError("no answer")

    monkeypatch.setattr(RangeReader, "read", read)
    with pytest.raises(ValueError, match="no answer"):
        await inspected(tmp_path)

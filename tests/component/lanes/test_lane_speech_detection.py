"""Texts on a lane: one file and one verdict for each. The worker is real, its voice is a stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.component.lanes.lane_rig import MakeLane, contract, run, synthesize_spec, tone, transcribe_spec

from voxfleet_agent.lanes.lane_types import ClipTask, SynthesizedFile
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import AudioOutput, ContractOutput

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAMPLES = 2400 + 1200


async def test_a_text_becomes_a_file_of_all_its_chunks(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in()
    facts = await lane.load(stand_in_model, synthesize_spec())
    assert (facts.sample_rate_hz, facts.batches, facts.ring_bytes, facts.seed) == (24_000, False, 0, 12)
    path = tmp_path / "spoken.wav"
    (verdict,) = await run(lane, [ClipTask(3, path, text="hello")])
    assert verdict.synthesized == SynthesizedFile(4 * SAMPLES, 24_000, chunks=2, interval_milliseconds=80)
    assert (verdict.index, verdict.failure_class, verdict.audio_milliseconds) == (3, None, 150)
    assert path.stat().st_size == 4 * SAMPLES


async def test_one_bad_text_costs_no_other_one_anything(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({"bad": "raise", "poison": "exit", "cut": "cut", "cut once": f"once:{tmp_path / 'marker'}:cut"})
    await lane.load(stand_in_model, synthesize_spec())
    texts = ["one", "bad", "two", "poison", "cut", "cut once", "three"]
    tasks = [ClipTask(index, tmp_path / f"{index}.wav", text=text) for index, text in enumerate(texts)]
    verdicts = {texts[verdict.index]: verdict for verdict in await run(lane, tasks)}
    assert {text: (verdict.failure_class, verdict.retries) for text, verdict in verdicts.items()} == {
        "one": (None, 0),
        "bad": (FailureClass.INFERENCE_ERROR, 0),
        "two": (None, 0),
        "poison": (FailureClass.LANE_CRASHED, 1),
        "cut": (FailureClass.TRUNCATED_OUTPUT, 1),
        "cut once": (None, 1),
        "three": (None, 0),
    }
    assert verdicts["cut once"].synthesized is not None and (tmp_path / "5.wav").stat().st_size == 4 * SAMPLES


async def test_a_model_of_another_rate_is_refused_before_any_text(
    stand_in: MakeLane, stand_in_model: ResolvedModel
) -> None:
    lane = stand_in()
    spec = contract().model_copy(update={"output": ContractOutput(audio=AudioOutput(sample_rate_hz=16_000))})
    with pytest.raises(VoxFleetError, match="speaks at 24000 Hz") as caught:
        await lane.load(stand_in_model, synthesize_spec(spec))
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION


async def test_a_lane_changes_from_synthesis_to_transcription(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in()
    await lane.load(stand_in_model, synthesize_spec())
    await lane.load(stand_in_model, transcribe_spec())
    (verdict,) = await run(lane, [ClipTask(0, tone(tmp_path / "clip", 4))])
    assert verdict.text == "clip 4"

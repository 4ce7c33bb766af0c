"""Texts through the real worker and a real, tiny model that synthesizes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from tests.component.lanes.lane_rig import run
from tests.component.lanes.voice_rig import LONG, RATE_HZ, SHORT, Samples, synthesize_spec

from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import AudioContainer, AudioEncoding, AudioOutput, Clipping
from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEADER_BYTES = 58
"""Of a float32 wav file."""
ENCODED = [
    (AudioContainer.WAV, AudioEncoding.PCM16),
    (AudioContainer.FLAC, AudioEncoding.PCM16),
    (AudioContainer.M4A, AudioEncoding.AAC),
]


@pytest.fixture(scope="module")
def resolved(voice_folder: Path) -> ResolvedModel:
    return ResolvedModel(voice_folder, "sha256:" + "7" * 64)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def voice_lane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProcessLane]:
    lane = ProcessLane("speaking-0", tmp_path_factory.mktemp("lane"))
    yield lane
    await lane.kill()


async def test_a_text_becomes_exactly_the_samples_that_the_model_generates(
    voice_lane: ProcessLane, resolved: ResolvedModel, generated: dict[str, Samples], tmp_path: Path
) -> None:
    facts = await voice_lane.load(resolved, synthesize_spec())
    assert (facts.family, facts.sample_rate_hz) == ("pocket_tts", RATE_HZ)
    texts = [SHORT, LONG, "a" * (MAX_TEXT_CHARACTERS + 1), SHORT]
    tasks = [ClipTask(index, tmp_path / f"{index}.wav", text=text) for index, text in enumerate(texts)]
    verdicts = {verdict.index: verdict for verdict in await run(voice_lane, tasks)}
    for index in (0, 1, 3):
        expected = np.clip(generated[texts[index]], -1.0, 1.0)
        read = np.frombuffer(tasks[index].path.read_bytes()[HEADER_BYTES:], "<f4")
        assert np.array_equal(read, expected)
        verdict = verdicts[index]
        assert verdict.failure_class is None and verdict.synthesized is not None
        assert verdict.audio_milliseconds == len(expected) * 1000 // RATE_HZ
        assert verdict.synthesized.size_bytes == HEADER_BYTES + 4 * len(expected)
        assert verdict.synthesized.interval_milliseconds == 160
    assert verdicts[2].failure_class is FailureClass.CONTRACT_VIOLATION and "characters" in verdicts[2].reason
    assert not tasks[2].path.exists()
    assert voice_lane.readings().restarts == {}


async def test_a_contract_at_another_rate_is_refused_before_any_text(
    voice_lane: ProcessLane, resolved: ResolvedModel
) -> None:
    with pytest.raises(VoxFleetError, match="speaks at 24000 Hz") as caught:
        await voice_lane.load(resolved, synthesize_spec(AudioOutput(sample_rate_hz=22_050)))
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION


@pytest.mark.parametrize(("container", "encoding"), ENCODED)
async def test_audio_longer_than_max_clip_leaves_no_file_and_costs_no_other_text_anything(
    voice_lane: ProcessLane,
    resolved: ResolvedModel,
    generated: dict[str, Samples],
    tmp_path: Path,
    container: AudioContainer,
    encoding: AudioEncoding,
) -> None:
    output = AudioOutput(container=container, encoding=encoding, sample_rate_hz=RATE_HZ, clipping=Clipping.LIMIT)
    assert len(generated[LONG]) > len(generated[SHORT])
    await voice_lane.load(resolved, synthesize_spec(output, f"{len(generated[SHORT]) * 1000 // RATE_HZ}ms"))
    tasks = [ClipTask(index, tmp_path / f"{index}.{container}", text=text) for index, text in enumerate([LONG, SHORT])]
    verdicts = {verdict.index: verdict for verdict in await run(voice_lane, tasks)}
    assert verdicts[0].failure_class is FailureClass.CONTRACT_VIOLATION
    assert "would last longer than maxClip" in verdicts[0].reason
    assert verdicts[1].failure_class is None
    assert tasks[1].path.exists() and not tasks[0].path.exists()


async def test_a_file_never_outgrows_the_bytes_that_were_reserved(
    voice_lane: ProcessLane, resolved: ResolvedModel, generated: dict[str, Samples], tmp_path: Path
) -> None:
    await voice_lane.load(resolved, synthesize_spec())
    fits = HEADER_BYTES + 4 * len(generated[SHORT])
    tasks = [ClipTask(n, tmp_path / f"{n}.wav", text=SHORT, max_bytes=fits - n) for n in range(2)]
    verdicts = {verdict.index: verdict for verdict in await run(voice_lane, tasks)}
    assert [verdicts[n].failure_class for n in range(2)] == [None, FailureClass.CONTRACT_VIOLATION]
    assert tasks[0].path.exists() and not tasks[1].path.exists()

"""The real worker with the real built-in model: transcripts, verdicts and attestations."""

from __future__ import annotations

import array
import os
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
from tests.component.lanes.lane_rig import RATE_HZ, Examples, contract, run, transcribe, transcribe_spec

from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.clip_warnings import WarningCode
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Conversions, Resample, Truncated, Windows
from voxfleet_api.kinds.contract_limits import Completeness, UnspokenText

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def ready(lane: ProcessLane, model: ResolvedModel) -> ProcessLane:
    """The module's lane with the usual spec, whichever one the test before loaded."""
    await lane.load(model, transcribe_spec())
    return lane


async def test_every_good_example_is_transcribed_word_for_word(ready: ProcessLane, example_clips: Examples) -> None:
    good = {name: (path, text) for name, (path, text, _) in example_clips.items() if text is not None}
    verdicts = {name: await transcribe(ready, path) for name, (path, _) in good.items()}
    assert {name: verdict.text for name, verdict in verdicts.items()} == {
        name: text for name, (_, text) in good.items()
    }
    assert all(verdict.failure_class is None and verdict.audio_milliseconds > 0 for verdict in verdicts.values())


async def test_a_verdict_says_what_was_done(ready: ProcessLane, example_clips: Examples) -> None:
    stereo = await transcribe(ready, example_clips["wav-44100-25"][0])
    assert stereo.attestation is not None
    assert stereo.attestation.model_dump() == {
        "container": "wav",
        "encoding": "pcm16",
        "sample_rate_hz": 44_100,
        "channels": 2,
        "conversions": ("downmix:2->1:Mean", "resample:44100->16000:soxr_vhq"),
        "decoder": "mlx-audio-io 1.3.24",
        "skipped": (),
        "sha256": None,
    }
    assert (stereo.index, stereo.batch_size, stereo.audio_milliseconds) == (7, 1, 1263)
    mono = await transcribe(ready, example_clips["wav-16000-01"][0])
    assert mono.attestation is not None and mono.attestation.conversions == ()


async def test_bytes_determine_the_container_and_names_do_not(
    ready: ProcessLane, example_clips: Examples, tmp_path: Path
) -> None:
    path, text, _ = example_clips["mp3-44100-27"]
    disguised = Path(shutil.copy(path, tmp_path / "clip.wav"))
    verdict = await transcribe(ready, disguised)
    assert verdict.text == text
    assert verdict.attestation is not None and verdict.attestation.container == "mp3"


async def test_a_row_is_warned_of_bytes_that_were_not_decoded(
    ready: ProcessLane, example_clips: Examples, tmp_path: Path
) -> None:
    path, text, _ = example_clips["mp3-16000-03"]
    content = path.read_bytes()
    rubbish = tmp_path / "x.mp3"
    rubbish.write_bytes(content + b"\r\n--boundary--\r\n")
    verdict = await transcribe(ready, rubbish)
    assert verdict.text == text
    assert [(warning.code, warning.message) for warning in verdict.warnings] == [
        (WarningCode.BYTES_SKIPPED, f"16 of its bytes were not decoded: 16 at byte {len(content)} (text)")
    ]
    assert (await transcribe(ready, path)).warnings == ()


async def test_a_cut_file_is_transcribed_where_the_contract_says_so(
    lane: ProcessLane, model: ResolvedModel, example_clips: Examples, tmp_path: Path
) -> None:
    spec = transcribe_spec()
    accepted = spec.contract.input.model_copy(update={"truncated": Truncated.ACCEPT})
    accepting = spec.contract.model_copy(update={"input": accepted})
    await lane.load(model, replace(spec, contract=accepting))
    cut = tmp_path / "x.mp3"
    cut.write_bytes(example_clips["mp3-16000-03"][0].read_bytes()[:-10])
    verdict = await transcribe(lane, cut)
    assert verdict.failure_class is None
    assert [warning.code for warning in verdict.warnings] == [WarningCode.TRUNCATED_AUDIO]


def pcm_wav(path: Path, audio: bytes) -> Path:
    head = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
    path.write_bytes(
        b"RIFF" + struct.pack("<I", 36 + len(audio)) + b"WAVEfmt " + struct.pack("<I", 16) + head
        + b"data" + struct.pack("<I", len(audio)) + audio
    )  # fmt: skip
    return path


def float_wav(samples: list[float]) -> bytes:
    audio = array.array("f", samples).tobytes()
    head = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(audio)) + b"WAVEfmt " + struct.pack("<I", 16) + head
        + b"data" + struct.pack("<I", len(audio)) + audio
    )  # fmt: skip


async def test_a_verdict_names_no_file(ready: ProcessLane, tmp_path: Path) -> None:
    path = tmp_path / "secret-name"
    path.write_bytes(float_wav([0.0] * 3000 + [float("nan")] + [0.0] * 3000))
    verdict = await transcribe(ready, path)
    assert verdict.failure_class is FailureClass.DECODE_ERROR and "not finite" in verdict.reason
    assert verdict.text is None and "secret-name" not in verdict.reason and str(tmp_path) not in verdict.reason


async def test_bad_examples_end_in_their_class(ready: ProcessLane, example_clips: Examples) -> None:
    for name in ("truncated", "rate-8000"):
        path, _, failure_class = example_clips[name]
        assert (await transcribe(ready, path)).failure_class == failure_class


async def test_an_undeclared_downmix_is_refused(
    lane: ProcessLane, model: ResolvedModel, example_clips: Examples
) -> None:
    await lane.load(model, transcribe_spec(contract(Conversions(resample=Resample(to_hz=16_000)))))
    verdict = await transcribe(lane, example_clips["wav-44100-25"][0])
    assert verdict.failure_class is FailureClass.CONTRACT_VIOLATION
    assert "declare conversions.downmix" in verdict.reason


async def test_a_length_that_only_decoding_shows_is_checked_against_the_contract(
    lane: ProcessLane, model: ResolvedModel, example_clips: Examples, tmp_path: Path
) -> None:
    flac = bytearray(example_clips["flac-16000-02"][0].read_bytes())
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)  # total samples: unknown
    path = tmp_path / "streamed.flac"
    path.write_bytes(flac)
    await lane.load(model, transcribe_spec())
    assert (await transcribe(lane, path)).text == example_clips["flac-16000-02"][1]
    await lane.load(model, transcribe_spec(contract(max_clip="1s")))
    verdict = await transcribe(lane, path)
    assert verdict.failure_class is FailureClass.CONTRACT_VIOLATION and "at most 1s" in verdict.reason


async def test_batches_give_the_transcripts_of_single_clips(ready: ProcessLane, example_clips: Examples) -> None:
    good = [path for path, text, _ in example_clips.values() if text is not None]
    clips = [ClipTask(index, path) for index, path in enumerate(good)]
    ready.batch_size = 8
    together = {verdict.index: verdict for verdict in await run(ready, clips)}
    assert max(verdict.batch_size for verdict in together.values()) == 8
    alone = {verdict.index: verdict for verdict in await run(ready, *([clip] for clip in clips))}
    assert {verdict.batch_size for verdict in alone.values()} == {1}
    for index, verdict in alone.items():
        assert (verdict.text, verdict.words) == (together[index].text, together[index].words)
    ready.batch_size = 4


async def test_a_long_clip_is_transcribed_window_by_window(
    lane: ProcessLane, model: ResolvedModel, example_clips: Examples, tmp_path: Path
) -> None:
    source, text, _ = example_clips["wav-16000-01"]
    audio = source.read_bytes()[44:]
    path = pcm_wav(tmp_path / "long", audio + bytes(32_000) + audio)
    windows = Windows(length="3s", seek="2s")
    await lane.load(model, transcribe_spec(contract(Conversions(windows=windows))))
    verdict = await transcribe(lane, path)
    assert verdict.text == f"{text} {text}"
    assert verdict.attestation is not None and "windows:3s" in verdict.attestation.conversions[-1]
    assert verdict.segments is not None and len(verdict.segments) > 1
    starts = [segment.start_milliseconds for segment in verdict.segments]
    assert starts == sorted(starts) and starts[-1] > 1000
    assert verdict.batch_size == 1
    readings = lane.readings()
    assert 0 < readings.ring_high_water_bytes <= readings.ring_bytes == (3 * 16_000 * 12 // 10 + 160) * 4


async def test_a_fifo_is_refused_at_once(ready: ProcessLane, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.wav")
    verdict = await transcribe(ready, tmp_path / "clip.wav")
    assert verdict.failure_class is FailureClass.DECODE_ERROR and "not a regular file" in verdict.reason


async def test_a_clip_that_is_gone_is_the_machines_fault(ready: ProcessLane, tmp_path: Path) -> None:
    with pytest.raises(VoxFleetError, match="No such file") as caught:
        await transcribe(ready, tmp_path / "gone.wav")
    assert caught.value.failure_class is FailureClass.RUNTIME_MISMATCH


async def test_the_child_opens_no_network_socket(ready: ProcessLane, example_clips: Examples) -> None:
    await transcribe(ready, example_clips["wav-16000-01"][0])
    assert ready.pid is not None
    assert psutil.Process(ready.pid).net_connections(kind="inet") == []


async def test_the_child_leaves_no_links_to_clips(ready: ProcessLane, example_clips: Examples) -> None:
    await transcribe(ready, example_clips["wav-16000-01"][0])
    assert list(ready.folder.glob("decode-*")) == []


async def test_a_broken_model_is_unavailable_and_the_lane_goes_on(
    ready: ProcessLane, model: ResolvedModel, example_clips: Examples, tmp_path: Path
) -> None:
    broken = tmp_path / "model"
    shutil.copytree(model.path, broken)
    (broken / "model.safetensors").write_bytes(b"not safetensors")
    pid = ready.pid
    with pytest.raises(VoxFleetError) as caught:
        await ready.load(ResolvedModel(broken, "sha256:" + "0" * 64), transcribe_spec())
    assert caught.value.failure_class is FailureClass.MODEL_UNAVAILABLE
    assert str(broken) in caught.value.message
    assert model.digest != ready.loaded_digest
    await ready.load(model, transcribe_spec())
    assert (ready.pid, ready.loaded_digest) == (pid, model.digest)
    path, text, _ = example_clips["wav-16000-01"]
    assert (await transcribe(ready, path)).text == text


@pytest.mark.parametrize("unspoken_text", UnspokenText)
async def test_words_that_the_model_hears_in_noise_are_told(
    lane: ProcessLane, model: ResolvedModel, tmp_path: Path, unspoken_text: UnspokenText
) -> None:
    """The confined child loads Silero VAD from its package, and the built-in model hears words in white noise."""
    noise = np.random.default_rng(3).normal(0, 0.03, 2 * RATE_HZ)
    form = struct.pack("<HHIIHH", 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    audio = (noise * 32767).astype("<i2").tobytes()
    path = tmp_path / "noise.wav"
    path.write_bytes(
        b"RIFF" + struct.pack("<I", 36 + len(audio)) + b"WAVEfmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", len(audio)) + audio
    )  # fmt: skip
    declared = contract().model_copy(update={"completeness": Completeness(unspoken_text=unspoken_text)})
    await lane.load(model, transcribe_spec(declared))
    verdict = await transcribe(lane, path)
    if unspoken_text is UnspokenText.WARN:
        assert verdict.text and verdict.failure_class is None
        assert [warning.code for warning in verdict.warnings] == [WarningCode.NO_AUDIBLE_SPEECH]
    else:
        assert verdict.failure_class is FailureClass.UNSPOKEN_TEXT
    assert verdict.audio_milliseconds == 2000 and verdict.attestation is not None

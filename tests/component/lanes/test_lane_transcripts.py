"""The real worker with the real default model: transcripts, verdicts and attestations."""

from __future__ import annotations

import array
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from voxfleet_agent.pools.lane import Lane
from voxfleet_agent.stages.stage import ClipTask, ClipVerdict, ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.voice_contract import Conversions, Resample, VoiceContractSpec

pytestmark = pytest.mark.asyncio(loop_scope="module")

Examples = dict[str, tuple[Path, str | None, str | None]]
MakeTask = Callable[[Path], ClipTask]


async def test_every_good_example_is_heard_word_for_word(lane: Lane, example_clips: Examples, task: MakeTask) -> None:
    good = {name: (path, text) for name, (path, text, _) in example_clips.items() if text is not None}
    heard = {name: await lane.transcribe(task(path)) for name, (path, _) in good.items()}
    assert {name: verdict.text for name, verdict in heard.items()} == {name: text for name, (_, text) in good.items()}
    assert all(verdict.failure_class is None and verdict.audio_milliseconds > 0 for verdict in heard.values())


async def test_a_verdict_says_what_was_done(lane: Lane, example_clips: Examples, task: MakeTask) -> None:
    stereo = await lane.transcribe(task(example_clips["wav-44100-25"][0]))
    assert stereo.attestation is not None
    assert stereo.attestation.model_dump() == {
        "container": "wav",
        "encoding": "pcm16",
        "sample_rate_hz": 44_100,
        "channels": 2,
        "conversions": ("downmix:2->1:Mean", "resample:44100->16000:soxr_vhq"),
        "decoder": "mlx-audio-io 1.3.24",
    }
    assert (stereo.index, stereo.batch_size, stereo.audio_milliseconds) == (7, 1, 1263)
    mono = await lane.transcribe(task(example_clips["wav-16000-01"][0]))
    assert mono.attestation is not None and mono.attestation.conversions == ()


async def test_bytes_tell_the_container_and_names_do_not(
    lane: Lane, example_clips: Examples, task: MakeTask, tmp_path: Path
) -> None:
    path, text, _ = example_clips["mp3-44100-27"]
    disguised = Path(shutil.copy(path, tmp_path / "clip.wav"))
    verdict = await lane.transcribe(task(disguised))
    assert verdict.text == text
    assert verdict.attestation is not None and verdict.attestation.container == "mp3"


def float_wav(samples: list[float]) -> bytes:
    audio = array.array("f", samples).tobytes()
    head = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(audio)) + b"WAVEfmt " + struct.pack("<I", 16) + head
        + b"data" + struct.pack("<I", len(audio)) + audio
    )  # fmt: skip


async def _content(lane: Lane, tmp_path: Path, task: MakeTask, content: bytes) -> ClipVerdict:
    path = tmp_path / "secret-name"
    path.write_bytes(content)
    verdict = await lane.transcribe(task(path))
    assert verdict.text is None and "secret-name" not in verdict.reason and str(tmp_path) not in verdict.reason
    return verdict


@pytest.mark.parametrize(
    ("sample", "says"),
    [(float("nan"), "not finite"), (float("inf"), "not finite"), (1e30, "damage"), (18.3, "damage")],
)
async def test_samples_that_no_recorder_writes(
    lane: Lane, tmp_path: Path, task: MakeTask, sample: float, says: str
) -> None:
    verdict = await _content(lane, tmp_path, task, float_wav([0.0] * 3000 + [sample] + [0.0] * 3000))
    assert verdict.failure_class is FailureClass.DECODE_ERROR and says in verdict.reason


async def test_damaged_audio_behind_a_sound_header(
    lane: Lane, example_clips: Examples, tmp_path: Path, task: MakeTask
) -> None:
    flac = bytearray(example_clips["flac-48000-14"][0].read_bytes())
    verdict = await _content(lane, tmp_path, task, bytes(flac[: len(flac) // 2]))
    assert verdict.failure_class is FailureClass.DECODE_ERROR
    m4a = bytearray(example_clips["m4a-48000-16"][0].read_bytes())
    media = m4a.index(b"mdat")
    m4a[media + 200 : media + 4000] = bytes(3800)
    verdict = await _content(lane, tmp_path, task, bytes(m4a))
    assert verdict.failure_class is FailureClass.DECODE_ERROR


async def test_an_mp3_that_decodes_short_is_damaged(
    lane: Lane, example_clips: Examples, tmp_path: Path, task: MakeTask
) -> None:
    mp3 = bytearray(example_clips["mp3-44100-27"][0].read_bytes())
    middle = len(mp3) // 2
    verdict = await _content(lane, tmp_path, task, bytes(mp3[:middle]) + bytes(len(mp3) - middle))
    assert verdict.failure_class is FailureClass.DECODE_ERROR
    assert "its header announces 1282 ms" in verdict.reason


async def test_bad_examples_end_in_their_class(lane: Lane, example_clips: Examples, task: MakeTask) -> None:
    for name in ("truncated", "rate-8000"):
        path, _, failure_class = example_clips[name]
        assert (await lane.transcribe(task(path))).failure_class == failure_class


async def test_an_undeclared_resample_is_refused(
    lane: Lane, example_clips: Examples, make_contract: Callable[..., VoiceContractSpec]
) -> None:
    path = example_clips["wav-44100-25"][0]
    verdict = await lane.transcribe(ClipTask(0, path, make_contract(Conversions(resample=Resample(to_hz=16_000)))))
    assert verdict.failure_class is FailureClass.CONTRACT_VIOLATION
    assert "declare conversions.downmix" in verdict.reason


async def test_a_length_that_only_decoding_tells_is_held_against_the_contract(
    lane: Lane, example_clips: Examples, tmp_path: Path, make_contract: Callable[..., VoiceContractSpec]
) -> None:
    flac = bytearray(example_clips["flac-16000-02"][0].read_bytes())
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)  # total samples: unknown
    path = tmp_path / "streamed.flac"
    path.write_bytes(flac)
    assert (await lane.transcribe(ClipTask(0, path, make_contract()))).text == example_clips["flac-16000-02"][1]
    verdict = await lane.transcribe(ClipTask(0, path, make_contract(max_clip="1s")))
    assert verdict.failure_class is FailureClass.CONTRACT_VIOLATION and "at most 1s" in verdict.reason


async def test_a_fifo_is_refused_at_once(lane: Lane, tmp_path: Path, task: MakeTask) -> None:
    os.mkfifo(tmp_path / "clip.wav")
    verdict = await lane.transcribe(task(tmp_path / "clip.wav"))
    assert verdict.failure_class is FailureClass.DECODE_ERROR and "not a regular file" in verdict.reason


async def test_a_clip_that_is_gone_is_the_machines_fault(lane: Lane, tmp_path: Path, task: MakeTask) -> None:
    with pytest.raises(VoxFleetError, match="No such file") as caught:
        await lane.transcribe(task(tmp_path / "gone.wav"))
    assert caught.value.failure_class is FailureClass.SCRATCH_EXHAUSTED


async def test_the_child_opens_no_network_socket(lane: Lane, example_clips: Examples, task: MakeTask) -> None:
    await lane.transcribe(task(example_clips["wav-16000-01"][0]))
    assert lane.pid is not None
    assert psutil.Process(lane.pid).net_connections(kind="inet") == []


async def test_the_child_leaves_no_links_to_clips(lane: Lane, example_clips: Examples, task: MakeTask) -> None:
    await lane.transcribe(task(example_clips["wav-16000-01"][0]))
    assert list(lane.folder.glob("decode-*")) == []


async def test_a_broken_model_is_unavailable_and_the_lane_goes_on(
    lane: Lane, model: ResolvedModel, example_clips: Examples, task: MakeTask, tmp_path: Path
) -> None:
    broken = tmp_path / "model"
    shutil.copytree(model.path, broken)
    (broken / "model.safetensors").write_bytes(b"not safetensors")
    pid = lane.pid
    with pytest.raises(VoxFleetError) as caught:
        await lane.load(ResolvedModel(broken, "sha256:" + "0" * 64))
    assert caught.value.failure_class is FailureClass.MODEL_UNAVAILABLE
    assert str(broken) in caught.value.message
    assert model.digest != lane.loaded_digest
    await lane.load(model)
    assert (lane.pid, lane.loaded_digest) == (pid, model.digest)
    path, text, _ = example_clips["wav-16000-01"]
    assert (await lane.transcribe(task(path))).text == text

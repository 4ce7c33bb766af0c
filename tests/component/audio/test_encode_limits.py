"""How much endless synthesized audio is written."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.component.audio.audio_rig import Samples, noise

from voxfleet_agent.audio.encode import write_audio
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import AudioContainer, AudioEncoding, AudioOutput

RATE_HZ = 24_000
CHUNK_FRAMES = 1_000
ALL = [
    (AudioContainer.WAV, AudioEncoding.PCM16, 2),
    (AudioContainer.WAV, AudioEncoding.PCM24, 3),
    (AudioContainer.WAV, AudioEncoding.FLOAT32, 4),
    (AudioContainer.FLAC, AudioEncoding.PCM16, 2),
    (AudioContainer.FLAC, AudioEncoding.PCM24, 3),
]


def endless(taken: list[int]) -> Iterator[Samples]:
    chunk = noise(CHUNK_FRAMES)[:, 0]
    for number in itertools.count(1):
        taken.append(number)
        yield chunk


@pytest.mark.parametrize(
    ("container", "encoding"), [*(row[:2] for row in ALL), (AudioContainer.M4A, AudioEncoding.AAC)]
)
def test_endless_audio_is_stopped_at_its_frames(
    tmp_path: Path, container: AudioContainer, encoding: AudioEncoding
) -> None:
    output = AudioOutput(container=container, encoding=encoding, sample_rate_hz=RATE_HZ)
    taken: list[int] = []
    with pytest.raises(VoxFleetError, match="would last longer than maxClip") as caught:
        write_audio(tmp_path / "x", endless(taken), RATE_HZ, output, max_frames=3 * CHUNK_FRAMES)
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION
    assert taken == [1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == []
    three = itertools.islice(endless(taken), 3)
    assert write_audio(tmp_path / "x", three, RATE_HZ, output, max_frames=3 * CHUNK_FRAMES).frames == 3 * CHUNK_FRAMES


@pytest.mark.parametrize(("container", "encoding", "frame_bytes"), ALL)
def test_endless_audio_is_stopped_at_its_bytes(
    tmp_path: Path, container: AudioContainer, encoding: AudioEncoding, frame_bytes: int
) -> None:
    output = AudioOutput(container=container, encoding=encoding, sample_rate_hz=RATE_HZ)
    taken: list[int] = []
    max_bytes = 3 * CHUNK_FRAMES * frame_bytes + 58
    with pytest.raises(VoxFleetError, match="would last longer than maxClip"):
        write_audio(tmp_path / "x", endless(taken), RATE_HZ, output, max_bytes=max_bytes)
    assert taken == [1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == []


def test_a_finished_file_larger_than_its_bytes_is_removed(tmp_path: Path) -> None:
    """The size that an encoder adds is known only at the end."""
    output = AudioOutput(container=AudioContainer.M4A, encoding=AudioEncoding.AAC, sample_rate_hz=RATE_HZ)
    with pytest.raises(VoxFleetError, match="would last longer than maxClip"):
        write_audio(tmp_path / "x", [noise(24_000)[:, 0]], RATE_HZ, output, max_bytes=500)
    assert list(tmp_path.iterdir()) == []

"""A whole file of each container, and inspection that accounts for each of its bytes."""

from __future__ import annotations

import io

import pytest
from tests.unit.agent.audio.audio_bytes import aiff, caf, wav
from tests.unit.agent.audio.header_files import clip

from voxfleet_agent.audio.headers import HeaderFacts, inspect, inspect_whole
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container

FRAMES = 1_600
NOISE = bytes((7 * number + 131) % 251 + 1 for number in range(2 * FRAMES))
"""Audio of 100 ms in 16-bit samples at 16 kHz without any zero, so that no part of it looks like padding."""
FLAC = clip("flac-48000-30.flac")
M4A = clip("m4a-44100-28.m4a")


def facts_of(content: bytes) -> HeaderFacts:
    """As decoding sees it: a FLAC file's frames are counted."""
    facts = inspect(io.BytesIO(content), len(content))
    return inspect_whole(io.BytesIO(content), len(content)) if facts.container is Container.FLAC else facts


def refusal_of(content: bytes) -> str:
    with pytest.raises(VoxFleetError) as caught:
        facts_of(content)
    assert caught.value.failure_class is FailureClass.DECODE_ERROR
    assert len(caught.value.message) <= 256
    return caught.value.message


WHOLE: dict[str, bytes] = {
    "wav": wav(audio=NOISE),
    "aiff": aiff(audio=NOISE),
    "caf": caf(audio=NOISE),
    "flac": FLAC,
    "m4a": M4A,
}
WHOLE_FRAMES = {"wav": FRAMES, "aiff": FRAMES, "caf": FRAMES, "flac": 63_683, "m4a": 57_065}


def streamed(content: bytes) -> bytes:
    """A FLAC file that states neither its length nor a checksum."""
    return content[:21] + bytes([content[21] & 0xF0]) + bytes(4 + 16) + content[42:]

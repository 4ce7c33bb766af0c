"""The example clips, boxes and chunks that tests of headers need, and their inspection."""

from __future__ import annotations

import io
import struct
from pathlib import Path

from tests.unit.agent.audio.audio_bytes import box

from voxfleet_agent.audio.headers import HeaderFacts, inspect

CLIPS = Path(__file__).parents[4] / "examples" / "clips"
MASK = b"waveformatextensible_channel_mask="


def layout(chunk: bytes) -> bytes:
    return b"CHAN" + struct.pack(">I", len(chunk)) + chunk


def fragmented(packets: int) -> bytes:
    run = box(b"trun", struct.pack(">III", 0, packets, 0))
    return clip("m4a-16000-04.m4a") + box(b"moof", box(b"traf", run))


def clip(name: str) -> bytes:
    return (CLIPS / name).read_bytes()


def facts_of(content: bytes) -> HeaderFacts:
    return inspect(io.BytesIO(content), len(content))

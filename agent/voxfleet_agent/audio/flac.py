"""FLAC headers (RFC 9639)."""

from __future__ import annotations

from voxfleet_agent.audio.facts import ClipReader, HeaderFacts, checked, damaged
from voxfleet_api.kinds.voice_contract import Container

_STREAMINFO_BYTES = 34


def inspect_flac(clip: ClipReader) -> HeaderFacts:
    """Raises VoxFleetError(DECODE_ERROR | CONTRACT_VIOLATION)."""
    header = clip.exactly(4, 4, "header")
    if header[0] & 0x7F != 0 or int.from_bytes(header[1:4], "big") != _STREAMINFO_BYTES:
        raise damaged("is a FLAC file that does not begin with its stream description")
    info = clip.exactly(8, _STREAMINFO_BYTES, "header")
    # 20 bits rate, 3 bits channels - 1, 5 bits sample size - 1, 36 bits frames.
    packed = int.from_bytes(info[10:18], "big")
    frames = packed & ((1 << 36) - 1)
    return checked(
        Container.FLAC,
        "flac",
        packed >> 44,
        ((packed >> 41) & 0x7) + 1,
        frames=frames or None,  # 0 stands for unknown
    )

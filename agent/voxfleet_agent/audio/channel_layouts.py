"""Channel layouts that decoding preserves.

mlx-audio-io's libav decoder always decodes to libav's default layout for the number of channels and mixes any other
layout into it: the centre of three channels becomes part of left and right. That would be an undeclared conversion, so
a file with such a layout is refused. The masks and tags below were measured: each channel comes out as it was stored.
"""

from __future__ import annotations

import struct

from voxfleet_agent.audio.header_facts import refused

_KEPT_MASKS = {
    2: {0x3},
    3: {0xB},
    4: {0x107},
    5: {0x37, 0x607},
    6: {0x3F, 0x60F},
    7: {0x70F},
    8: {0x63F},
}
"""Speaker masks (bit 0: front left, 1: front right, 2: centre, 3: low frequencies, ...) by number of channels."""
_BY_DESCRIPTIONS, _BY_MASK = 0, 1
_KEPT_TAGS = {101, 102, 103, 104, 105, 106, 107, 115, 117, 121, 128, 133, 147, 0xFFFF}
"""Core Audio's layout tags without the low 16 bits, which hold the number of channels."""
_MONO_AND_STEREO_LABELS = (1, 2)  # left, right


def refuse_mask(mask: int, channels: int) -> None:
    """Raises VoxFleetError(CONTRACT_VIOLATION) for a speaker mask whose channels would be mixed."""
    kept = mask.bit_count() == 1 if channels == 1 else mask in _KEPT_MASKS.get(channels, ())
    if not kept:
        raise refused(_reason(channels, f"mask 0x{mask:x}"))


def refuse_count(channels: int, mixed: tuple[int, ...], container: str) -> None:
    """Raises VoxFleetError(CONTRACT_VIOLATION) when decoding would mix the container's default layout."""
    if channels in mixed:
        raise refused(_reason(channels, f"{container}'s own"))


def refuse_core_audio(chunk: bytes, channels: int) -> None:
    """Raises VoxFleetError(CONTRACT_VIOLATION) when decoding would mix the layout of a `chan` or `CHAN` chunk."""
    if len(chunk) < 12 or channels == 1:
        return
    tag, mask, described = struct.unpack(">III", chunk[:12])
    if tag >> 16 == _BY_MASK:
        refuse_mask(mask, channels)
    elif tag == _BY_DESCRIPTIONS and described > 0:
        labels = struct.unpack_from(f">{'I16x' * 2}", chunk, 12) if len(chunk) >= 12 + 40 else ()
        if channels != 2 or labels != _MONO_AND_STEREO_LABELS:
            raise refused(_reason(channels, "described one by one"))
    elif tag != _BY_DESCRIPTIONS and tag >> 16 not in _KEPT_TAGS:
        raise refused(_reason(channels, f"tag {tag >> 16}"))


def _reason(channels: int, layout: str) -> str:
    return (
        f"lays its {channels} channels out in a way ({layout}) that the decoder would mix;"
        " store it without a layout, or as stereo or mono"
    )

"""FLAC headers (RFC 9639)."""

from __future__ import annotations

import re

from voxfleet_agent.audio.channel_layouts import refuse_count, refuse_mask
from voxfleet_agent.audio.header_facts import ClipReader, HeaderFacts, checked_facts, damaged
from voxfleet_api.kinds.contract_input import Container, Encoding

_STREAMINFO_BYTES = 34
_COMMENT_BLOCK = 4
_MAX_BLOCKS = 128
_MAX_COMMENT_BYTES = 2**20
_MASK_COMMENT = re.compile(rb"WAVEFORMATEXTENSIBLE_CHANNEL_MASK=([0-9a-zA-Z]{0,18})", re.IGNORECASE)
_MIXED_CHANNELS = (3, 4)


def inspect_flac(clip: ClipReader) -> HeaderFacts:
    """Raises VoxFleetError(DECODE_ERROR | CONTRACT_VIOLATION)."""
    header = clip.read_exactly(4, 4, "header")
    if header[0] & 0x7F != 0 or int.from_bytes(header[1:4], "big") != _STREAMINFO_BYTES:
        raise damaged("is a FLAC file that does not begin with its stream description")
    info = clip.read_exactly(8, _STREAMINFO_BYTES, "header")
    # 20 bits rate, 3 bits channels - 1, 5 bits sample size - 1, 36 bits frames.
    packed = int.from_bytes(info[10:18], "big")
    frames = packed & ((1 << 36) - 1)
    facts = checked_facts(
        Container.FLAC,
        Encoding.FLAC,
        packed >> 44,
        ((packed >> 41) & 0x7) + 1,
        frames=frames or None,  # 0 means unknown
    )
    if facts.channels > 1:
        mask = _stated_mask(clip, last=bool(header[0] & 0x80))
        if mask is None:
            refuse_count(facts.channels, _MIXED_CHANNELS, "FLAC")
        else:
            refuse_mask(mask, facts.channels)
    return facts


def _stated_mask(clip: ClipReader, *, last: bool) -> int | None:
    """The speaker mask that a Vorbis comment states; 0 when it is not a number, None without a mask."""
    offset = 8 + _STREAMINFO_BYTES
    for _ in range(_MAX_BLOCKS):
        if last:
            return None
        header = clip.read_exactly(offset, 4, "metadata")
        last = bool(header[0] & 0x80)
        length_bytes = int.from_bytes(header[1:4], "big")
        if header[0] & 0x7F == _COMMENT_BLOCK:
            stated = _MASK_COMMENT.search(clip.peek(offset + 4, min(length_bytes, _MAX_COMMENT_BYTES)))
            if stated is not None:
                return _number(stated[1])
        offset += 4 + length_bytes
    raise damaged(f"has more than {_MAX_BLOCKS} metadata blocks")


def _number(text: bytes) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return 0

"""MPEG-4 audio headers (ISO/IEC 14496-12 boxes, 14496-1 descriptors, 14496-3 AudioSpecificConfig)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from voxfleet_agent.audio.facts import ClipReader, HeaderFacts, checked, damaged, refused, unsupported
from voxfleet_api.kinds.voice_contract import Container

_MAX_BOXES = 4_096
_MAX_MOOV_BYTES = 16 * 2**20
_AAC_OBJECT_TYPES = {0x40, 0x66, 0x67, 0x68}
_ASC_RATES_HZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_ASC_CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8}
_SPECTRAL_BAND_REPLICATION = (5, 29)


@dataclass(frozen=True, slots=True)
class _Track:
    handler: bytes
    media: bytes
    edits: bytes | None


def inspect_m4a(clip: ClipReader) -> HeaderFacts:
    """Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION)."""
    moov = _movie(clip)
    tracks = [_track(body) for name, body in _boxes(moov) if name == b"trak"]
    if any(track.handler == b"vide" for track in tracks):
        raise unsupported("an MP4 film")
    audio = [track for track in tracks if track.handler == b"soun"]
    if len(audio) != 1:
        raise unsupported(f"an MP4 file with {len(audio)} audio tracks")
    (track,) = audio
    timescale, duration = _clock(_child(track.media, b"mdhd"))
    rate_hz, channels = _format(_child(track.media, b"minf", b"stbl", b"stsd"))
    movie_timescale, _ = _clock(_child(moov, b"mvhd"))
    edited = _edited_duration(track.edits)
    frames = edited * rate_hz // movie_timescale if edited else duration * rate_hz // timescale
    # A fragmented file states no length here.
    return checked(Container.M4A, "aac", rate_hz, channels, frames=frames or None)


def _movie(clip: ClipReader) -> bytes:
    offset = 0
    movie: bytes | None = None
    for _ in range(_MAX_BOXES):
        if offset >= clip.size_bytes:
            break
        length, name = struct.unpack(">I4s", clip.exactly(offset, 8, "box list"))
        header = 8
        if length == 1:
            (length,) = struct.unpack(">Q", clip.exactly(offset + 8, 8, "box list"))
            header = 16
        elif length == 0:
            length = clip.size_bytes - offset
        if length < header:
            raise damaged("has a broken box list")
        if offset + length > clip.size_bytes:
            raise damaged(f"is cut short: its header announces {offset + length} bytes, {clip.size_bytes} are there")
        if name == b"moov" and movie is None:
            if length > _MAX_MOOV_BYTES:
                raise refused(f"has a header of {length} bytes; at most {_MAX_MOOV_BYTES} are possible")
            movie = clip.exactly(offset + header, length - header, "header")
        offset += length
    if movie is None:
        raise damaged("is an m4a file without its header (moov)")
    return movie


def _boxes(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 0
    for _ in range(_MAX_BOXES):
        if offset + 8 > len(body):
            return
        length, name = struct.unpack(">I4s", body[offset : offset + 8])
        if length == 0:
            length = len(body) - offset
        if length < 8 or offset + length > len(body):
            raise damaged("has a broken header (moov)")
        yield name, body[offset + 8 : offset + length]
        offset += length


def _find(body: bytes, name: bytes) -> bytes | None:
    return next((found for found_name, found in _boxes(body) if found_name == name), None)


def _child(body: bytes, *path: bytes) -> bytes:
    """The box at a path of names."""
    for name in path:
        found = _find(body, name)
        if found is None:
            raise damaged(f"is an m4a file without its {_printable(name)} box")
        body = found
    return body


def _track(body: bytes) -> _Track:
    media = _find(body, b"mdia") or b""
    handler = _find(media, b"hdlr") or b""
    edit = _find(body, b"edts")
    return _Track(handler[8:12], media, None if edit is None else _find(edit, b"elst"))


def _clock(box: bytes) -> tuple[int, int]:
    """Timescale and duration of an mvhd or mdhd box; an unknown duration is 0."""
    wide = box[:1] == b"\x01"
    start, layout = (20, ">IQ") if wide else (12, ">II")
    if len(box) < start + struct.calcsize(layout):
        raise damaged("has a header (moov) that is too short")
    timescale, duration = struct.unpack_from(layout, box, start)
    if timescale == 0:
        raise damaged("counts time in units of zero length")
    unknown = 2**64 - 1 if wide else 2**32 - 1
    return timescale, 0 if duration == unknown else duration


def _edited_duration(box: bytes | None) -> int:
    """What an edit list plays, in the movie's timescale; encoders cut their own delay off with it."""
    if box is None or len(box) < 8:
        return 0
    layout = struct.Struct(">Qq" if box[:1] == b"\x01" else ">Ii")
    (count,) = struct.unpack_from(">I", box, 4)
    total = 0
    for number in range(min(count, _MAX_BOXES)):
        offset = 8 + number * (layout.size + 4)
        if offset + layout.size > len(box):
            raise damaged("has a broken edit list")
        duration, media_time = layout.unpack_from(box, offset)
        total += duration if media_time >= 0 else 0
    return total


def _format(description: bytes) -> tuple[int, int]:
    """Rate in hertz and channels of the one AAC sample entry."""
    entries = list(_boxes(description[8:]))
    if len(entries) != 1:
        raise refused(f"changes its encoding {len(entries)} times; one encoding is accepted")
    name, entry = entries[0]
    if name != b"mp4a":
        raise refused(f"is an m4a file of {_printable(name)}; accepted is AAC")
    if len(entry) < 28:
        raise damaged("has a sample description that is too short")
    # QuickTime's versions 1 and 2 of the entry are longer.
    extra = {0: 0, 1: 16, 2: 36}.get(struct.unpack_from(">H", entry, 8)[0])
    if extra is None:
        raise refused("has a sample description of an unknown version")
    boxes = entry[28 + extra :]
    descriptor = _find(boxes, b"esds") or _find(_find(boxes, b"wave") or b"", b"esds")
    if descriptor is None:
        raise damaged("is an m4a file without a description of its AAC")
    return _audio_config(_decoder_config(descriptor[4:]))


def _decoder_config(data: bytes) -> bytes:
    """The AudioSpecificConfig inside ES_Descriptor (3), DecoderConfigDescriptor (4), DecoderSpecificInfo (5)."""
    body = _descriptor(data, 0x03)
    flags = body[2] if len(body) > 2 else 0
    start = 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
    if flags & 0x40:
        start += 1 + (body[start] if len(body) > start else 0)
    config = _descriptor(body[start:], 0x04)
    if len(config) < 13:
        raise damaged("has a description of its AAC that is too short")
    if config[0] not in _AAC_OBJECT_TYPES:
        raise refused(f"is an m4a file of MPEG-4 object type 0x{config[0]:02x}; accepted is AAC")
    return _descriptor(config[13:], 0x05)


def _descriptor(data: bytes, tag: int) -> bytes:
    if not data or data[0] != tag:
        raise damaged("has a broken description of its AAC")
    length = 0
    for position in range(1, min(5, len(data))):
        length = length << 7 | data[position] & 0x7F
        if not data[position] & 0x80:
            return data[position + 1 : position + 1 + length]
    raise damaged("has a broken description of its AAC")


def _audio_config(data: bytes) -> tuple[int, int]:
    bits = _Bits(data)
    object_type = bits.object_type()
    rate_hz = bits.rate_hz()
    channel_code = bits.take(4)
    if object_type in _SPECTRAL_BAND_REPLICATION:
        rate_hz = bits.rate_hz()
    if channel_code not in _ASC_CHANNELS:
        raise refused("describes its channels one by one; accepted are AAC's named layouts")
    # Parametric stereo makes two channels out of one.
    return rate_hz, 2 if object_type == 29 and channel_code == 1 else _ASC_CHANNELS[channel_code]


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:16], "big")
        self._left = len(data[:16]) * 8

    def take(self, count: int) -> int:
        if count > self._left:
            raise damaged("has a description of its AAC that is too short")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def object_type(self) -> int:
        value = self.take(5)
        return 32 + self.take(6) if value == 31 else value

    def rate_hz(self) -> int:
        index = self.take(4)
        if index == 15:
            return self.take(24)
        if index >= len(_ASC_RATES_HZ):
            raise damaged("has a description of its AAC with an unknown rate")
        return _ASC_RATES_HZ[index]


def _printable(name: bytes) -> str:
    return "".join(chr(byte) if 32 < byte < 127 else "?" for byte in name)

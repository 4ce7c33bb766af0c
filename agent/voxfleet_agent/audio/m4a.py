"""MPEG-4 audio headers (ISO/IEC 14496-12 boxes, 14496-1 descriptors, 14496-3 AudioSpecificConfig)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from voxfleet_agent.audio.channel_layouts import refuse_count
from voxfleet_agent.audio.header_facts import (
    MAX_AUDIO_MILLISECONDS,
    ClipReader,
    HeaderFacts,
    checked_facts,
    damaged,
    refused,
    unsupported,
)
from voxfleet_agent.audio.refused_formats import encoding_name
from voxfleet_api.kinds.contract_input import Container, Encoding

_MAX_BOXES = 4_096
_MAX_MOOV_BYTES = 16 * 2**20
_MAX_FRAGMENTS = 65_536
_AAC_STREAM_TYPES = {0x40, 0x66, 0x67, 0x68}
_STREAM_TYPES = {0x69: "MP3", 0x6B: "MP3", 0xA5: "AC-3", 0xA6: "E-AC-3", 0xA9: "DTS", 0xAD: "Opus", 0xDD: "Vorbis"}
_AAC_OBJECT_TYPES = (1, 2, 4, 5, 29)  # Main, LC, LTP, spectral band replication, and parametric stereo
_OBJECT_TYPES = {3: "AAC SSR", 23: "AAC-LD", 36: "MPEG-4 ALS", 39: "AAC-ELD", 42: "xHE-AAC"}
_ASC_RATES_HZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_ASC_CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8}
_MIXED_CHANNELS = (3,)
_SPECTRAL_BAND_REPLICATION = (5, 29)
_PACKET_FRAMES = 1024
_MIN_PACKET_FRAMES = 960
_SPARE_PACKETS = 8
_NOTHING = memoryview(b"")


@dataclass(frozen=True, slots=True)
class _Movie:
    header: memoryview
    """The body of the moov box."""
    fragment_packets: int


@dataclass(frozen=True, slots=True)
class _Track:
    handler: bytes
    media: memoryview
    edits: memoryview | None


def inspect_m4a(clip: ClipReader) -> HeaderFacts:
    """Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION)."""
    movie = _movie(clip)
    tracks = [_track(body) for name, body in _boxes(movie.header) if name == b"trak"]
    if any(track.handler == b"vide" for track in tracks):
        raise unsupported("an MP4 film")
    audio = [track for track in tracks if track.handler == b"soun"]
    if len(audio) != 1:
        raise unsupported(f"an MP4 file with {len(audio)} audio tracks")
    (track,) = audio
    timescale, duration = _clock(_child(track.media, b"mdhd"))
    table = _child(track.media, b"minf", b"stbl")
    _refuse_external_audio(_find(_find(_child(track.media, b"minf"), b"dinf") or _NOTHING, b"dref"))
    rate_hz, channels = _format(_child(table, b"stsd"))
    refuse_count(channels, _MIXED_CHANNELS, "AAC")
    movie_timescale, _ = _clock(_child(movie.header, b"mvhd"))
    edited = _edited_duration(track.edits)
    stored_frames = duration * rate_hz // timescale
    frames = edited * rate_hz // movie_timescale if edited else stored_frames
    packets = _packets(_find(table, b"stsz")) + movie.fragment_packets
    _refuse_packets(packets, None if movie.fragment_packets else stored_frames, rate_hz, clip.size_bytes)
    # The header of a fragmented file states no length.
    return checked_facts(
        Container.M4A,
        Encoding.AAC,
        rate_hz,
        channels,
        frames=None if movie.fragment_packets else frames or None,
        estimated_milliseconds=packets * _PACKET_FRAMES * 1000 // max(1, rate_hz),
    )


def _refuse_external_audio(references: memoryview | None) -> None:
    """Refuses audio in another file: it was not fetched, and decoders disagree on whether to follow the reference."""
    for _, body in _boxes(_NOTHING if references is None else references[8:]):
        if len(body) < 4 or not body[3] & 0x1:
            raise refused("says that its audio lies in another file")


def _packets(sizes: memoryview | None) -> int:
    """The number of packets that a table of sizes (stsz) announces; it need not have a row for each."""
    if sizes is None or len(sizes) < 12:
        return 0
    return int.from_bytes(sizes[8:12], "big")


def _refuse_packets(packets: int, stored_frames: int | None, rate_hz: int, size_bytes: int) -> None:
    """The decoder allocates an entry per announced packet, even for packets that are not in the file."""
    max_packets = size_bytes
    if stored_frames:
        max_packets = min(max_packets, stored_frames // _MIN_PACKET_FRAMES + _SPARE_PACKETS)
    if packets > max_packets:
        raise damaged(f"announces {packets} packets of AAC, more than there can be")
    if packets * _MIN_PACKET_FRAMES * 1000 > MAX_AUDIO_MILLISECONDS * rate_hz:
        raise refused("announces more than 24 hours of audio; at most 24 are possible")


def _movie(clip: ClipReader) -> _Movie:
    offset = 0
    movie: memoryview | None = None
    packets = 0
    fragments = 0
    for _ in range(_MAX_FRAGMENTS * 2):
        if offset >= clip.size_bytes:
            break
        length, name = struct.unpack(">I4s", clip.read_exactly(offset, 8, "box list"))
        header = 8
        if length == 1:
            (length,) = struct.unpack(">Q", clip.read_exactly(offset + 8, 8, "box list"))
            header = 16
        elif length == 0:
            length = clip.size_bytes - offset
        if length < header:
            raise damaged("has a broken box list")
        if offset + length > clip.size_bytes:
            raise damaged(f"is cut short: its header announces {offset + length} bytes, {clip.size_bytes} are there")
        if (name == b"moov" and movie is None) or name == b"moof":
            if length > _MAX_MOOV_BYTES:
                raise refused(f"has a header of {length} bytes; at most {_MAX_MOOV_BYTES} are possible")
            body = memoryview(clip.read_exactly(offset + header, length - header, "header"))
            if name == b"moov":
                movie = body
            else:
                fragments += 1
                packets += _fragment_packets(body)
        offset += length
    else:
        raise refused(f"has more than {_MAX_FRAGMENTS} fragments")
    if movie is None:
        raise damaged("is an m4a file without its header (moov)")
    return _Movie(movie, packets if fragments else 0)


def _fragment_packets(moof: memoryview) -> int:
    """The number of packets that the runs (trun) of a fragment's tracks (traf) announce."""
    return sum(
        int.from_bytes(run[4:8], "big")
        for name, traf in _boxes(moof)
        if name == b"traf"
        for run_name, run in _boxes(traf)
        if run_name == b"trun"
    )


def _boxes(body: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    offset = 0
    for _ in range(_MAX_BOXES):
        if offset + 8 > len(body):
            return
        length, name = struct.unpack_from(">I4s", body, offset)
        if length == 0:
            length = len(body) - offset
        if length < 8 or offset + length > len(body):
            raise damaged("has a broken header (moov)")
        yield name, body[offset + 8 : offset + length]
        offset += length


def _find(body: memoryview, name: bytes) -> memoryview | None:
    return next((box for box_name, box in _boxes(body) if box_name == name), None)


def _child(body: memoryview, *path: bytes) -> memoryview:
    """The box at a path of names."""
    for name in path:
        box = _find(body, name)
        if box is None:
            raise damaged(f"is an m4a file without its {_printable(name)} box")
        body = box
    return body


def _track(body: memoryview) -> _Track:
    media = _find(body, b"mdia") or _NOTHING
    handler = _find(media, b"hdlr") or _NOTHING
    edit = _find(body, b"edts")
    return _Track(bytes(handler[8:12]), media, None if edit is None else _find(edit, b"elst"))


def _clock(box: memoryview) -> tuple[int, int]:
    """Returns (timescale, duration) of an mvhd or mdhd box; the duration is 0 when it is unknown."""
    wide = bytes(box[:1]) == b"\x01"
    start, layout = (20, ">IQ") if wide else (12, ">II")
    if len(box) < start + struct.calcsize(layout):
        raise damaged("has a header (moov) that is too short")
    timescale, duration = struct.unpack_from(layout, box, start)
    if timescale == 0:
        raise damaged("counts time in units of zero length")
    unknown = 2**64 - 1 if wide else 2**32 - 1
    return timescale, 0 if duration == unknown else duration


def _edited_duration(box: memoryview | None) -> int:
    """The duration that an edit list plays, in the movie's timescale; encoders use it to cut off their own delay."""
    if box is None or len(box) < 8:
        return 0
    layout = struct.Struct(">Qq" if bytes(box[:1]) == b"\x01" else ">Ii")
    (count,) = struct.unpack_from(">I", box, 4)
    total = 0
    for number in range(min(count, _MAX_BOXES)):
        offset = 8 + number * (layout.size + 4)
        if offset + layout.size > len(box):
            raise damaged("has a broken edit list")
        duration, media_time = layout.unpack_from(box, offset)
        total += duration if media_time >= 0 else 0
    return total


def _format(description: memoryview) -> tuple[int, int]:
    """Returns (rate in hertz, channels) of the single AAC sample entry."""
    entries = list(_boxes(description[8:]))
    if len(entries) != 1:
        raise refused(f"changes its encoding {len(entries)} times; one encoding is accepted")
    name, entry = entries[0]
    if name != b"mp4a":
        raise refused(f"is an m4a file of {encoding_name(name)}; accepted is AAC")
    if len(entry) < 28:
        raise damaged("has a sample description that is too short")
    # Versions 1 and 2 of the entry, from QuickTime, are longer.
    extra = {0: 0, 1: 16, 2: 36}.get(struct.unpack_from(">H", entry, 8)[0])
    if extra is None:
        raise refused("has a sample description of an unknown version")
    boxes = entry[28 + extra :]
    descriptor = _find(boxes, b"esds") or _find(_find(boxes, b"wave") or _NOTHING, b"esds")
    if descriptor is None:
        raise damaged("is an m4a file without a description of its AAC")
    return _audio_config(_decoder_config(descriptor[4:]))


def _decoder_config(data: memoryview) -> memoryview:
    """The AudioSpecificConfig, nested in ES_Descriptor (3), DecoderConfigDescriptor (4), DecoderSpecificInfo (5)."""
    body = _descriptor(data, 0x03)
    flags = body[2] if len(body) > 2 else 0
    start = 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
    if flags & 0x40:
        start += 1 + (body[start] if len(body) > start else 0)
    config = _descriptor(body[start:], 0x04)
    if len(config) < 13:
        raise damaged("has a description of its AAC that is too short")
    if config[0] not in _AAC_STREAM_TYPES:
        name = _STREAM_TYPES.get(config[0], f"MPEG-4 stream type 0x{config[0]:02x}")
        raise refused(f"is an m4a file of {name}; accepted is AAC")
    return _descriptor(config[13:], 0x05)


def _descriptor(data: memoryview, tag: int) -> memoryview:
    if not data or data[0] != tag:
        raise damaged("has a broken description of its AAC")
    length = 0
    for position in range(1, min(5, len(data))):
        length = length << 7 | data[position] & 0x7F
        if not data[position] & 0x80:
            return data[position + 1 : position + 1 + length]
    raise damaged("has a broken description of its AAC")


def _audio_config(data: memoryview) -> tuple[int, int]:
    bits = _Bits(data)
    object_type = bits.object_type()
    if object_type not in _AAC_OBJECT_TYPES:
        name = _OBJECT_TYPES.get(object_type, f"MPEG-4 audio of object type {object_type}")
        raise refused(f"is an m4a file of {name}; accepted are AAC LC and HE-AAC")
    rate_hz = bits.rate_hz()
    channel_code = bits.read(4)
    if object_type in _SPECTRAL_BAND_REPLICATION:
        rate_hz = bits.rate_hz()
    if channel_code not in _ASC_CHANNELS:
        raise refused("describes its channels one by one; accepted are AAC's named layouts")
    # Parametric stereo decodes one channel to two.
    return rate_hz, 2 if object_type == 29 and channel_code == 1 else _ASC_CHANNELS[channel_code]


class _Bits:
    """Reads numbers of any bit length, most significant bit first."""

    def __init__(self, data: memoryview) -> None:
        self._value = int.from_bytes(data[:16], "big")
        self._remaining_bits = len(data[:16]) * 8

    def read(self, count: int) -> int:
        if count > self._remaining_bits:
            raise damaged("has a description of its AAC that is too short")
        self._remaining_bits -= count
        return (self._value >> self._remaining_bits) & ((1 << count) - 1)

    def object_type(self) -> int:
        value = self.read(5)
        return 32 + self.read(6) if value == 31 else value

    def rate_hz(self) -> int:
        index = self.read(4)
        if index == 15:
            return self.read(24)
        if index >= len(_ASC_RATES_HZ):
            raise damaged("has a description of its AAC with an unknown rate")
        return _ASC_RATES_HZ[index]


def _printable(name: bytes) -> str:
    return "".join(chr(byte) if 32 < byte < 127 else "?" for byte in name)

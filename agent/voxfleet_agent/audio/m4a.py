"""MPEG-4 audio headers: tracks, clocks, edits (ISO/IEC 14496-12) and descriptors (14496-1)."""

from __future__ import annotations

import dataclasses
import struct
from dataclasses import dataclass

from voxfleet_agent.audio.aac_config import AacFormat, aac_format
from voxfleet_agent.audio.byte_account import ByteAccount, audible_bytes
from voxfleet_agent.audio.channel_layouts import refuse_count
from voxfleet_agent.audio.header_facts import (
    MAX_AUDIO_MILLISECONDS,
    ClipReader,
    HeaderFacts,
    checked_facts,
    cut_short,
    damaged,
    refused,
    unsupported,
)
from voxfleet_agent.audio.mp4_boxes import Movie, boxes, child, find, read_movie
from voxfleet_agent.audio.mp4_fragments import Fragment, announced_samples, drop_cut, fragments_of, refuse_gaps
from voxfleet_agent.audio.mp4_samples import SampleTable, sample_count, sample_table
from voxfleet_agent.audio.refused_formats import encoding_name
from voxfleet_api.kinds.contract_input import Container, Encoding

_AAC_STREAM_TYPES = {0x40, 0x66, 0x67, 0x68}
_STREAM_TYPES = {0x69: "MP3", 0x6B: "MP3", 0xA5: "AC-3", 0xA6: "E-AC-3", 0xA9: "DTS", 0xAD: "Opus", 0xDD: "Vorbis"}
_PICTURE_CODES = {b"jpeg", b"png ", b"gif ", b"tiff"}
_PICTURE_STREAM_TYPES = {0x6C, 0x6D}  # JPEG and PNG in an mp4v entry
_MAX_PICTURES_A_SECOND = 2
_VIDEO_ENTRY_BYTES = 78
_MAX_EDITS = 4_096
_MIXED_CHANNELS = (3,)
_MIN_PACKET_FRAMES = 960
_SPARE_PACKETS = 8
_DELAY_FRAMES = 4 * 1024
"""Encoders have up to 2112 samples of delay and a packet of padding, which their edit lists leave out."""
_NOTHING = memoryview(b"")


@dataclass(frozen=True, slots=True)
class _Track:
    number: int
    handler: bytes
    media: memoryview
    edits: memoryview | None
    chapters: frozenset[int]
    """The numbers of the tracks that are this one's chapters."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """A track whose last packets are not in the file."""

    whole_packets: int
    end_bytes: int
    """Where the last of them ends."""
    truncation: str


def inspect_m4a(clip: ClipReader) -> HeaderFacts:
    """Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION)."""
    account = ByteAccount(clip)
    movie = read_movie(clip, account)
    tracks = [_track(body) for name, body in boxes(movie.header) if name == b"trak"]
    audio = [track for track in tracks if track.handler == b"soun"]
    chapters = {number for track in audio for number in track.chapters}
    if any(track.handler == b"vide" and not _holds_pictures(track, chapters) for track in tracks):
        raise unsupported("an MP4 film: it has a video track" + ("" if audio else " and no audio track"))
    if len(audio) != 1:
        raise unsupported(f"an MP4 file with {len(audio)} audio tracks, where one is expected")
    (track,) = audio
    timescale, duration = _clock(child(track.media, b"mdhd"))
    table = child(track.media, b"minf", b"stbl")
    _refuse_external_audio(find(find(child(track.media, b"minf"), b"dinf") or _NOTHING, b"dref"))
    aac = _format(child(table, b"stsd"))
    rate_hz = aac.sample_rate_hz
    refuse_count(aac.channels, _MIXED_CHANNELS, "AAC")
    movie_timescale, _ = _clock(child(movie.header, b"mvhd"))
    edited = _edited_duration(track.edits)
    stored_frames = duration * rate_hz // timescale
    frames = edited * rate_hz // movie_timescale if edited else stored_frames
    unplayed = stored_frames - frames
    samples = sample_table(table)
    packets = sample_count(table) + announced_samples(movie)
    _refuse_packets(packets, None if movie.fragments else stored_frames, rate_hz, clip.size_bytes)
    fragments = fragments_of(movie, track.number, clip)
    drop_cut(movie, fragments, clip)
    refuse_gaps(fragments, timescale, clip)
    cut = _cut(clip, movie, samples)
    if fragments:
        # The header of a fragmented file states no length.
        packets = sample_count(table) + sum(fragment.samples for fragment in fragments)
        frames = packets * aac.packet_frames
    elif cut is not None:
        frames = _present_frames(cut.whole_packets, sample_count(table), stored_frames, frames)
    tables = [samples, *(_samples(other) for other in tracks if other is not track)]
    _claim_media(account, movie, tables, fragments)
    facts = checked_facts(
        Container.M4A,
        Encoding.AAC,
        rate_hz,
        aac.channels,
        frames=frames or None,
        estimated_milliseconds=packets * aac.packet_frames * 1000 // max(1, rate_hz),
    )
    audio_bytes = samples.total_bytes if samples is not None and samples.samples else movie.media_bytes
    return dataclasses.replace(
        facts,
        other_formats=aac.others,
        replication=aac.replication,
        unplayed_frames=unplayed if unplayed > _DELAY_FRAMES * aac.replication else 0,
        audio_end_bytes=None if cut is None else cut.end_bytes,
        skipped=account.settled(
            max(audio_bytes // max(1, packets), audible_bytes(audio_bytes, facts.audio_milliseconds))
        ),
        truncation=None if cut is None else cut.truncation,
    )


def _holds_pictures(track: _Track, chapters: set[int]) -> bool:
    """Whether a video track is a cover or chapter pictures and no film."""
    if track.number in chapters:
        return True
    table = find(find(track.media, b"minf") or _NOTHING, b"stbl") or _NOTHING
    timescale, duration = _clock(child(track.media, b"mdhd"))
    if sample_count(table) * timescale > _MAX_PICTURES_A_SECOND * max(duration, timescale):
        return False
    entries = list(boxes((find(table, b"stsd") or _NOTHING)[8:]))
    return bool(entries) and all(
        name in _PICTURE_CODES
        or (name == b"mp4v" and _video_stream_type(find(entry[_VIDEO_ENTRY_BYTES:], b"esds")) in _PICTURE_STREAM_TYPES)
        for name, entry in entries
    )


def _video_stream_type(descriptor: memoryview | None) -> int | None:
    return None if descriptor is None else _decoder_config(descriptor[4:])[0]


def _samples(track: _Track) -> SampleTable | None:
    table = find(find(track.media, b"minf") or _NOTHING, b"stbl")
    return None if table is None else sample_table(table)


def _cut(clip: ClipReader, movie: Movie, samples: SampleTable | None) -> _Cut | None:
    """How the audio ends early; None: it is all there.

    Raises VoxFleetError(DECODE_ERROR) when nothing of a file that is cut short can be decoded.
    """
    if movie.cut_fragment_at is not None and movie.truncation is not None:
        if not movie.fragments:
            raise damaged(movie.truncation)
        return _Cut(0, movie.cut_fragment_at, movie.truncation)
    if movie.fragments:
        return None
    if samples is None or not samples.samples:
        if movie.truncation is not None:
            raise damaged(movie.truncation)
        return None
    whole, end_bytes = samples.whole_samples(clip.size_bytes)
    if whole == samples.samples:
        return None  # what is cut off is no audio
    truncation = cut_short("bytes of audio", samples.total_bytes, samples.bytes_before(whole))
    if whole == 0 or end_bytes < movie.header_end_bytes:
        raise damaged(truncation)
    return _Cut(whole, end_bytes, truncation)


def _present_frames(whole_packets: int, packets: int, stored_frames: int, played_frames: int) -> int:
    """The frames that the whole packets hold. Edits cut the encoder's delay off the start."""
    delay_frames = max(0, stored_frames - played_frames)
    return min(played_frames, max(1, stored_frames * whole_packets // packets - delay_frames))


def _claim_media(
    account: ByteAccount, movie: Movie, tables: list[SampleTable | None], fragments: list[Fragment]
) -> None:
    """Claims what the tables and fragments of all tracks, chapters and pictures too, refer to."""
    known = [table for table in tables if table is not None]
    if len(known) < len(tables) and not fragments:
        for offset, length in movie.media:
            account.claim(offset, length)
        return
    for extents in (*(table.extents() for table in known), *(fragment.extents for fragment in fragments)):
        for offset, length in extents:
            account.claim(offset, length)
    if movie.cut_fragment_at is not None:
        account.claim_rest(movie.cut_fragment_at)


def _refuse_external_audio(references: memoryview | None) -> None:
    """Refuses audio in another file: it was not fetched, and decoders disagree on whether to follow the reference."""
    for _, body in boxes(_NOTHING if references is None else references[8:]):
        if len(body) < 4 or not body[3] & 0x1:
            raise refused("says that its audio lies in another file")


def _refuse_packets(packets: int, stored_frames: int | None, rate_hz: int, size_bytes: int) -> None:
    """The decoder allocates an entry per announced packet, even for packets that are not in the file."""
    max_packets = size_bytes
    if stored_frames:
        max_packets = min(max_packets, stored_frames // _MIN_PACKET_FRAMES + _SPARE_PACKETS)
    if packets > max_packets:
        raise damaged(f"announces {packets} packets of AAC, more than there can be")
    if packets * _MIN_PACKET_FRAMES * 1000 > MAX_AUDIO_MILLISECONDS * rate_hz:
        raise refused("announces more than 24 hours of audio; at most 24 are possible")


def _track(body: memoryview) -> _Track:
    media = find(body, b"mdia") or _NOTHING
    handler = find(media, b"hdlr") or _NOTHING
    edit = find(body, b"edts")
    header = find(body, b"tkhd") or _NOTHING
    number_at = 20 if bytes(header[:1]) == b"\x01" else 12
    chapters = find(find(body, b"tref") or _NOTHING, b"chap") or _NOTHING
    return _Track(
        int.from_bytes(header[number_at : number_at + 4], "big"),
        bytes(handler[8:12]),
        media,
        None if edit is None else find(edit, b"elst"),
        frozenset(int.from_bytes(chapters[at : at + 4], "big") for at in range(0, len(chapters) - 3, 4)),
    )


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
    for number in range(min(count, _MAX_EDITS)):
        offset = 8 + number * (layout.size + 4)
        if offset + layout.size > len(box):
            raise damaged("has a broken edit list")
        duration, media_time = layout.unpack_from(box, offset)
        total += duration if media_time >= 0 else 0
    return total


def _format(description: memoryview) -> AacFormat:
    """The format of the single AAC sample entry."""
    entries = list(boxes(description[8:]))
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
    inner = entry[28 + extra :]
    descriptor = find(inner, b"esds") or find(find(inner, b"wave") or _NOTHING, b"esds")
    if descriptor is None:
        raise damaged("is an m4a file without a description of its AAC")
    config = _decoder_config(descriptor[4:])
    if config[0] not in _AAC_STREAM_TYPES:
        stream_type = _STREAM_TYPES.get(config[0], f"MPEG-4 stream type 0x{config[0]:02x}")
        raise refused(f"is an m4a file of {stream_type}; accepted is AAC")
    return aac_format(_descriptor(config[13:], 0x05))


def _decoder_config(data: memoryview) -> memoryview:
    """The DecoderConfigDescriptor (4), nested in an ES_Descriptor (3); its first byte is the stream's type."""
    body = _descriptor(data, 0x03)
    flags = body[2] if len(body) > 2 else 0
    start = 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
    if flags & 0x40:
        start += 1 + (body[start] if len(body) > start else 0)
    config = _descriptor(body[start:], 0x04)
    if len(config) < 13:
        raise damaged("has a description of its AAC that is too short")
    return config


def _descriptor(data: memoryview, tag: int) -> memoryview:
    if not data or data[0] != tag:
        raise damaged("has a broken description of its AAC")
    length = 0
    for position in range(1, min(5, len(data))):
        length = length << 7 | data[position] & 0x7F
        if not data[position] & 0x80:
            return data[position + 1 : position + 1 + length]
    raise damaged("has a broken description of its AAC")

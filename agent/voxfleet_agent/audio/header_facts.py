"""What a clip's header says, and what the parsers of all containers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container, Encoding

MIN_RATE_HZ = 4_000
MAX_RATE_HZ = 384_000
MAX_CHANNELS = 64
MAX_AUDIO_MILLISECONDS = 24 * 3_600_000
SCRATCH_PREFIX = "decode-"
"""The name prefix of the folders that decoding makes in TMPDIR and removes."""


@dataclass(frozen=True, slots=True)
class SkippedBytes:
    """Bytes of a file that no decoder is given and no parser explains."""

    offset_bytes: int
    length_bytes: int
    what: str
    """What they look like, for example `an APE tag that is cut off` or `bytes of no known format`."""


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """What a header says about its audio."""

    container: Container
    encoding: Encoding
    sample_rate_hz: int
    channels: int
    audio_milliseconds: int
    """From `frames`, or else estimated from the file's size; 0 when neither is possible."""
    frames: int | None
    """Samples of one channel as the header states them; None: only decoding can find out."""
    priming_frames: int = 0
    """Samples of encoder delay before `frames`, where libav does not remove them."""
    other_formats: tuple[tuple[int, int], ...] = ()
    """Other (rate in hertz, channels) that the clip may decode to, because its header leaves that to the stream."""
    replication: int = 1
    """How many times as many samples a packet decodes to because of spectral band replication."""
    open_ended: bool = False
    """The header states no length: the audio lasts to the end of the file, and only a search finds what joins it."""
    own_header: bytes = b""
    """What the decoder is given ahead of the range, because the file's own header would mislead it."""
    audio_start_bytes: int = 0
    """Where the range begins that the decoder is given."""
    audio_end_bytes: int | None = None
    """Where that range ends; None: at the end of the file."""
    skipped: tuple[SkippedBytes, ...] = ()
    """Bytes that are neither audio nor part of the format, in the order of the file; complete tags and padding are left
    out."""
    explained: tuple[SkippedBytes, ...] = ()
    """Complete tags, padding and length headers that the decoder is not given either, in the order of the file."""
    cut_out: tuple[tuple[int, int], ...] = ()
    """(start, end) of the bytes within the range that the decoder is not given, in the order of the file."""
    counted: bool = False
    """Whether `frames` were counted in the whole file; a header only states them."""
    trimmed: bool = False
    """Whether the decoder is given an mp3's length header, by which it cuts off the encoder's delay and padding."""
    undecodable_frames: int = 0
    """Samples of one channel, out of `frames`, whose bytes lie partly before the file; a decoder may leave them out."""
    unplayed_frames: int = 0
    """Samples of one channel that are stored and that an edit list leaves out, beyond an encoder's own delay."""
    truncation: str | None = None
    """How the file ends early, as the end of a sentence that begins with the clip; None: it is whole."""

    def ranges(self, size_bytes: int) -> tuple[tuple[int, int], ...]:
        """(start, end) of what the decoder is given of a file of this size, in the order of the file."""
        end = size_bytes if self.audio_end_bytes is None else self.audio_end_bytes
        starts = (self.audio_start_bytes, *(cut_end for _, cut_end in self.cut_out))
        ends = (*(cut_start for cut_start, _ in self.cut_out), end)
        return tuple(zip(starts, ends, strict=True))

    def copy_bytes(self, size_bytes: int) -> int:
        """The most scratch that decoding takes: for a copy of the ranges, if they are not the whole file.

        Those of an mp3 are known only when all of its frames have been counted.
        """
        ranges = self.ranges(size_bytes)
        if ranges == ((0, size_bytes),) and (self.counted or self.container is not Container.MP3):
            return 0
        return len(self.own_header) + sum(end - start for start, end in ranges)


class Reader(Protocol):
    """The part of a seekable binary file that the parsers use."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, /) -> int: ...


class ClipReader:
    """Reads a clip of known size."""

    def __init__(self, reader: Reader, size_bytes: int, start: int = 0, whole_bytes: int | None = None) -> None:
        self._reader = reader
        self._start = start
        self.size_bytes = size_bytes
        self.whole_bytes = size_bytes if whole_bytes is None else whole_bytes
        """Of the file that this may be a part of."""

    def part(self, start: int, end: int) -> ClipReader:
        """A reader of the bytes from `start` to `end`, whose offsets count from `start`."""
        return ClipReader(self._reader, end - start, self._start + start, self.whole_bytes)

    def in_file(self, offset: int) -> int:
        """The offset in the whole file, for messages."""
        return self._start + offset

    def peek(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer at the end of the file, none before its start."""
        if not 0 <= offset < self.size_bytes:
            return b""
        self._reader.seek(self._start + offset)
        count = min(count, self.size_bytes - offset)
        parts = []
        while count > 0:
            part = self._reader.read(count)
            if not part:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def read_exactly(self, offset: int, count: int, what: str) -> bytes:
        """Raises VoxFleetError(DECODE_ERROR) when the file ends first; `what` names the part that is cut off."""
        data = self.peek(offset, count)
        if len(data) < count:
            raise damaged(f"ends inside its {what}")
        return data


def damaged(reason: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.DECODE_ERROR, reason)


REASON_CHARACTERS = 256


def told_together(reasons: Sequence[str]) -> str:
    """One sentence of several that each begin with a verb; of those that do not fit into a row, their number."""
    told = reasons[0]
    for position, reason in enumerate(reasons[1:], start=1):
        longer = f"{told}; it also {reason}"
        rest = f"; and {len(reasons) - position - 1} more" if position + 1 < len(reasons) else ""
        if len(longer) + len(rest) > REASON_CHARACTERS:
            return f"{told}; and {len(reasons) - position} more"
        told = longer
    return told[:REASON_CHARACTERS]


def refused(reason: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.CONTRACT_VIOLATION, reason)


def unsupported(found: str) -> VoxFleetError:
    accepted = ", ".join(container.value for container in Container)
    return VoxFleetError(FailureClass.UNSUPPORTED_CONTAINER, f"is {found}; containers that can be read: {accepted}")


def refuse_later_audio(chunk: str, later_audio_bytes: int) -> None:
    """Raises VoxFleetError(DECODE_ERROR) when more than the first `chunk` holds audio: decoders read no other."""
    if later_audio_bytes:
        raise damaged(
            f"holds its audio in more than one {chunk} chunk: {later_audio_bytes} bytes of the later ones would not be"
            " read; split the file"
        )


def cut_short(unit: str, announced: int, present: int) -> str:
    """The sentence of `HeaderFacts.truncation`."""
    return f"is cut short: its header announces {announced} {unit}, {present} {'is' if present == 1 else 'are'} there"


def checked_facts(
    container: Container,
    encoding: Encoding,
    sample_rate_hz: int,
    channels: int,
    *,
    frames: int | None,
    estimated_milliseconds: int = 0,
    priming_frames: int = 0,
    no_audio: str = "holds no audio",
) -> HeaderFacts:
    """Checks the bounds, because values beyond them cost the decoder gigabytes.

    `no_audio`: what to say of a clip of 0 frames. Raises VoxFleetError(CONTRACT_VIOLATION | DECODE_ERROR).
    """
    if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
        raise refused(f"is at {sample_rate_hz} Hz; rates from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz are possible")
    if not 1 <= channels <= MAX_CHANNELS:
        raise refused(f"has {channels} channels; 1 to {MAX_CHANNELS} are possible")
    if frames == 0:
        raise damaged(no_audio)
    milliseconds = estimated_milliseconds if frames is None else max(1, frames * 1000 // sample_rate_hz)
    if milliseconds > MAX_AUDIO_MILLISECONDS:
        raise refused(f"announces {milliseconds // 3_600_000} hours of audio; at most 24 are possible")
    return HeaderFacts(container, encoding, sample_rate_hz, channels, milliseconds, frames, priming_frames)

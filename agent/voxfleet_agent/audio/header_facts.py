"""What a clip's header says, and what the parsers of all containers share."""

from __future__ import annotations

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
    audio_start_bytes: int = 0
    """Where the range begins that the decoder is given."""
    audio_end_bytes: int | None = None
    """Where that range ends; None: at the end of the file."""
    skipped: tuple[SkippedBytes, ...] = ()
    """Bytes that are neither audio nor part of the format, in the order of the file; complete tags and padding are left
    out."""
    truncation: str | None = None
    """How the file ends early, as the end of a sentence that begins with the clip; None: it is whole."""


class Reader(Protocol):
    """The part of a seekable binary file that the parsers use."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, /) -> int: ...


class ClipReader:
    """Reads a clip of known size."""

    def __init__(self, reader: Reader, size_bytes: int) -> None:
        self._reader = reader
        self.size_bytes = size_bytes

    def peek(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer at the end of the file."""
        if offset >= self.size_bytes:
            return b""
        self._reader.seek(offset)
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


def refused(reason: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.CONTRACT_VIOLATION, reason)


def unsupported(found: str) -> VoxFleetError:
    accepted = ", ".join(container.value for container in Container)
    return VoxFleetError(FailureClass.UNSUPPORTED_CONTAINER, f"is {found}; containers that can be read: {accepted}")


def checked_facts(
    container: Container,
    encoding: Encoding,
    sample_rate_hz: int,
    channels: int,
    *,
    frames: int | None,
    estimated_milliseconds: int = 0,
    priming_frames: int = 0,
) -> HeaderFacts:
    """Checks the bounds, because values beyond them cost the decoder gigabytes.

    Raises VoxFleetError(CONTRACT_VIOLATION | DECODE_ERROR).
    """
    if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
        raise refused(f"is at {sample_rate_hz} Hz; rates from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz are possible")
    if not 1 <= channels <= MAX_CHANNELS:
        raise refused(f"has {channels} channels; 1 to {MAX_CHANNELS} are possible")
    if frames == 0:
        raise damaged("holds no audio")
    milliseconds = estimated_milliseconds if frames is None else max(1, frames * 1000 // sample_rate_hz)
    if milliseconds > MAX_AUDIO_MILLISECONDS:
        raise refused(f"announces {milliseconds // 3_600_000} hours of audio; at most 24 are possible")
    return HeaderFacts(container, encoding, sample_rate_hz, channels, milliseconds, frames, priming_frames)

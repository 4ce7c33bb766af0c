"""The boxes of an MPEG-4 file (ISO/IEC 14496-12): the list at its top, and boxes within boxes."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from voxfleet_agent.audio.byte_account import ByteAccount
from voxfleet_agent.audio.header_facts import ClipReader, cut_short, damaged, refused

_MAX_BOXES = 4_096
_MAX_MOOV_BYTES = 16 * 2**20
_MAX_FRAGMENTS = 65_536
_NAME = re.compile(rb"[ -~\xa9]{4}")
_WITHOUT_AUDIO = {
    b"free",
    b"skip",
    b"wide",
    b"udta",
    b"meta",
    b"uuid",
    b"sidx",
    b"mfra",
    b"emsg",
    b"styp",
    b"pdin",
    b"ssix",
    b"prft",
}


@dataclass(slots=True)
class Movie:
    """The list of boxes at the top of a file."""

    header: memoryview
    """The body of the moov box."""
    media: list[tuple[int, int]] = field(default_factory=list)
    """The (offset, length) of what is there of the body of each mdat box."""
    header_end_bytes: int = 0
    """Where the moov box ends."""
    fragments: list[tuple[int, memoryview]] = field(default_factory=list)
    """The offset and the body of each moof box."""
    truncation: str | None = None
    """How the last mdat or moof box ends early."""
    cut_fragment_at: int | None = None
    """Where the fragment begins that ends early; it is not among `fragments`."""

    @property
    def media_bytes(self) -> int:
        """Of all mdat boxes, as far as they are there."""
        return sum(length for _, length in self.media)


def read_movie(clip: ClipReader, account: ByteAccount) -> Movie:
    """Reads and claims the boxes, but not the bodies of mdat.

    Raises VoxFleetError(DECODE_ERROR | CONTRACT_VIOLATION).
    """
    header: memoryview | None = None
    movie = Movie(memoryview(b""))
    offset = 0
    for _ in range(_MAX_FRAGMENTS * 2):
        if offset >= clip.size_bytes:
            break
        found = _box_at(clip, offset)
        if found is None or (found[0] == b"ftyp" and offset > 0) or (found[0] == b"moov" and header is not None):
            if header is None:
                raise damaged(
                    f"has a list of boxes that breaks off at byte {clip.in_file(offset)}, ahead of its header (moov)"
                )
            break
        name, header_bytes, length = found
        end = offset + length
        if end > clip.size_bytes:
            if header is None:
                missing = "" if name == b"moov" else ", and its header (moov) is not among them"
                raise damaged(cut_short("bytes", end, clip.size_bytes) + missing)
            if name in _WITHOUT_AUDIO:
                account.skip(offset, clip.size_bytes - offset, f"a cut-off {name.decode()} box")
                break
            if name not in (b"mdat", b"moof"):
                break
            movie.truncation = cut_short("bytes", end, clip.size_bytes)
            if name == b"moof" or movie.fragments:
                movie.cut_fragment_at = offset if name == b"moof" else movie.fragments.pop()[0]
                account.claim_rest(movie.cut_fragment_at)
                break
        account.claim(offset, header_bytes)
        if name == b"mdat":
            movie.media.append((offset + header_bytes, min(end, clip.size_bytes) - offset - header_bytes))
        elif name in _WITHOUT_AUDIO or name in (b"ftyp", b"moov", b"moof"):
            account.claim(offset, length)
        else:
            account.skip(offset, length, f"a {name.decode('latin-1').strip()} box, which is not known")
        if name in (b"moov", b"moof"):
            if length > _MAX_MOOV_BYTES:
                raise refused(f"has a header of {length} bytes; at most {_MAX_MOOV_BYTES} are possible")
            body = memoryview(clip.read_exactly(offset + header_bytes, length - header_bytes, "header"))
            if name == b"moov":
                header, movie.header_end_bytes = body, end
            else:
                movie.fragments.append((offset, body))
        offset = end
    else:
        raise refused(f"has more than {_MAX_FRAGMENTS} fragments")
    if header is None:
        raise damaged("is an m4a file without its header (moov)")
    movie.header = header
    return movie


def _box_at(clip: ClipReader, offset: int) -> tuple[bytes, int, int] | None:
    """(name, bytes of the header, bytes of the whole box) of the box at `offset`; None when there is none."""
    head = clip.peek(offset, 16)
    if len(head) < 8:
        return None
    length, name = struct.unpack(">I4s", head[:8])
    header_bytes = 8
    if length == 1:
        if len(head) < 16:
            return None
        length, header_bytes = int.from_bytes(head[8:16], "big"), 16
    elif length == 0:
        # Only the last box may leave its length out; zeros that follow the last box are no box.
        length = clip.size_bytes - offset if name == b"mdat" else 0
    return None if length < header_bytes or not _NAME.fullmatch(name) else (name, header_bytes, length)


def boxes(body: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The name and the body of each box within a box. Raises VoxFleetError(DECODE_ERROR)."""
    offset = 0
    for _ in range(_MAX_BOXES):
        if offset + 8 > len(body):
            return
        length, name = struct.unpack_from(">I4s", body, offset)
        header_bytes = 8
        if length == 0:
            length = len(body) - offset
        elif length == 1 and offset + 16 <= len(body):
            length, header_bytes = int.from_bytes(body[offset + 8 : offset + 16], "big"), 16
        if length < header_bytes or offset + length > len(body):
            raise damaged("has a broken header (moov)")
        yield name, body[offset + header_bytes : offset + length]
        offset += length


def find(body: memoryview, name: bytes) -> memoryview | None:
    """The first box of a name."""
    return next((box for box_name, box in boxes(body) if box_name == name), None)


def child(body: memoryview, *path: bytes) -> memoryview:
    """The box at a path of names. Raises VoxFleetError(DECODE_ERROR)."""
    for name in path:
        box = find(body, name)
        if box is None:
            printable = "".join(chr(byte) if 32 < byte < 127 else "?" for byte in name)
            raise damaged(f"is an m4a file without its {printable} box")
        body = box
    return body

"""Which clips try a Mac: the longest ones, because they need the most memory, scratch and time at once. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from voxfleet_api.acceptance import PeakSlice
from voxfleet_api.digest import sha256_hex
from voxfleet_api.ranges import encode
from voxfleet_api.rows import ClipStatus, ResultRow

DEFAULT_CLIPS = 32
MAX_CLIPS = 200
RULE = "the longest clips with a result in the baseline, by length, then by index"


def peak_rows(rows: Mapping[int, ResultRow], clips: int) -> dict[int, ResultRow]:
    """The baseline's rows of the slice, by index; fewer than `clips` where the baseline has fewer results."""
    succeeded = [(index, row) for index, row in rows.items() if row.status is ClipStatus.SUCCEEDED]
    longest = sorted(succeeded, key=lambda item: (-item[1].audio_milliseconds, item[0]))[:clips]
    return dict(sorted(longest))


def peak_slice(rows: Mapping[int, ResultRow]) -> PeakSlice:
    """Describes the rows that `peak_rows` chose."""
    listed = "".join(f"{index} {row.sha256 or '-'}\n" for index, row in rows.items())
    return PeakSlice(
        rule=RULE,
        indexes=encode(rows),
        clips=len(rows),
        audio_milliseconds=sum(row.audio_milliseconds for row in rows.values()),
        clips_sha256=sha256_hex(listed.encode()),
    )

"""What the checks of a bill find. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Check(StrEnum):
    """What was checked."""

    INDEX = "Index"  # the index against its segments
    SEGMENT = "Segment"  # a segment against its digest
    ROW = "Row"  # a row against its hash and signature
    CHAIN = "Chain"  # a row against the one before it
    GAP = "Gap"  # rows that are missing
    TAIL = "Tail"  # rows that are missing at the end of a chain
    KEY = "Key"  # the key of a chain against the one that is pinned
    OVERLAP = "Overlap"  # two rows of one lane at one time
    STATEMENT = "Statement"  # a statement against the archive


@dataclass(frozen=True, slots=True)
class Finding:
    mac: str
    month: str
    check: Check
    where: str
    """`<chain>#<sequence>` of a row, or the name of a segment, index or statement."""
    message: str

    def dump(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}

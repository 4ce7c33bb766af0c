"""What one run left behind, held against what was promised. Pure: works on what was read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from voxfleet_api.ledger import LedgerRow
from voxfleet_api.rows import ResultRow


@dataclass
class Findings:
    """All of it zero and empty: every promise held."""

    lost: int = 0
    """Clips without a row."""
    duplicated: int = 0
    """Rows beyond the first of a clip."""
    repeated: int = 0
    """Clips that were recorded before a kill and worked on again after it."""
    double_billed_seconds: float = 0.0
    """Seconds of one lane that two rows bill, or that no clock has seen."""
    residue_bytes: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return self == Findings()


def count_rows(rows: Iterable[ResultRow], total: int) -> tuple[int, int]:
    """(lost, duplicated) among the clips 0 to total - 1; a row of no clip counts as duplicated."""
    seen = Counter(row.index for row in rows)
    lost = sum(index not in seen for index in range(total))
    surplus = sum(count - 1 for count in seen.values()) + sum(index not in range(total) for index in seen)
    return lost, surplus


def count_repeated(recorded: Mapping[int, bytes], final: Sequence[ResultRow]) -> int:
    """How many rows that a killed agent had recorded are not, byte for byte, what was delivered."""
    delivered = {row.index: row.line() for row in final}
    return sum(delivered.get(index) != line for index, line in recorded.items())


def double_billed_seconds(rows: Iterable[LedgerRow]) -> float:
    """Overlap of the rows of each lane in wall time, plus what was billed beyond the time that passed at all."""
    by_lane: dict[str, list[LedgerRow]] = defaultdict(list)
    for row in rows:
        by_lane[row.lane].append(row)
    return sum(_overlap_seconds(lane) + _surplus_seconds(lane) for lane in by_lane.values())


def _overlap_seconds(rows: Sequence[LedgerRow]) -> float:
    spans = sorted((_seconds(row.wall_start), _seconds(row.wall_end)) for row in rows)
    overlap, covered_until = 0.0, float("-inf")
    for start, end in spans:
        overlap += max(0.0, min(end, covered_until) - start)
        covered_until = max(covered_until, end)
    return round(overlap, 3)


def _surplus_seconds(rows: Sequence[LedgerRow]) -> float:
    """Each row's clock reads and its wall times are taken one after the other: 5 ms a row are granted."""
    passed = max(_seconds(row.wall_end) for row in rows) - min(_seconds(row.wall_start) for row in rows)
    billed = sum(row.monotonic_milliseconds for row in rows) / 1000
    surplus = billed - passed - 0.005 * len(rows)
    return round(surplus, 3) if surplus > 0 else 0.0


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()

"""The batch size whose steps are no longer than a quantum. Pure."""

from __future__ import annotations

from voxfleet_api.ladder_table import LadderTable


def quantum_batch_size(table: LadderTable | None, quantum_milliseconds: int) -> int:
    """The largest measured one; one clip where none was measured, or none is short enough.

    Ladders are measured with the longest clips, so others take less.
    """
    if table is None:
        return 1
    return max(
        (tier.batch_size for tier in table.tiers if 0 < tier.clip_p95_milliseconds <= quantum_milliseconds), default=1
    )

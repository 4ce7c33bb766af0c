"""VoiceEndpoint: how the batches of a Mac give way to its sessions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import NOT_FILLED_IN, Duration, SpecModel, between
from voxfleet_api.quantities import duration_milliseconds


class YieldMode(StrEnum):
    """What batches do while somebody speaks or is spoken to."""

    PAUSE = "Pause"  # they stand still
    SHRINK = "Shrink"  # they go on, clip by clip
    EVICT = "Evict"  # they stand still, and their shards go back while turns are late all the same


class Yield(SpecModel):
    """How the batches of a Mac give way to the sessions of a lane there."""

    mode: Annotated[
        YieldMode,
        Field(
            description="What the Mac's batches do from the onset of speech to the end of the turn. Pause: they stand"
            " still, 120 s on end at most, and 6 s of work in quanta make up for as much. Shrink: they go on with one"
            " clip at a time. Evict: as Pause, and once turns have been later than the contract's slo.interactiveP95"
            " for 60 s, the shards go back to the queue, which costs no retry. Paused time is charged to the endpoint."
            " Absent: Pause.",
            json_schema_extra=NOT_FILLED_IN,
        ),
    ] = YieldMode.PAUSE
    quantum: Annotated[
        Duration,
        Field(
            description="While a session is open, the Mac's batches are of a size whose steps take no longer, as far as"
            " a ladder tells. A step that takes longer is counted. Absent: 250ms.",
            json_schema_extra={**between("50ms", "10s"), **NOT_FILLED_IN},
        ),
    ] = "250ms"

    @property
    def quantum_milliseconds(self) -> int:
        return duration_milliseconds(self.quantum)

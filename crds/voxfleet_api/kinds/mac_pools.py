"""What a Mac's memory is promised to: spec.pools and spec.reserved of a MacAgent."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from voxfleet_api.base import Size, SpecModel
from voxfleet_api.pools import MAX_LANES, MAX_POOL_NAME, POOL_NAME_PATTERN, MemoryClaim, PoolKind
from voxfleet_api.quantities import quantity_bytes

PoolName = Annotated[str, Field(min_length=1, max_length=MAX_POOL_NAME, pattern=POOL_NAME_PATTERN)]


class DeclaredPool(SpecModel):
    """A named group of lanes, as agent.yaml on the Mac should have it."""

    name: Annotated[PoolName, Field(description="Its name.")]
    kind: Annotated[
        PoolKind,
        Field(
            description="Offline: its lanes work on the shards of jobs. Interactive: they serve people who speak and"
            " listen, and no job ever gets one."
        ),
    ]
    lanes: Annotated[int, Field(ge=1, le=MAX_LANES, description="How many lanes it has.")]
    memory_cap: Annotated[Size, Field(description="Memory cap of each lane.")]

    @property
    def memory_cap_bytes(self) -> int:
        return quantity_bytes(self.memory_cap)

    @property
    def claim(self) -> MemoryClaim:
        return MemoryClaim(self.name, self.memory_cap, self.memory_cap_bytes, self.lanes)


class ReservedMemory(SpecModel):
    """Memory of a co-tenant, such as a text model, which no pool may take."""

    name: Annotated[PoolName, Field(description="The co-tenant.")]
    memory: Annotated[Size, Field(description="What it needs.")]

    @property
    def memory_bytes(self) -> int:
        return quantity_bytes(self.memory)

    @property
    def claim(self) -> MemoryClaim:
        return MemoryClaim(self.name, self.memory, self.memory_bytes)

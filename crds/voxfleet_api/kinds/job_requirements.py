"""The machine that a job asks for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from voxfleet_api.base import Size, SpecModel, list_unique

MAX_CHIPS = 16

ChipName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^ \t]+( [^ \t]+)*$")]
"""Words of a chip's name, such as `M2` or `M2 Pro`."""


class Requirements(SpecModel):
    """What a Mac must have to run the job. An empty one asks for nothing."""

    memory: Annotated[Size | None, Field(description="The least memory of the machine, such as `16Gi`.")] = None
    chips: Annotated[
        tuple[ChipName, ...],
        Field(
            max_length=MAX_CHIPS,
            json_schema_extra=list_unique(),
            description="Families of chips, any of which will do; empty: all. A chip belongs to a family if its name"
            " has the family's words next to each other: `M2` stands for Apple M2 and Apple M2 Pro, `M2 Pro` for the"
            " latter only, and neither for Apple M20.",
        ),
    ] = ()
    homogeneous: Annotated[
        bool,
        Field(
            description="True: all clips are processed on one kind of chip, that of the first Mac which gets some."
            " Shards then wait for Macs with this very chip."
        ),
    ] = False

    def takes_chip(self, chip: str) -> bool:
        """Whether the chip belongs to one of the families; capitals do not count."""
        name = _padded(chip)
        return not self.chips or any(_padded(family) in name for family in self.chips)


def _padded(words: str) -> str:
    return f" {' '.join(words.lower().split())} "

"""When a Mac works: spec.availability of a MacAgent."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import SpecModel, TimeZoneName, cel, list_atomic, list_set, validations


class Weekday(StrEnum):
    MON = "Mon"
    TUE = "Tue"
    WED = "Wed"
    THU = "Thu"
    FRI = "Fri"
    SAT = "Sat"
    SUN = "Sun"


class Window(
    SpecModel,
    json_schema_extra=validations(
        cel("self.start != self.end", "write another end; a whole day is start: '00:00', end: '24:00'")
    ),
):
    """A time of day in which the Mac works. One that ends before it starts ends on the next day."""

    days: Annotated[
        tuple[Weekday, ...],
        Field(
            max_length=7,
            json_schema_extra=list_set(),
            description="The days on which the window opens; absent: every day.",
        ),
    ] = ()
    start: Annotated[
        str, Field(max_length=5, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", description="When it opens, as `20:00`.")
    ]
    end: Annotated[
        str,
        Field(
            max_length=5,
            pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$",
            description="When it closes, as `06:00`; `24:00` is the day's end.",
        ),
    ]


Moment = Annotated[
    str,
    Field(
        max_length=32,
        pattern=r"^2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$",
        json_schema_extra={"format": "date-time"},
    ),
]
"""RFC 3339 in whole seconds, as a person writes it: `2026-11-20T22:00:00Z` or `2026-11-20T23:00:00+01:00`."""


class OpeningHours(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "!has(self.windows) || size(self.windows) == 0 || has(self.timeZone)",
            "write timeZone beside windows, such as Europe/Berlin",
        ),
        cel(
            "!has(self.rentalStart) || !has(self.rentalEnd) || self.rentalStart < self.rentalEnd",
            "write a rentalEnd after rentalStart",
        ),
    ),
):
    """When the Mac works: within its windows, and within its rental."""

    time_zone: Annotated[
        TimeZoneName | None,
        Field(description="IANA name of the time zone in which the windows are meant, such as Europe/Berlin."),
    ] = None
    windows: Annotated[
        tuple[Window, ...],
        Field(max_length=14, json_schema_extra=list_atomic(), description="Times of day; absent: always."),
    ] = ()
    rental_start: Annotated[
        Moment | None, Field(description="The Mac takes nothing before; absent: it is there already.")
    ] = None
    rental_end: Annotated[
        Moment | None,
        Field(description="Nothing runs on the Mac from then on; work is called back 5 minutes earlier."),
    ] = None

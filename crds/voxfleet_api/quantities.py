"""Durations, byte quantities and exact seconds."""

from __future__ import annotations

import re
from functools import lru_cache

from voxfleet_api.base import DURATION_PATTERN, QUANTITY_PATTERN

_DURATION_UNITS_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_QUANTITY_UNITS_BYTES = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def duration_milliseconds(text: str) -> int:
    """`1h30m` -> 5400000. Raises ValueError for anything that is not a Go duration in whole units."""
    if not re.match(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration; write for example 500ms, 30s, 10m or 1h30m")
    return sum(
        int(number) * _DURATION_UNITS_MILLISECONDS[unit] for number, unit in re.findall(r"([0-9]+)(ms|s|m|h)", text)
    )


@lru_cache(maxsize=1024)
def quantity_bytes(text: str) -> int:
    """`200Mi` -> 209715200. Raises ValueError for anything that is not a byte quantity."""
    if not re.match(QUANTITY_PATTERN, text):
        raise ValueError(f"{text!r} is not a quantity; write for example 1048576, 200Mi or 20Gi")
    number, unit = re.fullmatch(r"([0-9]+)(.*)", text).groups()  # type: ignore[union-attr] # matched above
    return int(number) * _QUANTITY_UNITS_BYTES[unit]


def seconds_text(milliseconds: int) -> str:
    """4332001 -> `4332.001`. The text is exact, so that the sum of texts equals the text of the sum."""
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def seconds_milliseconds(text: str) -> int:
    """The inverse of `seconds_text`."""
    whole, thousandths = text.split(".")
    return int(whole) * 1000 + int(thousandths)


def hours_text(milliseconds: int) -> str:
    """Machine-hours to four digits, rounded half up, for people; finance reconciles the seconds."""
    ten_thousandths = (milliseconds * 10_000 + 1_800_000) // 3_600_000
    return f"{ten_thousandths // 10_000}.{ten_thousandths % 10_000:04d}"

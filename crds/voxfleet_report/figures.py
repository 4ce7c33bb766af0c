"""Numbers as people read them. Pure."""

from __future__ import annotations

MIB = 2**20
GIB = 2**30


def count(number: int) -> str:
    """1234567 -> `1,234,567`."""
    return f"{number:,}"


def duration(milliseconds: int) -> str:
    """The shortest form with three digits or so: `87 ms`, `1.25 s`, `12.5 min`, `3.20 h`."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{_scaled(milliseconds, 1000)} s"
    if milliseconds < 3_600_000:
        return f"{_scaled(milliseconds, 60_000)} min"
    return f"{_scaled(milliseconds, 3_600_000)} h"


def ratio(thousandths: int) -> str:
    """87 -> `0.087`."""
    return f"{thousandths // 1000}.{thousandths % 1000:03d}"


def size(size_bytes: int) -> str:
    if size_bytes < GIB:
        return f"{_scaled(size_bytes, MIB)} MiB"
    return f"{_scaled(size_bytes, GIB)} GiB"


def percent(part: int, whole: int) -> str:
    """To one digit, and rounded down, so that a part that is not all never shows as 100 %."""
    tenths = part * 1000 // whole if whole else 0
    return f"{tenths // 10}.{tenths % 10} %"


def _scaled(number: int, unit: int) -> str:
    hundredths = (number * 100 + unit // 2) // unit
    if hundredths >= 10_000:
        return count((hundredths + 50) // 100)
    return f"{hundredths // 100}.{hundredths % 100:02d}"

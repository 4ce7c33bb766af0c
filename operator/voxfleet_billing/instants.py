"""Moments as milliseconds since 1970 in UTC, and their texts. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

SECOND_MILLISECONDS = 1000
DAY_MILLISECONDS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_AS_WRITTEN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")


def milliseconds_of(text: str) -> int:
    """Of an RFC 3339 time. Raises ValueError."""
    return moment_milliseconds(datetime.fromisoformat(text))


def written_milliseconds(text: str) -> int | None:
    """Of a time as agents write it into rows: in UTC, with at most six digits of a second. None if it is none."""
    if not _AS_WRITTEN.fullmatch(text):
        return None
    try:
        return milliseconds_of(text)
    except ValueError:
        return None


def moment_milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND


def moment_of(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)


def text_of(milliseconds: int) -> str:
    """Such as `2026-11-20T22:00:00.000Z`."""
    return f"{moment_of(milliseconds):%Y-%m-%dT%H:%M:%S}.{milliseconds % SECOND_MILLISECONDS:03d}Z"


@lru_cache(maxsize=1024)
def day_of(text: str) -> date:
    """Of `2026-11-20`."""
    return date.fromisoformat(text)


@lru_cache(maxsize=256)
def month_bounds(month: str) -> tuple[int, int]:
    """Start and exclusive end of a month such as `2026-11`."""
    first = datetime.fromisoformat(f"{month}-01T00:00:00+00:00")
    following = (first + timedelta(days=31)).replace(day=1)
    return moment_milliseconds(first), moment_milliseconds(following)

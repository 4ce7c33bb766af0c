"""Moments as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from voxfleet_api.moments import timestamp


@pytest.mark.parametrize("hours", [0, 2, -11])
def test_a_moment_is_told_in_utc_with_whole_seconds(hours: int) -> None:
    moment = datetime(2026, 11, 20, 22, 0, 59, 999_999, tzinfo=UTC)
    assert timestamp(moment.astimezone(timezone(timedelta(hours=hours)))) == "2026-11-20T22:00:59Z"

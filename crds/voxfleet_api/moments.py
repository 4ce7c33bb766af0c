"""Moments as statuses and specs have them."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, such as `2026-11-20T22:00:00Z`. `moment`: in any zone, but in one."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

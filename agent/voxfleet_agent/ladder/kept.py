"""A ladder as this Mac keeps it."""

from __future__ import annotations

from voxfleet_api.results import LadderTable


class KeptTable(LadderTable):
    stepped_down_for: str | None = None
    """Why a job since then had to step down to `chosen`, which is smaller than both knees; None: none had to."""

"""Which clips of a finished run are run again. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import chain, zip_longest

from voxfleet_agent.local.figures import work_milliseconds
from voxfleet_api.results import ClipStatus, ResultRow

MAX_CLIPS = 200
"""As many as one job may list."""


def worst(rows: Sequence[ResultRow], count: int) -> list[ResultRow]:
    """The slowest and the longest clips in turn, the worst first; only those that reached the model.

    Slow is what took long itself: the time that a clip waited was others'.
    """
    ran = [row for row in rows if row.timings is not None and row.timings.infer_milliseconds > 0]
    slowest = sorted(ran, key=lambda row: (-work_milliseconds(row), row.index))
    longest = sorted(ran, key=lambda row: (-row.audio_milliseconds, row.index))
    in_turn = chain.from_iterable(zip_longest(slowest, longest))
    return list({row.index: row for row in in_turn if row is not None}.values())[:count]


def sample(rows: Sequence[ResultRow], count: int, seed: int) -> list[ResultRow]:
    """Clips with a result, by index; the same seed chooses the same ones."""
    succeeded = [row for row in rows if row.status is ClipStatus.SUCCEEDED]
    chosen = random.Random(seed).sample(succeeded, min(count, len(succeeded)))  # noqa: S311 -- to be repeated
    return sorted(chosen, key=lambda row: row.index)

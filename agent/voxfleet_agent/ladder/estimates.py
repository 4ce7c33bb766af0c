"""Figures of a measured tier, derived and as text. Pure."""

from __future__ import annotations

from voxfleet_api.ladder_table import LadderTable, LadderTier

MIB = 2**20
FIGURE_HEADINGS = ("Batch", "Peak MiB", "Metal MiB", "RTF", "p50 s", "p95 s", "Audio s/s")
FRAMES_PER_SECOND = 25
"""Frames that a model processes per second of audio. Models range from 12.5 to 50."""


def samples_at_once(table: LadderTable, tier: LadderTier) -> int:
    """Batch size x sample rate: samples that go through the model together per second of a clip."""
    return tier.batch_size * table.sample_rate_hz


def scratch_bytes_per_minute(tier: LadderTier) -> float:
    """Fetched bytes that the tier processes per minute of inference."""
    return tier.scratch_bytes * 60_000 / max(1, tier.infer_milliseconds)


def multiply_accumulates_per_second(table: LadderTable, tier: LadderTier) -> float | None:
    """An estimate: one multiply-accumulate (two operations) per parameter and frame; None for an unknown model size.

    It omits attention, whose cost grows with the square of a clip's length, and counts an autoregressive decoder as
    running once per frame. It compares tiers of one model, not models.
    """
    if table.parameters is None:
        return None
    return table.parameters * FRAMES_PER_SECOND * tier.audio_seconds_per_second


def real_time_factor(tier: LadderTier) -> float:
    """Seconds of inference per second of audio."""
    return tier.infer_milliseconds / max(1, tier.audio_milliseconds)


def figures(tier: LadderTier) -> tuple[str, ...]:
    """A text for each of FIGURE_HEADINGS."""
    return (
        str(tier.batch_size),
        mib_text(tier.peak_rss_bytes),
        "-" if tier.metal_peak_bytes is None else mib_text(tier.metal_peak_bytes),
        f"{real_time_factor(tier):.4f}",
        f"{tier.clip_p50_milliseconds / 1000:.3f}",
        f"{tier.clip_p95_milliseconds / 1000:.3f}",
        f"{tier.audio_seconds_per_second:.1f}",
    )


def mib_text(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.0f}"

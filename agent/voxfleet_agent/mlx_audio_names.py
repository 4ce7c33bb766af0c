"""Environment variables that runbooks search for: the folders and the settings of a run."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

TMPDIR = "TMPDIR"
SAMPLE_RATE = "MLX_AUDIO_SAMPLE_RATE_HZ"
BATCH_SIZE = "MLX_AUDIO_BATCH_SIZE"
MAX_RETRIES = "MLX_AUDIO_MAX_RETRIES"
QUARANTINE = "MLX_AUDIO_QUARANTINE_DIR"
NAMES = (TMPDIR, SAMPLE_RATE, BATCH_SIZE, MAX_RETRIES, QUARANTINE)

UPSTREAM_NAMES = (
    "MLX_AUDIO_ALLOWED_ORIGINS",
    "MLX_AUDIO_CACHE_DIR",
    "MLX_AUDIO_REALTIME_MODEL",
    "MLX_AUDIO_REALTIME_TRANSCRIPTION_DELAY_MS",
    "MLX_AUDIO_RUN_STS_INTEGRATION",
    "MLX_AUDIO_TEST_ECAPA_SPEAKER",
    "MLX_AUDIO_TTS_MAX_BATCH_SIZE",
    "MLX_AUDIO_VAD_MODEL",
    "MLX_AUDIO_IO_ALLOW_MLX_MISMATCH",
    "MLX_AUDIO_IO_RESAMPLE_QUALITY",
    "MLX_AUDIO_IO_SOXR_DEFAULT",
)
"""What mlx-audio and mlx-audio-io themselves read; a lane's child gets none of them."""


def unknown_names(environment: Iterable[str]) -> dict[str, str]:
    """Variables that look like ours and are not, each with the name that was probably meant; pure.

    The name is empty where none is near.
    """
    known = {*NAMES, *UPSTREAM_NAMES}
    strange = sorted(name for name in environment if _plain(name).startswith(_plain("MLX_AUDIO")) and name not in known)
    return {name: _nearest(name) for name in strange}


def warning(name: str, nearest: str) -> str:
    hint = f"did you mean {nearest}?" if nearest else f"the names are {', '.join(NAMES)}"
    return f"{name} is set, and nothing reads it; {hint}"


def _nearest(name: str) -> str:
    plain = {_plain(known): known for known in NAMES}
    return next((plain[near] for near in difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.75)), "")


def _plain(name: str) -> str:
    """People forget underscores, or write in lower case."""
    return name.upper().replace("_", "").replace("-", "")

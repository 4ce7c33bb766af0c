"""Environment variables that runbooks search for: the folders and the settings of a run."""

from __future__ import annotations

TMPDIR = "TMPDIR"
SAMPLE_RATE = "MLX_AUDIO_SAMPLE_RATE_HZ"
BATCH_SIZE = "MLX_AUDIO_BATCH_SIZE"
MAX_RETRIES = "MLX_AUDIO_MAX_RETRIES"
QUARANTINE = "MLX_AUDIO_QUARANTINE_DIR"
NAMES = (TMPDIR, SAMPLE_RATE, BATCH_SIZE, MAX_RETRIES, QUARANTINE)

"""The modules that the program loads before it knows its command; `serve` keeps them in memory for its lifetime."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("librosa", "matplotlib", "mlx", "mlx_audio", "mlx_audio_io", "numpy", "rapidfuzz", "soundfile")


def test_the_program_starts_without_what_only_some_commands_need() -> None:
    code = f"import sys, voxfleet_agent.main; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split() == []

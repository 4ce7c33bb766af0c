"""Which variables are told to be misspelt."""

from __future__ import annotations

import re
from importlib.metadata import files

import pytest

from voxfleet_agent.mlx_audio_names import NAMES, UPSTREAM_NAMES, unknown_names, warning

_NAME = re.compile(rb"MLX_AUDIO_[A-Z0-9_]*[A-Z0-9]")


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("MLX_AUDIO_BATCHSIZE", "MLX_AUDIO_BATCH_SIZE"),
        ("MLX_AUDIO_BATCH_SIZES", "MLX_AUDIO_BATCH_SIZE"),
        ("mlx_audio_batch_size", "MLX_AUDIO_BATCH_SIZE"),
        ("MLXAUDIO_BATCH_SIZE", "MLX_AUDIO_BATCH_SIZE"),
        ("MLX_AUDIO_SAMPLE_RATE", "MLX_AUDIO_SAMPLE_RATE_HZ"),
        ("MLX_AUDIO_RETRIES", "MLX_AUDIO_MAX_RETRIES"),
        ("MLX_AUDIO_QUARANTINE", "MLX_AUDIO_QUARANTINE_DIR"),
        ("MLX_AUDIO_COLOUR", ""),
    ],
)
def test_a_misspelt_name_is_told_with_the_one_that_was_meant(typo: str, meant: str) -> None:
    assert unknown_names([typo, "PATH"]) == {typo: meant}
    assert typo in warning(typo, meant) and (meant or NAMES[1]) in warning(typo, meant)


def test_our_names_and_those_of_others_are_no_typos() -> None:
    assert unknown_names([*NAMES, *UPSTREAM_NAMES, "MLX_DISABLE_COMPILE", "MLX_METAL_FAST_SYNCH", "HOME"]) == {}


def test_the_names_of_the_installed_mlx_audio_are_known() -> None:
    """A later mlx-audio that reads another name shows here."""
    named: set[str] = set()
    for package in ("mlx-audio", "mlx-audio-io"):
        for file in files(package) or ():
            if file.suffix in (".py", ".so", ".dylib"):
                named |= {match.decode() for match in _NAME.findall(file.read_binary())}
    assert {"MLX_AUDIO_CACHE_DIR", "MLX_AUDIO_IO_SOXR_DEFAULT"} <= named
    assert named <= {*UPSTREAM_NAMES}, "list them in UPSTREAM_NAMES"

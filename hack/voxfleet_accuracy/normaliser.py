"""The English normaliser that Whisper's word error rates are measured with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from voxfleet_accuracy.recordings import british_to_american
from voxfleet_accuracy.scoring import Normalise


def whisper_normaliser() -> Normalise:
    """transformers has its code, and whisper.cpp's package its map of spellings. Raises PackageUnavailable."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # it says that PyTorch is missing
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normaliser: Callable[[str], str] = EnglishTextNormalizer(  # type: ignore[no-untyped-call] # it ships no types
        json.loads(british_to_american())
    )
    return normaliser

"""When the windows of a file end, by the rule that the product cuts with."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping, Sequence

from voxfleet_accuracy.heard import Results
from voxfleet_accuracy.sides import windows_of
from voxfleet_accuracy.sounds import Samples, samples_of
from voxfleet_accuracy.takes import MODEL_RATE_HZ, GivenPath, Take
from voxfleet_agent.audio.windows import WindowRule


def window_borders(takes: Sequence[Take], results: Results) -> Mapping[tuple[GivenPath, str], Sequence[float]]:
    """In seconds, of the joined takes at the model's rate, which reach the model as they are stored.

    A take whose row attests another number of windows is left out.
    """
    found = {}
    for take in takes:
        samples = _samples(take.file.read_bytes()) if take.parts else None
        if samples is None:
            continue
        for path in take.paths:
            windows = windows_of(path)
            if windows is None:
                continue
            ends = ends_of(samples, WindowRule.of(windows, MODEL_RATE_HZ))
            attested = [text for text in results[path, take.name].conversions if text.startswith("windows:")]
            if attested and int(attested[0].rpartition(":")[2]) == len(ends) + 1:
                found[path, take.name] = [end / MODEL_RATE_HZ for end in ends]
    return found


def ends_of(samples: Samples, rule: WindowRule) -> list[int]:
    """Where windows end within the samples (N,)."""
    ends: list[int] = []
    position = 0
    while position + (length := rule.end(samples[position : position + rule.ahead_frames])) < len(samples):
        position += length
        ends.append(position)
    return ends


def _samples(content: bytes) -> Samples | None:
    with wave.open(io.BytesIO(content)) as opened:
        if (opened.getframerate(), opened.getnchannels()) != (MODEL_RATE_HZ, 1):
            return None
        return samples_of(opened.readframes(opened.getnframes()))

"""How long a child may be silent before it counts as hung. Pure."""

from __future__ import annotations

INFERRING_SECONDS = 120.0
"""On top of ten times the length of the audio in the model's hands."""
DECODING_SECONDS = 15.0
"""On top of a twentieth of the clip's announced length: decoding is far faster, the rest is for a busy machine."""


def patience_seconds(
    *,
    inferring_milliseconds: int | None,
    decoding_milliseconds: int | None,
    inferring_seconds: float = INFERRING_SECONDS,
    decoding_seconds: float = DECODING_SECONDS,
) -> float:
    """`inferring_milliseconds`: audio that the model has in its hands; `decoding_milliseconds`: announced length of
    the clip that is being decoded; None: neither is at work.

    A model at work is waited for whatever is decoded beside it: decoding may be waiting for room in the ring.
    """
    if inferring_milliseconds is not None:
        return inferring_seconds + inferring_milliseconds / 100
    if decoding_milliseconds is not None:
        return decoding_seconds + decoding_milliseconds / 20_000
    return inferring_seconds

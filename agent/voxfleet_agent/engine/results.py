"""What a model makes of a clip. Pure types: no MLX."""

from __future__ import annotations

from dataclasses import dataclass, replace

from voxfleet_api.results import TimedText


@dataclass(frozen=True, slots=True)
class Transcript:
    """Text of one clip, or of one window of it; times count from its first sample."""

    text: str
    segments: tuple[TimedText, ...] | None = None
    """None: the model gives no times."""
    words: tuple[TimedText, ...] | None = None
    language: str | None = None
    token_limit_reached: bool = False
    """The model stopped because its token budget was spent."""

    def marked(self, token_limit_reached: bool) -> Transcript:
        return replace(self, token_limit_reached=token_limit_reached)

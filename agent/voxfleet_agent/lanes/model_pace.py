"""How long a model takes until it shows a sign of life. No I/O, no clock."""

from __future__ import annotations


class ModelPace:
    """Times are seconds on the clock of the caller."""

    def __init__(self, warm_up_seconds: float = 0.0) -> None:
        """`warm_up_seconds`: how long the model took for its first audio, as it was loaded."""
        self.slowest_seconds = warm_up_seconds
        """The longest time that the model has worked without a sign of life."""
        self._works_since_seconds: float | None = None

    def announced(self, now_seconds: float, *, works: bool) -> None:
        """The model starts on clips, or is idle."""
        self._sign_of_life(now_seconds)
        self._works_since_seconds = now_seconds if works else None

    def told(self, now_seconds: float) -> None:
        """The model has told how far it has come in a clip."""
        self._sign_of_life(now_seconds)

    def _sign_of_life(self, now_seconds: float) -> None:
        if self._works_since_seconds is not None:
            self.slowest_seconds = max(self.slowest_seconds, now_seconds - self._works_since_seconds)
            self._works_since_seconds = now_seconds

"""How many tokens a model may write, and from how many on it counts as stopped by that. Pure."""

from __future__ import annotations

from dataclasses import dataclass

ENLARGED_FACTOR = 4
"""How much larger the budget of a second try is."""
_START_TOKENS = 4
"""What Whisper's decoder is given before a text: start, language, task, and that it shall write no times."""


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """The budget of one model under one job."""

    tokens: int | None
    """What the job grants, or else the model's own; None: the model has no budget, or does not tell it."""
    context: int | None
    """All tokens that the decoder holds of one window, with what it is given before the text; None: not known."""

    def granted(self, enlarged: bool) -> int | None:
        """The tokens to allow. A context has room for no more, and a model that meets its end does not say so."""
        if self.tokens is None:
            return None
        wanted = self.tokens * ENLARGED_FACTOR if enlarged else self.tokens
        return wanted if self.context is None else min(wanted, self.context - _START_TOKENS)

    def needs_all(self, enlarged: bool) -> bool:
        """Whether the text of the window before must leave the context to this one: half of it is not enough."""
        granted = self.granted(enlarged)
        return enlarged or (granted is not None and self.context is not None and granted > self.context // 2)

    def spent_from(self, enlarged: bool) -> int | None:
        """The model was stopped when it wrote this many.

        The text of the window before may take half of a context, unless this one `needs_all` of it.
        """
        granted = self.granted(enlarged)
        if granted is None or self.context is None or self.needs_all(enlarged):
            return granted
        return min(granted, self.context // 2 - _START_TOKENS)

    def note(self, enlarged: bool) -> str:
        """The budget as it follows `token limit` in a reason."""
        granted = self.granted(enlarged)
        if granted is None:
            return ""
        full = self.context is not None and granted == self.context - _START_TOKENS
        return f" of {granted}" + (", all that its context has room for" if full else "")

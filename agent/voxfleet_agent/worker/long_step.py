"""Tells the parent of a step that may take long, so that it waits for as long as the audio is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import WorkingOnAudio

LONG_MILLISECONDS = 3_000
"""Shorter audio is worked through well within the parent's least patience, however slow the model."""

Reached = Callable[[int], None]
"""Is told how many milliseconds of the audio the model has been through; it may go back for another try."""


@contextmanager
def long_step(send: Callable[[Message], None], audio_milliseconds: int) -> Iterator[Reached]:
    """To be held while the model works on so much audio that it hears or is about to speak."""
    if audio_milliseconds < LONG_MILLISECONDS:
        yield lambda _: None
        return

    def reached(milliseconds: int) -> None:
        send(WorkingOnAudio(audio_milliseconds=max(1, audio_milliseconds - milliseconds)))

    reached(0)
    try:
        yield reached
    finally:
        send(WorkingOnAudio(audio_milliseconds=0))

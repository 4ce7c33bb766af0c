"""Which step of inference comes next. Pure: no I/O, no clock.

A lane's work is made of steps: a pass of the model over a turn, a chunk of speech, a group of a batch's pieces. After
each of them the child takes what its parent has sent, so that a session that is cancelled or closed costs at most the
step that runs, and then asks here what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class StepKind(IntEnum):
    """The smallest comes first. A person who has stopped speaking waits; a batch has until the morning."""

    FINAL = 0
    """The pass over a turn that has ended."""
    FIRST_AUDIO = 1
    """The first chunk of a speech, of which its listener has heard nothing."""
    NEXT_AUDIO = 2
    LISTEN = 3
    """Audio that waits is heard by the detector of speech alone."""
    PARTIAL = 4
    """A pass over a turn that is still spoken."""
    BATCH = 5


@dataclass(frozen=True, slots=True)
class WaitingStep:
    """A step that could run now."""

    kind: StepKind
    rank: int = 0
    """Among steps of its kind, the smallest comes first: since when the session waits for the text of an ended turn,
    when the speech was asked for, the audio came or the partial text was due, in nanoseconds; of later chunks, how many
    samples lie ahead of the listener."""
    session: int | None = None
    """None: a step of a batch."""


BATCH_STEP = WaitingStep(StepKind.BATCH)


def next_step(sessions: Sequence[WaitingStep], *, batch_waits: bool, batches_paused: bool) -> WaitingStep | None:
    """The step to run, or None when nothing may run. Equal steps run in the order of their sessions' numbers."""
    batch = (BATCH_STEP,) if batch_waits and not batches_paused else ()
    return min((*sessions, *batch), key=_urgency, default=None)


def _urgency(step: WaitingStep) -> tuple[int, int, int]:
    return step.kind, step.rank, -1 if step.session is None else step.session

"""A clip as the job's input names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task


@dataclass(frozen=True, slots=True)
class InputClip:
    """A recording to transcribe, or a text to synthesize."""

    custom_id: str
    uri: str | None = None
    sha256: str | None = None
    text: str | None = None
    problem: str | None = None
    """Why the clip cannot be read at all; it has neither uri nor text then."""
    etag: str | None = None
    """The only version that counts; None: the one that is there."""
    source_index: int | None = None
    """Its index where it was chosen, if it was; see ManifestRow."""


def require_task_input(source: InputClip, task: Task, location: Callable[[], str], example: str = "") -> None:
    """Raises VoxFleetError(INVALID_INPUT), naming the `location`, unless the clip is of the task's kind."""
    advice = f"; write {example}" if example else ""
    if (source.uri is None) == (source.text is None):
        raise invalid_input(f"{location()} needs either uri or text, and not both{advice}")
    if (source.text is not None) != (task is Task.SYNTHESIZE):
        actual, wanted = ("a text", "recordings") if source.text is not None else ("a recording", "texts")
        raise invalid_input(f"{location()} is {actual}, but task {task.value} needs {wanted}{advice}")
    if source.text is not None and source.sha256 is not None:
        raise invalid_input(f"{location()} has a sha256, but a text has none{advice}")


def invalid_input(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.INVALID_INPUT, message[:1024])

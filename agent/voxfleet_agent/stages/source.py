"""One clip as the input names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task


@dataclass(frozen=True, slots=True)
class Source:
    """A recording, or a text to speak."""

    custom_id: str
    uri: str | None = None
    sha256: str | None = None
    text: str | None = None


def check_kind(source: Source, task: Task, place: Callable[[], str], form: str = "") -> None:
    """Raises VoxFleetError(INVALID_INPUT), naming the `place`, unless the clip is what the task works on."""
    advice = f"; write {form}" if form else ""
    if (source.uri is None) == (source.text is None):
        raise invalid(f"{place()} needs either uri or text, and not both{advice}")
    if (source.text is not None) != (task is Task.SYNTHESIZE):
        found, wanted = ("a text", "recordings") if source.text is not None else ("a recording", "texts")
        raise invalid(f"{place()} is {found}, but task {task.value} needs {wanted}{advice}")
    if source.text is not None and source.sha256 is not None:
        raise invalid(f"{place()} has a sha256, but a text has none{advice}")


def invalid(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.INVALID_INPUT, message[:1024])

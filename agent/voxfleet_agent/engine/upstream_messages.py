"""What the program of mlx-audio's own loop is told and tells. Pure: no MLX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from voxfleet_api.base import StatusModel

UPSTREAM_MODULE = "voxfleet_agent.engine.upstream_loop"


class UpstreamOrder(StatusModel):
    model: str
    """Its folder."""
    clips: dict[str, str]
    """Paths by id, in the order in which they are heard."""
    word_timestamps: bool = False
    """Ask a family that gives them for the times of words."""
    warm_up: bool = False
    """Hear the first clip once before any is timed."""


class UpstreamWord(StatusModel):
    word: str
    start: float
    end: float


class UpstreamSegment(StatusModel):
    text: str
    start: float
    end: float
    words: tuple[UpstreamWord, ...] = ()


class UpstreamLoaded(StatusModel):
    load_seconds: float
    """Loading, widening and the warm-up."""
    widened: bool
    """The model computes in float32, whatever its files hold."""


class UpstreamClip(StatusModel):
    id: str
    seconds: float
    text: str | None = None
    error: str | None = None
    """The type of the exception that it raised."""
    segments: tuple[UpstreamSegment, ...] = ()


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    loaded: UpstreamLoaded | None = None
    """None: the model was not loaded within its time, or not at all."""
    clips: Mapping[str, UpstreamClip] = field(default_factory=dict)
    """By id, in their order; those that it reached."""


def read_answer(lines: Iterable[str]) -> UpstreamAnswer:
    """Of a loop that may have been ended early: its last line may be cut."""
    loaded: UpstreamLoaded | None = None
    clips: dict[str, UpstreamClip] = {}
    try:
        for line in lines:
            if loaded is None:
                loaded = UpstreamLoaded.model_validate_json(line)
            else:
                clip = UpstreamClip.model_validate_json(line)
                clips[clip.id] = clip
    except ValidationError:
        pass
    return UpstreamAnswer(loaded, clips)

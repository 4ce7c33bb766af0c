"""What `bench mac` found out about one model, and how it compares with mlx-audio's own loop. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from voxfleet_agent.engine.upstream_messages import UpstreamAnswer, UpstreamClip
from voxfleet_agent.finished_runs.row_statistics import infer_share_milliseconds
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.rows import ClipStatus, ResultRow
from voxfleet_shared.text_difference import word_changes


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    name: str
    clips: int
    notes: tuple[str, ...] = ()
    """What did not work or did not end in time."""
    digest: str | None = None
    wall_seconds: float | None = None
    """Of the agent's run, by its own clock."""
    ladder_seconds: float | None = None
    ladders: tuple[LadderTable, ...] = ()
    rows: tuple[ResultRow, ...] = ()
    upstream: UpstreamAnswer = field(default_factory=UpstreamAnswer)
    agent_process_seconds: float | None = None
    """From the start of the agent's process to its end; None: it was stopped."""
    upstream_process_seconds: float | None = None
    """From the start of the loop's process to its end; None: it was stopped."""

    @property
    def agent_seconds(self) -> float | None:
        """Of the agent's process without its ladder, which mlx-audio's loop has not."""
        if self.agent_process_seconds is None or self.ladder_seconds is None:
            return None
        return self.agent_process_seconds - self.ladder_seconds

    @property
    def times_faster(self) -> float | None:
        """The loop's process over the agent's. None unless both have a text of every clip."""
        found = compared_with_upstream(self.rows, self.upstream.clips)
        if self.upstream_process_seconds is None or not self.agent_seconds or found.clips < self.clips:
            return None
        return self.upstream_process_seconds / self.agent_seconds


@dataclass(frozen=True, slots=True)
class UpstreamComparison:
    """The clips that have a text from both."""

    clips: int
    equal_texts: int
    words: int
    """Of upstream's texts."""
    word_errors: int
    """Of the agent's texts, counted against upstream's."""
    audio_seconds: float
    agent_infer_seconds: float
    """The model's time: each batch counts once, shared among its clips. Without decoding."""
    upstream_generate_seconds: float
    """Decoding included: not to be divided by the agent's, which does it beside inference."""
    only_agent: int
    only_upstream: int


def compared_with_upstream(rows: Iterable[ResultRow], upstream: Mapping[str, UpstreamClip]) -> UpstreamComparison:
    """Of the clips that upstream reached."""
    reached = [(row, upstream[row.custom_id]) for row in rows if row.custom_id in upstream]
    ours = [row.status is ClipStatus.SUCCEEDED and row.text is not None for row, _ in reached]
    theirs = [clip.text is not None for _, clip in reached]
    both = [pair for pair, in_a, in_b in zip(reached, ours, theirs, strict=True) if in_a and in_b]
    texts = [((clip.text or "").split(), (row.text or "").split()) for row, clip in both]
    changes = [word_changes(reference, other) for reference, other in texts]
    return UpstreamComparison(
        clips=len(both),
        equal_texts=sum(reference == other for reference, other in texts),
        words=sum(len(reference) for reference, _ in texts),
        word_errors=sum(change.errors for change in changes if change is not None),
        audio_seconds=sum(row.audio_milliseconds for row, _ in both) / 1000,
        agent_infer_seconds=sum(infer_share_milliseconds(row) for row, _ in both) / 1000,
        upstream_generate_seconds=sum(clip.seconds for _, clip in both),
        only_agent=sum(in_a and not in_b for in_a, in_b in zip(ours, theirs, strict=True)),
        only_upstream=sum(in_b and not in_a for in_a, in_b in zip(ours, theirs, strict=True)),
    )

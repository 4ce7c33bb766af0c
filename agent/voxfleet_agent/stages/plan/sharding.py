"""Groups clips into shards, and makes the plan. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.result_rows import row_error
from voxfleet_agent.stages.synthesis_files import estimated_milliseconds
from voxfleet_agent.storage.packed_content import PackedContent
from voxfleet_api.attempt_spec import PlanSpec
from voxfleet_api.failures import FailureClass
from voxfleet_api.input_selection import InputSelection
from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS
from voxfleet_api.quantities import seconds_text
from voxfleet_api.results import PlanFile
from voxfleet_api.rows import ManifestRow


def shard_boundaries(
    audio_milliseconds: Sequence[int], target_milliseconds: int, max_shards: int, min_shards: int | None = None
) -> tuple[int, ...]:
    """Shard k holds the clips from boundary k up to, but not including, k+1. Returns (0,) when there are no clips.

    The audio of all clips is divided into intervals of `target_milliseconds`, or longer ones when there would be more
    than `max_shards`. Neighbours whose audio starts in the same interval share a shard. No shard is empty.

    With `min_shards` the intervals are so short that there are as many of them, and the middle of a clip decides: one
    long clip behind short ones gets a shard of its own. Where clips are few or one is very long, shards are fewer.
    """
    count = len(audio_milliseconds)
    if count == 0:
        return (0,)
    total = sum(audio_milliseconds)
    if min_shards is not None:
        target_milliseconds = min(target_milliseconds, -(-total // min_shards))
    interval = max(target_milliseconds, -(-total // max_shards), 1)
    last = max(total - 1, 0) // interval
    cuts = [0]
    start = previous = 0
    for index, length in enumerate(audio_milliseconds):
        offset = 0 if min_shards is None else length // 2
        current = min((start + offset) // interval, last)
        if index and current != previous:
            cuts.append(index)
        previous = current
        start += length
    return (*cuts, count)


class InspectedClips:
    """The manifest and the weight of each clip. As objects, 100,000 rows would fill hundreds of megabytes."""

    def __init__(self) -> None:
        self.weights = array("q")
        """Milliseconds of each clip, which decide where shards begin; 0 for a refused clip: it costs no lane time."""
        self.audio_milliseconds = 0
        self.manifest = PackedContent()
        """The content of manifest.jsonl."""
        self._waiting: dict[int, ManifestRow] = {}
        """Rows that arrived before a row with a lower index."""

    def add(self, row: ManifestRow) -> None:
        """Adds a row. Must be called once for each index, in any order."""
        self._waiting[row.index] = row
        while (next_row := self._waiting.pop(len(self.weights), None)) is not None:
            self.manifest.append(next_row.line())
            self.weights.append(next_row.audio_milliseconds if next_row.refusal is None else 0)
            self.audio_milliseconds += next_row.audio_milliseconds


def decide_plan(
    plan_spec: PlanSpec,
    contract_digest: str,
    clips: InspectedClips,
    model: ResolvedModel,
    selection: InputSelection | None = None,
) -> PlanFile:
    return PlanFile(
        manifest_sha256=clips.manifest.whole_sha256,
        model_digest=model.digest,
        model_revision=model.revision,
        boundaries=shard_boundaries(
            clips.weights, plan_spec.shard_audio_milliseconds, plan_spec.max_shards, plan_spec.min_shards
        ),
        audio_seconds=seconds_text(clips.audio_milliseconds),
        contract_digest=contract_digest,
        selection=selection,
    )


def text_row(index: int, custom_id: str, text: str) -> ManifestRow:
    """The manifest row of a text: its length is checked, and the length of its audio is estimated. Pure."""
    refusal = None
    if not text.strip():
        refusal = row_error(FailureClass.CONTRACT_VIOLATION, "the text is empty")
    elif len(text) > MAX_TEXT_CHARACTERS:
        refusal = row_error(
            FailureClass.CONTRACT_VIOLATION,
            f"the text has {len(text)} characters; at most {MAX_TEXT_CHARACTERS} are spoken as one clip",
        )
    return ManifestRow(
        index=index,
        custom_id=custom_id,
        text=text[:MAX_TEXT_CHARACTERS],
        audio_milliseconds=estimated_milliseconds(text[:MAX_TEXT_CHARACTERS]),
        refusal=refusal,
    )

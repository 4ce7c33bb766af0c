"""How clips are grouped into shards. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.result_rows import row_error
from voxfleet_agent.stages.synthesis_files import estimated_milliseconds
from voxfleet_agent.storage.packed_content import PackedContent
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS
from voxfleet_api.protocol import PlanSpec
from voxfleet_api.quantities import seconds_text
from voxfleet_api.results import ManifestRow, PlanFile


def shard_boundaries(audio_milliseconds: Sequence[int], target_milliseconds: int, max_shards: int) -> tuple[int, ...]:
    """Shard k holds the clips from boundary k up to, without, boundary k+1; (0,) when there is no clip.

    Neighbours share a shard while their audio starts in the same stretch of `target_milliseconds`; the stretch grows
    when the job would need more than `max_shards`. No shard is empty.
    """
    count = len(audio_milliseconds)
    if count == 0:
        return (0,)
    total = sum(audio_milliseconds)
    stretch = max(target_milliseconds, -(-total // max_shards), 1)
    last = max(total - 1, 0) // stretch
    cuts = [0]
    start = previous = 0
    for index, length in enumerate(audio_milliseconds):
        current = min(start // stretch, last)
        if current != previous:
            cuts.append(index)
            previous = current
        start += length
    return (*cuts, count)


class InspectedClips:
    """The manifest and what shards are cut by, not as rows: 100,000 of those would fill hundreds of megabytes."""

    def __init__(self) -> None:
        self.weights = array("q")
        """Milliseconds of each clip; nothing for a refused one, which costs no lane time."""
        self.audio_milliseconds = 0
        self.manifest = PackedContent()
        """manifest.jsonl."""
        self._waiting: dict[int, ManifestRow] = {}
        """Rows that came before one above them."""

    def add(self, row: ManifestRow) -> None:
        """Once for each index, in any order."""
        self._waiting[row.index] = row
        while (found := self._waiting.pop(len(self.weights), None)) is not None:
            self.manifest.append(found.line())
            self.weights.append(found.audio_milliseconds if found.refusal is None else 0)
            self.audio_milliseconds += found.audio_milliseconds


def decide_plan(order: PlanSpec, contract_digest: str, clips: InspectedClips, model: ResolvedModel) -> PlanFile:
    """Pure."""
    return PlanFile(
        manifest_sha256=clips.manifest.whole_sha256,
        model_digest=model.digest,
        model_revision=model.revision,
        boundaries=shard_boundaries(clips.weights, order.shard_audio_milliseconds, order.max_shards),
        audio_seconds=seconds_text(clips.audio_milliseconds),
        contract_digest=contract_digest,
    )


def text_row(index: int, custom_id: str, text: str) -> ManifestRow:
    """A text has no header: its length alone is checked, and how long it takes to speak is estimated. Pure."""
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

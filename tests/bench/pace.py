"""How fast clips were done, and where the time went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from voxfleet_agent.lanes.lane_types import ClipVerdict
from voxfleet_api.rows import ResultRow

CUT_OFF_MILLISECONDS = 0.5
"""A batch's inference is told in whole milliseconds, cut off: half of one is lost."""


@dataclass(frozen=True)
class Pace:
    """The seconds of one run over clips. Decoding runs on a thread beside the model, fetches run beside both."""

    audio_seconds: float
    seconds: float
    clips: int
    batches: float
    model_seconds: float
    decode_seconds: float
    fetch_seconds: float = 0.0

    @property
    def speed(self) -> float:
        """Audio seconds a second."""
        return self.audio_seconds / self.seconds

    @property
    def outside_model_percent(self) -> float:
        return 100 * (1 - self.model_seconds / self.seconds)

    def __str__(self) -> str:
        outside_seconds = self.seconds - self.model_seconds
        fetching = f", fetches {self.fetch_seconds:.2f} s of theirs" if self.fetch_seconds else ""
        return (
            f"of {self.seconds:.2f} s the model took {self.model_seconds:.2f} s, in {self.batches:.0f} batches of"
            f" {self.clips / self.batches:.1f} clips; {outside_seconds:.2f} s ({self.outside_model_percent:.0f} %)"
            " passed without it (waits for audio, checks of transcripts, memory, messages; in an agent also rows);"
            f" decoding took {self.decode_seconds:.2f} s beside the model{fetching}"
        )


def pace_of_verdicts(verdicts: Iterable[ClipVerdict], audio_seconds: float, seconds: float) -> Pace:
    each = [(verdict.infer_milliseconds, verdict.decode_milliseconds, 0, verdict.batch_size) for verdict in verdicts]
    return _pace(each, audio_seconds, seconds)


def pace_of_job(results: Path, audio_seconds: float, seconds: float) -> Pace:
    """Of the rows in the parts of the only job below `results`."""
    lines = (
        line for part in sorted(results.glob("*/parts/*/*/part-*.jsonl")) for line in part.read_bytes().splitlines()
    )
    rows = [ResultRow.model_validate_json(line) for line in lines]
    each = [
        (
            row.timings.infer_milliseconds,
            row.timings.decode_milliseconds,
            row.timings.fetch_milliseconds,
            row.batch_size,
        )
        for row in rows
        if row.timings is not None and row.batch_size
    ]
    return _pace(each, audio_seconds, seconds)


def _pace(each: list[tuple[int, int, int, int]], audio_seconds: float, seconds: float) -> Pace:
    """`each`: (inference of the clip's batch, decoding, fetching in milliseconds, clips in the batch)."""
    return Pace(
        audio_seconds=audio_seconds,
        seconds=seconds,
        clips=len(each),
        batches=sum(1 / size for *_, size in each),
        model_seconds=sum((infer + CUT_OFF_MILLISECONDS) / size for infer, _, _, size in each) / 1000,
        decode_seconds=sum(decode for _, decode, _, _ in each) / 1000,
        fetch_seconds=sum(fetch for _, _, fetch, _ in each) / 1000,
    )

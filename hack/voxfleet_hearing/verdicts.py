"""What each way to tell a transcript that is cut short says of it; the product's is asked through its own judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from voxfleet_agent.audio.ring_buffer import RingSlot
from voxfleet_agent.engine.completeness import shortfall
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.messages import ClipMessage
from voxfleet_agent.worker.decode_thread import ClipJob, Piece
from voxfleet_agent.worker.transcript_judge import Judgement, TranscriptJudge
from voxfleet_api.kinds.contract_limits import Completeness
from voxfleet_hearing.cases import Case, Samples
from voxfleet_hearing.detectors import RATE_HZ, Detectors, Mask

_COMPLETENESS = Completeness()


class Verdict:
    """The product's judgement of one transcript of a case."""

    def __init__(self, case: Case, transcript: Transcript, detectors: Detectors) -> None:
        self.asked_seconds = 0.0
        """How much audio Silero was asked about."""

        def second_opinion(samples: Samples, rate_hz: int) -> Mask:
            self.asked_seconds += len(samples) / rate_hz
            return detectors.silero(samples)

        judge = TranscriptJudge(shortfall, second_opinion, _COMPLETENESS, RATE_HZ)
        job = ClipJob(ClipMessage(index=0, path=Path(case.name)))
        piece = Piece(job, 0, RingSlot(0, len(case.samples)), 0, case.cheap, 0)
        self.judgement: Judgement = judge.judge(transcript, piece, case.samples)

    @property
    def short(self) -> bool:
        return self.judgement.short is not None


def _short(transcript: Transcript, speech: Mask) -> bool:
    return shortfall(transcript, speech, _COMPLETENESS.min_coverage_percent) is not None


CALLS_SHORT: Mapping[str, Callable[[Case, Transcript, Detectors], bool]] = {
    "cheap alone (before)": lambda case, transcript, _: _short(transcript, case.cheap),
    "Silero alone": lambda case, transcript, _: _short(transcript, case.silero),
    "cheap, then both (now)": lambda case, transcript, detectors: Verdict(case, transcript, detectors).short,
}

"""How much of a long piece the costly detector is asked about, and that a lane shows life meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from voxfleet_agent.audio.ring_buffer import RingBuffer
from voxfleet_agent.engine.completeness import shortfall
from voxfleet_agent.engine.speech_detection import FRAME_MILLISECONDS, frame_count
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.messages import ClipMessage, HeardAudio, Message, VerdictMessage
from voxfleet_agent.lanes.hang_detection import HangTimeouts
from voxfleet_agent.worker.decode_thread import ClipJob, Decoded, Mask, Piece, Samples
from voxfleet_agent.worker.second_opinion import SecondOpinion
from voxfleet_agent.worker.transcribe import ClipTranscription
from voxfleet_agent.worker.transcript_judge import TranscriptJudge
from voxfleet_api.clip_warnings import WarningCode
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_limits import Completeness
from voxfleet_api.rows import TimedText

RATE_HZ = 1000 // FRAME_MILLISECONDS
"""A sample for each frame."""
LONG_MILLISECONDS = 45 * 60_000
SECONDS_FOR_A_SECOND = 0.055
"""What Silero was measured to take, at the most."""
SENTENCE = "a sentence of fifty letters that somebody has spoken here"


def at(start_milliseconds: int, end_milliseconds: int, text: str) -> TimedText:
    return TimedText(start_milliseconds=start_milliseconds, end_milliseconds=end_milliseconds, text=text)


TALK = [at(start, start + 4000, SENTENCE) for start in range(0, LONG_MILLISECONDS, 5000)]


def spoken(parts: Sequence[TimedText]) -> Mask:
    found = np.zeros(LONG_MILLISECONDS // FRAME_MILLISECONDS, np.bool_)
    for part in parts:
        found[part.start_milliseconds // FRAME_MILLISECONDS : part.end_milliseconds // FRAME_MILLISECONDS] = True
    return found


class Lane:
    """A model that tells its progress, and a costly detector that takes its time; the clock stands still otherwise."""

    sample_rate_hz = RATE_HZ
    family = "dictated"
    batches = False
    tells_progress = True
    parameters = 0
    dtype = "float32"

    def __init__(self, parts: Sequence[TimedText], speech: Mask, to_the_other: Mask) -> None:
        self._transcript = Transcript(" ".join(part.text for part in parts), tuple(parts))
        self._speech, self._to_the_other = speech, to_the_other
        self._now_seconds = 0.0
        self.asked_seconds = 0.0
        self.sent: list[tuple[float, Message]] = []

    def transcribe(
        self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
    ) -> list[Transcript]:
        return [self._transcript for _ in clips]

    def warm_up(self) -> None: ...

    def second_opinion(self, samples: Samples, sample_rate_hz: int) -> Mask:
        self.asked_seconds += len(samples) / sample_rate_hz
        self._now_seconds += len(samples) / sample_rate_hz * SECONDS_FOR_A_SECOND
        return self._to_the_other[int(samples[0]) :][: len(samples)]

    def verdict(self) -> VerdictMessage:
        ring = RingBuffer(len(self._speech))
        judge = TranscriptJudge(shortfall, self.second_opinion, Completeness(), RATE_HZ)
        transcription = ClipTranscription(
            self, ring, judge, ring.size_bytes, lambda message: self.sent.append((self._now_seconds, message))
        )
        job = ClipJob(ClipMessage(index=7, path=Path("/clip")))
        transcription.add_batch([job], batch_size=1)
        slot = ring.write(np.arange(len(self._speech), dtype=np.float32))
        transcription.add_piece(Piece(job, 0, slot, 0, self._speech, 0))
        transcription.add_end(Decoded(job, 1, 1, LONG_MILLISECONDS))
        assert transcription.infer(all_waiting=True)
        (verdict,) = [message for _, message in self.sent if isinstance(message, VerdictMessage)]
        return verdict


OKAY = at(1_000_000, 1_001_200, "Okay.")
MUSIC = at(1_000_000, 1_029_000, "Thank you.")
LOOP = at(1_000_000, 1_004_000, "s " * 220)
NO_MUSIC = TALK[:400] + TALK[470:]
CODES = {"unspoken": (WarningCode.NO_AUDIBLE_SPEECH,), "repeated": (WarningCode.REPEATED_TEXT,)}


@pytest.mark.parametrize(
    ("parts", "speech", "to_the_other", "found", "at_most_seconds"),
    [
        pytest.param([*TALK[:200], OKAY, *TALK[201:]], TALK, TALK, None, 6, id="one sparse segment"),
        pytest.param([*TALK[:200], MUSIC, *TALK[206:]], TALK[:200] + TALK[206:], TALK[:200] + TALK[206:],
                     "unspoken", 36, id="a gap"),
        pytest.param([*TALK[:200], LOOP, *TALK[201:]], TALK, TALK, "repeated", 9, id="a loop"),
        pytest.param([at(5000, 35_000, "Thank you.")], [], [], "unspoken", 37, id="nothing but an invention"),
        pytest.param(NO_MUSIC, TALK, NO_MUSIC, None, 380, id="music after which a text goes on"),
    ],
)  # fmt: skip
def test_the_costly_detector_hears_what_is_in_doubt_and_no_more(
    parts: list[TimedText], speech: list[TimedText], to_the_other: list[TimedText], found: str | None,
    at_most_seconds: float,
) -> None:  # fmt: skip
    lane = Lane(parts, spoken(speech), spoken(to_the_other))
    verdict = lane.verdict()
    assert verdict.failure_class is None
    assert tuple(warning.code for warning in verdict.warnings) == CODES.get(found or "", ())
    assert 0 < lane.asked_seconds <= at_most_seconds


def test_a_long_piece_that_is_all_in_doubt_is_no_hang() -> None:
    everywhere = spoken([at(0, LONG_MILLISECONDS, "")])
    lane = Lane([], everywhere, everywhere)
    assert lane.verdict().failure_class is FailureClass.TRUNCATED_OUTPUT
    assert lane.asked_seconds >= LONG_MILLISECONDS / 1000
    allowed_seconds = HangTimeouts().message_timeout_seconds(
        inferring_milliseconds=LONG_MILLISECONDS, decoding_milliseconds=None, tells_progress=True
    )
    signs = [time for time, message in lane.sent]
    assert max(after - before for before, after in pairwise(signs)) < allowed_seconds / 40
    assert {message.index for _, message in lane.sent if isinstance(message, HeardAudio)} == {7}


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("doubts", [((0, 1),), ((3000, 3600),), ((0, 4000),), ((10, 20), (100, 200), (3990, 4000))])
def test_an_answer_belongs_to_the_frames_that_it_was_asked_for(doubts: Sequence[tuple[int, int]], rate_hz: int) -> None:
    """Doubts of up to 80 s, which is more than is asked at once."""
    hop, frames = rate_hz * FRAME_MILLISECONDS // 1000, 4000
    samples = (np.arange(frames * hop + hop) // hop).astype(np.float32)
    frames = frame_count(len(samples), rate_hz)

    def every_third(samples: Samples, sample_rate_hz: int) -> Mask:
        return np.asarray(samples[::hop][: frame_count(len(samples), sample_rate_hz)] % 3 == 0)

    doubtful = np.zeros(frames, np.bool_)
    for first, behind in doubts:
        doubtful[first:behind] = True
    opinion = SecondOpinion(every_third, samples, rate_hz, np.zeros(frames, np.bool_), lambda: None)
    assert opinion.ask(doubtful) and not opinion.ask(doubtful)
    assert (opinion.heard[doubtful] == (np.arange(frames) % 3 == 0)[doubtful]).all()

"""What a clip's verdict says of text that nobody spoke, and of what decoding found; and which detector decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from voxfleet_agent.audio.levels import level_lost
from voxfleet_agent.audio.ring_buffer import RingBuffer
from voxfleet_agent.engine.completeness import shortfall
from voxfleet_agent.engine.speech_detection import FRAME_MILLISECONDS
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.messages import ClipMessage, Message, VerdictMessage
from voxfleet_agent.worker.decode_thread import ClipJob, Decoded, Mask, Piece, Samples
from voxfleet_agent.worker.transcribe import ClipTranscription
from voxfleet_agent.worker.transcript_judge import TranscriptJudge
from voxfleet_api.clip_warnings import WarningCode
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_limits import Completeness, UnspokenText
from voxfleet_api.rows import Attestation, TimedText

LOST = level_lost("downmix Mean made it quieter")
ATTESTATION = Attestation(container="wav", encoding="pcm16", sample_rate_hz=16_000, channels=1, decoder="")
WINDOW_MILLISECONDS = 30_000
FRAMES = WINDOW_MILLISECONDS // FRAME_MILLISECONDS
RATE_HZ = 1000 // FRAME_MILLISECONDS
"""A sample for each frame."""
Spoken = Sequence[tuple[float, float]]
"""(start, end) in seconds."""


def mask(spoken: Spoken) -> Mask:
    milliseconds = np.arange(FRAMES) * FRAME_MILLISECONDS
    found = np.zeros(FRAMES, np.bool_)
    for start, end in spoken:
        found |= (milliseconds >= 1000 * start) & (milliseconds < 1000 * end)
    return found


def timed(*parts: tuple[float, float, str]) -> Transcript:
    """A transcript of (start, end, text) in seconds."""
    segments = tuple(
        TimedText(start_milliseconds=int(1000 * start), end_milliseconds=int(1000 * end), text=text)
        for start, end, text in parts
    )
    return Transcript(" ".join(text for _, _, text in parts), segments)


@dataclass(frozen=True)
class Window:
    """A window of 30 s: what the model writes of it, and where the cheap and the costly detector hear speech."""

    transcript: Transcript
    cheap: Spoken = ()
    costly: Spoken = ()


@dataclass
class Heard:
    """Dictates the transcripts of a clip's windows, and notes which windows the costly detector was asked about.

    Each sample is its place in the clip.
    """

    windows: Sequence[Window]
    asked: list[int] = field(default_factory=list)
    sample_rate_hz: int = RATE_HZ
    family: str = "dictated"
    batches: bool = False
    tells_progress: bool = False
    parameters: int = 0
    dtype: str = "float32"

    def transcribe(
        self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
    ) -> list[Transcript]:
        return [self.windows[int(samples[0]) // FRAMES].transcript for samples in clips]

    def second_opinion(self, samples: Samples, sample_rate_hz: int) -> Mask:
        number, frame = divmod(int(samples[0]), FRAMES)
        self.asked.append(number)
        return mask(self.windows[number].costly)[frame : frame + len(samples)]

    def warm_up(self) -> None: ...


def verdict_of(
    *windows: Window, quieted: str | None = None, unspoken_text: UnspokenText = UnspokenText.WARN
) -> tuple[VerdictMessage, list[int]]:
    """The verdict of a clip, and the windows that the costly detector was asked about."""
    model, ring, sent = Heard(windows), RingBuffer(4 * FRAMES), list[Message]()
    completeness = Completeness(unspoken_text=unspoken_text)
    judge = TranscriptJudge(shortfall, model.second_opinion, completeness, model.sample_rate_hz)
    transcription = ClipTranscription(model, ring, judge, 4000, sent.append)
    job = ClipJob(ClipMessage(index=4, path=Path("/clip")))
    transcription.add_batch([job], batch_size=1)
    for number, window in enumerate(windows):
        slot = ring.write(np.arange(number * FRAMES, (number + 1) * FRAMES, dtype=np.float32))
        transcription.add_piece(Piece(job, number, slot, WINDOW_MILLISECONDS * number, mask(window.cheap), 0, quieted))
    transcription.add_end(
        Decoded(job, len(windows), 1, WINDOW_MILLISECONDS * len(windows), attestation=ATTESTATION, warnings=(LOST,))
    )
    while transcription.infer(all_waiting=True):
        pass
    (verdict,) = [message for message in sent if isinstance(message, VerdictMessage)]
    return verdict, model.asked


THANKS = timed((0, 30, "Thank you."))
TALK = timed((1, 5, "the quick brown fox jumps over the lazy dog near the river bank"))
TALKED = ((1.0, 5.0),)
NOTHING = Window(THANKS)


@pytest.mark.parametrize(
    ("windows", "where"),
    [
        pytest.param([NOTHING], "in the clip,", id="silence"),
        pytest.param([Window(Transcript(". . . ."))], "in the clip,", id="no word and no times"),
        pytest.param([Window(THANKS, cheap=((3, 28),))], "in the clip,", id="music, which the cheap detector mistakes"),
        pytest.param([Window(THANKS, ((3, 3.08),), ((3, 3.08),))], "in the clip,", id="a click"),
        pytest.param([Window(TALK, TALKED), NOTHING, NOTHING], "in 30.0 to 90.0 s,", id="two windows of three"),
        pytest.param(
            [Window(timed((1, 5, "this much is said"), (9, 24, "Thank you for watching."), (26, 29, "and this too")),
                    ((1, 5), (26, 29)), ((1, 5), (26, 29)))],
            "in 9.0 to 24.0 s,", id="a gap in the middle",
        ),
        pytest.param(
            [Window(timed(*((start, start + 2, "you") for start in range(0, 30, 6)), (29, 30, "the end of it")),
                    ((29, 30),), ((29, 30),))],
            "in 0.0 to 2.0 s, 6.0 to 8.0 s, 12.0 to 14.0 s and 2 more stretches,", id="many gaps",
        ),
    ],
)  # fmt: skip
def test_a_text_without_audible_speech_is_a_warning(windows: list[Window], where: str) -> None:
    verdict, _ = verdict_of(*windows)
    lost, unspoken = verdict.warnings
    assert verdict.failure_class is None and lost == LOST
    assert unspoken.code is WarningCode.NO_AUDIBLE_SPEECH and where in unspoken.message
    assert "hank" not in unspoken.message


SAME = timed((0, 28, "no " * 100))
CHATTER = timed((0, 4, "we begin with this"), (4, 8, "s " * 220))


@pytest.mark.parametrize(
    ("window", "where"),
    [
        pytest.param(Window(CHATTER, ((0, 8),), ((0, 8),)), "in 4.0 to 8.0 s;", id="a run of letters"),
        pytest.param(
            Window(Transcript("and I was " * 60), ((0, 3),), ((0, 3),)), "in the clip;", id="a phrase without times"
        ),
        pytest.param(Window(Transcript("謝謝" * 100), ((0, 3),), ((0, 3),)), "in the clip;", id="no spaces"),
    ],
)
def test_a_phrase_over_and_over_faster_than_speech_is_a_warning(window: Window, where: str) -> None:
    verdict, _ = verdict_of(window)
    _, repeated = verdict.warnings
    assert verdict.failure_class is None
    assert repeated.code is WarningCode.REPEATED_TEXT and where in repeated.message


@pytest.mark.parametrize(
    ("windows", "asked"),
    [
        pytest.param([Window(TALK, TALKED)], [], id="speech and its text"),
        pytest.param([Window(Transcript(""))], [], id="silence and no text"),
        pytest.param([Window(timed((1, 1.4, "yes")), ((1, 1.4),))], [], id="one word"),
        pytest.param([Window(SAME, ((0, 28),))], [], id="what is really said a hundred times"),
        pytest.param([Window(THANKS, (), ((3, 4),))], [0], id="the cheap detector hears nothing, the other does"),
        pytest.param([Window(THANKS, ((0, 28),), ((0, 28),))], [0], id="somebody who speaks slowly"),
        pytest.param([Window(TALK, TALKED), Window(THANKS, (), ((3, 4),))], [1], id="one window of two"),
        pytest.param([Window(Transcript(""), ((0, 20),))], [0], id="no text of music that is taken for speech"),
        pytest.param(
            [Window(timed((0, 5, "a text of all that is said here")), ((0, 20),), TALKED)], [0], id="music after speech"
        ),
    ],
)
def test_a_text_that_fits_is_no_warning_and_most_are_heard_by_one_detector(
    windows: list[Window], asked: list[int]
) -> None:
    verdict, by_the_other = verdict_of(*windows)
    assert (verdict.failure_class, verdict.warnings) == (None, (LOST,))
    assert list(dict.fromkeys(by_the_other)) == asked


@pytest.mark.parametrize(
    ("windows", "reason"),
    [
        ([Window(TALK, TALKED), NOTHING], "no speech is audible in 30.0 to 60.0 s, yet the model wrote a text"),
        (
            [Window(CHATTER, ((0, 8),), ((0, 8),))],
            "the text repeats a phrase faster than anybody speaks in 4.0 to 8.0 s",
        ),
    ],
)
def test_a_contract_may_quarantine_what_nobody_spoke(windows: list[Window], reason: str) -> None:
    verdict, _ = verdict_of(*windows, unspoken_text=UnspokenText.QUARANTINE)
    assert verdict.failure_class is FailureClass.UNSPOKEN_TEXT and verdict.reason.startswith(reason)
    assert (verdict.text, verdict.warnings, verdict.retried_for) == (None, (LOST,), ())
    assert (verdict.audio_milliseconds, verdict.attestation) == (WINDOW_MILLISECONDS * len(windows), ATTESTATION)


@pytest.mark.parametrize("transcript", [Transcript(""), timed((1, 2, "the quick brown fox"))])
def test_what_both_detectors_hear_must_be_covered(transcript: Transcript) -> None:
    verdict, _ = verdict_of(Window(transcript, ((1, 9),), ((1, 9),)))
    assert verdict.failure_class is FailureClass.TRUNCATED_OUTPUT


def test_an_empty_text_where_a_channel_speaks_names_what_the_mix_did() -> None:
    """The costly detector hears the mix, which has lost the speech."""
    verdict, _ = verdict_of(Window(Transcript(""), ((1, 1.4),)), quieted="downmix Mean made 0.4 s of speech quieter")
    assert verdict.failure_class is FailureClass.TRUNCATED_OUTPUT
    assert verdict.reason.endswith("0.4 s of speech are audible; downmix Mean made 0.4 s of speech quieter")
    assert verdict.warnings == (LOST,)

"""A clip that fails before it is decoded to its end: its row has its length and attestation all the same."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from voxfleet_agent.audio.levels import QuietedStretch
from voxfleet_agent.audio.ring_buffer import RingBuffer
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.messages import ClipMessage, DecodingClip, Message, VerdictMessage
from voxfleet_agent.worker.decode_thread import ClipJob, Decoded, DecodeThread, DecodeThreadFailed, Piece, Samples
from voxfleet_agent.worker.transcribe import ClipTranscription
from voxfleet_agent.worker.transcript_judge import TranscriptJudge
from voxfleet_api.clip_warnings import RowWarning, WarningCode
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.contract_limits import Completeness
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import Attestation

ATTESTATION = Attestation(container="wav", encoding="pcm16", sample_rate_hz=16_000, channels=1, decoder="")
WARNING = RowWarning(code=WarningCode.BYTES_SKIPPED, message="bytes were skipped")
CONTRACT = VoiceContractSpec(input=ContractInput(containers=(Container.WAV,), sample_rates_hz=(16_000,), channels=(1,)))
WINDOWS = 5


class Model:
    """Fails as it is told on the window with this number."""

    sample_rate_hz = 16_000
    family = "failing"
    batches = False
    tells_progress = False
    parameters = 0
    dtype = "float32"

    def __init__(self, fails: int, how: str) -> None:
        self._fails, self._how = fails, how

    def transcribe(
        self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
    ) -> list[Transcript]:
        number = round(float(clips[0][0]))
        if number == self._fails and self._how == "raises":
            raise ValueError("shapes do not match")
        return [Transcript("text", token_limit_reached=number == self._fails)]

    def warm_up(self) -> None: ...


class Decoder:
    """A clip of WINDOWS windows of a second; `damaged` says so behind the last."""

    def __init__(self, damaged: bool) -> None:
        self.piece_starts_milliseconds = list(range(0, 1000 * WINDOWS, 1000))
        self.audio_milliseconds = 0
        self.attestation = ATTESTATION
        self.warnings = (WARNING,)
        self._damaged = damaged

    def pieces(self, examine: Callable[[QuietedStretch], None]) -> Iterator[Samples]:
        for number in range(WINDOWS):
            self.audio_milliseconds += 1000
            yield np.full(100, number, np.float32)
        if self._damaged:
            raise VoxFleetError(FailureClass.DECODE_ERROR, "is cut short")


def verdict_of(model: Model, *, damaged: bool = False, ring_frames: int = 10_000) -> VerdictMessage:
    """The decoding thread and the inferring one work as in a lane; the ring decides how far decoding may run ahead."""
    ring, sent = RingBuffer(ring_frames), list[Message]()
    items = queue.SimpleQueue[Piece | Decoded | DecodeThreadFailed]()
    silent = lambda samples, _: np.zeros(1, np.bool_)  # noqa: E731
    decoding = DecodeThread(lambda *_: Decoder(damaged), silent, lambda message: None, items.put)
    shortfall = lambda transcript, *_: "cut" if transcript.token_limit_reached else None  # noqa: E731
    judge = TranscriptJudge(shortfall, silent, Completeness(), 16_000)
    transcription = ClipTranscription(model, ring, judge, 4000, sent.append)
    job = ClipJob(ClipMessage(index=0, path=Path("/clip")))
    transcription.add_batch([job], batch_size=1)
    decoding.put(CONTRACT, 16_000, ring, [job])
    while not isinstance(item := items.get(timeout=60), Decoded):
        assert isinstance(item, Piece)
        transcription.add_piece(item)
        transcription.infer(all_waiting=False)
    transcription.add_end(item)
    (verdict,) = [message for message in sent if isinstance(message, VerdictMessage)]
    assert sent.index(verdict) == len(sent) - 1
    return verdict


@pytest.mark.parametrize("ring_frames", [100, 10_000], ids=["decoding waits", "decoding runs ahead"])
@pytest.mark.parametrize("fails", [0, 2, WINDOWS - 1])
@pytest.mark.parametrize(
    ("how", "failure_class"), [("is cut", FailureClass.TRUNCATED_OUTPUT), ("raises", FailureClass.INFERENCE_ERROR)]
)
def test_the_verdict_has_the_length_of_the_whole_clip(
    how: str, failure_class: FailureClass, fails: int, ring_frames: int
) -> None:
    verdict = verdict_of(Model(fails, how), ring_frames=ring_frames)
    assert verdict.failure_class is failure_class
    assert verdict.audio_milliseconds == 1000 * WINDOWS
    assert (verdict.attestation, verdict.warnings) == (ATTESTATION, (WARNING,))


def test_a_clip_that_is_damaged_is_refused_for_it_whenever_the_model_fails() -> None:
    verdict = verdict_of(Model(0, "is cut"), damaged=True)
    assert (verdict.failure_class, verdict.reason) == (FailureClass.DECODE_ERROR, "is cut short")


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_clip_that_fails_makes_way_for_the_others_of_its_batch(fails: int) -> None:
    """The model fails it on its first window."""
    ring, announced = RingBuffer(10_000), list[int | None]()
    items = queue.SimpleQueue[Piece | Decoded | DecodeThreadFailed]()
    yielded = [0, 0, 0]

    class Counting(Decoder):
        def __init__(self, index: int) -> None:
            super().__init__(damaged=False)
            self._index = index

        def pieces(self, examine: Callable[[QuietedStretch], None]) -> Iterator[Samples]:
            for samples in super().pieces(examine):
                yielded[self._index] += 1
                yield samples

    def send(message: Message) -> None:
        if isinstance(message, DecodingClip):
            announced.append(message.index)

    def emit(item: Piece | Decoded | DecodeThreadFailed) -> None:
        if isinstance(item, Piece) and item.job.clip.index == fails:
            item.job.abandoned = True
        if isinstance(item, Decoded) and item.job.clip.index != fails:
            assert yielded[fails] <= 3, "no more of the failed clip was decoded before the others"
        items.put(item)

    silent = lambda samples, _: np.zeros(1, np.bool_)  # noqa: E731
    decoding = DecodeThread(lambda path, *_: Counting(int(path.name)), silent, send, emit)
    decoding.put(
        CONTRACT, 16_000, ring, [ClipJob(ClipMessage(index=index, path=Path(f"/{index}"))) for index in range(3)]
    )
    ends = list[Decoded]()
    while len(ends) < 3:
        item = items.get(timeout=60)
        assert not isinstance(item, DecodeThreadFailed)
        if isinstance(item, Decoded):
            ends.append(item)
    others = [index for index in range(3) if index != fails]
    assert [end.job.clip.index for end in ends] == [*others, fails]
    assert [index for index in announced if index is not None] == ([0, 1, 2] if fails == 2 else [0, 1, 2, fails])
    assert [end.pieces for end in ends[:2]] == [WINDOWS, WINDOWS]
    assert all((end.failure, end.audio_milliseconds) == (None, 1000 * WINDOWS) for end in ends)

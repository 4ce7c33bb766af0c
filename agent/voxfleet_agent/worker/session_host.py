"""Opens sessions on the model in memory: what of a request the model and the contract refuse, and what a session needs.

A session's audio never changes silently: its rate is the model's, or the contract declares the resample.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from voxfleet_agent.audio.ring_buffer import longest_piece_milliseconds
from voxfleet_agent.engine.turn_detection import TurnRules
from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import OpenFile, OpenHearing, OpenSpeaking, TurnDetection
from voxfleet_agent.worker.backends import WorkerBackends
from voxfleet_agent.worker.hearing_session import HearingSession
from voxfleet_agent.worker.interrupted_pass import Attend
from voxfleet_agent.worker.load_refusals import file_refusal
from voxfleet_agent.worker.memory_needs import upload_bytes
from voxfleet_agent.worker.model_in_memory import ModelInMemory
from voxfleet_agent.worker.session_audio import VAD_RATE_HZ, SessionAudio, session_resample
from voxfleet_agent.worker.speaking_session import SpeakingSession
from voxfleet_agent.worker.synthesize import MILLISECONDS_PER_CHARACTER
from voxfleet_agent.worker.transcribe import Transcriber
from voxfleet_agent.worker.transcript_judge import TranscriptJudge
from voxfleet_agent.worker.turn_clock import CommittedTurns, DetectedTurns, ResampledTurns, TurnClock
from voxfleet_agent.worker.turn_hearing import TurnHearing, in_language
from voxfleet_agent.worker.upload_decoding import UploadDecoding
from voxfleet_agent.worker.upload_room import UploadRoom
from voxfleet_agent.worker.upload_session import UploadSession
from voxfleet_agent.worker.uploaded_file import UploadedFile, open_uploaded_file
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds

UNCOUNTED_SESSIONS = 16
"""What a lane takes that was not loaded for sessions; the memory guard alone bounds what they hold."""
_LEAST_PARTIAL_MILLISECONDS = 50


class ModelSessions:
    """The sessions.SessionHost of a model that was loaded."""

    def __init__(
        self,
        backends: WorkerBackends,
        model: ModelInMemory,
        send: Callable[[Message], None],
        attend: Attend,
        wake: Callable[[], None],
    ) -> None:
        """`attend` is called where a session's step can be left alone. `wake`, which any thread may call, has the loop
        look for steps anew.
        """
        self._backends = backends
        self._model = model
        self._send = send
        self._attend = attend
        self._wake = wake
        self._uploads = UploadRoom(model.uploads_bytes)
        limits = model.session_limits
        self.most_sessions = UNCOUNTED_SESSIONS if limits is None else limits.most_sessions

    @property
    def sample_rate_hz(self) -> int:
        model = self._model.transcriber or self._model.synthesizer
        return 0 if model is None else model.sample_rate_hz

    def open_hearing(self, request: OpenHearing) -> HearingSession:
        """Raises VoxFleetError: MODEL_UNAVAILABLE, INVALID_INPUT or CONTRACT_VIOLATION."""
        model, judge, contract = self._model.transcriber, self._model.judge, self._model.contract
        if model is None or judge is None or contract is None:
            raise _speaks()
        self._refuse_times(request)
        hearing = self._hearing(model, judge, request.language)
        rate_hz = model.sample_rate_hz
        resample = session_resample(request.sample_rate_hz, contract, rate_hz)
        longest_milliseconds = self._longest_turn_milliseconds(request, contract)
        return HearingSession(
            request.session,
            hearing,
            SessionAudio(request.sample_rate_hz, rate_hz, resample, self._backends.open_resampler),
            self._turns(request, longest_milliseconds, rate_hz),
            sample_rate_hz=request.sample_rate_hz,
            partial_milliseconds=request.partial_milliseconds,
            max_turn_milliseconds=longest_milliseconds,
            detects=request.turn_detection is not None,
            send=self._send,
            attend=self._attend,
        )

    def open_file(self, request: OpenFile) -> UploadSession:
        """Raises VoxFleetError: MODEL_UNAVAILABLE, INVALID_INPUT, CONTRACT_VIOLATION, THROTTLED, SCRATCH_EXHAUSTED."""
        model, judge, contract = self._model.transcriber, self._model.judge, self._model.contract
        if model is None or judge is None or contract is None:
            raise _speaks()
        hearing = self._hearing(model, judge, request.language)
        rate_hz, backends = model.sample_rate_hz, self._backends
        size_bytes = upload_bytes(request.max_bytes, contract, rate_hz, backends.working_set_bytes(contract))
        room = self._uploads
        room.take(size_bytes)
        try:
            file = open_uploaded_file()
        except OSError as error:
            room.give_back(size_bytes)
            refusal = file_refusal(error)
            raise VoxFleetError(refusal.failure_class, refusal.message) from error

        def start_decoding(file: UploadedFile) -> UploadDecoding:
            def gone() -> None:
                file.close()
                room.give_back(size_bytes)

            return UploadDecoding(
                partial(backends.open_decoder, file.path, contract, rate_hz),
                file.opened,
                backends.audible_speech,
                rate_hz,
                self._wake,
                gone,
            )

        return UploadSession(
            request.session,
            hearing,
            file,
            start_decoding,
            max_bytes=request.max_bytes,
            longest_piece_milliseconds=longest_piece_milliseconds(contract),
            release=partial(room.give_back, size_bytes),
            send=self._send,
            attend=self._attend,
        )

    def open_speaking(self, request: OpenSpeaking) -> SpeakingSession:
        """Raises VoxFleetError: MODEL_UNAVAILABLE, INVALID_INPUT or CONTRACT_VIOLATION."""
        model, contract = self._model.synthesizer, self._model.contract
        if model is None or contract is None:
            raise VoxFleetError(
                FailureClass.MODEL_UNAVAILABLE, "the lane's model listens; open a session that speaks elsewhere"
            )
        if request.room_samples < 0:
            raise VoxFleetError(FailureClass.INVALID_INPUT, "OpenSpeaking.room_samples: must not be negative")
        return SpeakingSession(
            request.session,
            model.synthesize(request.text, synthesis=request.synthesis),
            room_samples=request.room_samples,
            most_samples=duration_milliseconds(contract.input.max_clip) * model.sample_rate_hz // 1000,
            first_chunk_milliseconds=_first_chunk_milliseconds(request, model.interval_milliseconds),
            sample_rate_hz=model.sample_rate_hz,
            clipping=contract.output.audio.clipping,
            opened_ns=time.monotonic_ns(),
            send=self._send,
        )

    def _hearing(self, model: Transcriber, judge: TranscriptJudge, language: str | None) -> TurnHearing:
        backends = self._backends
        return TurnHearing(in_language(model, language), judge, backends.audible_speech, backends.memory.clear_cache)

    def _refuse_times(self, request: OpenHearing) -> None:
        partial_milliseconds = request.partial_milliseconds
        if partial_milliseconds is not None and partial_milliseconds < _LEAST_PARTIAL_MILLISECONDS:
            raise VoxFleetError(
                FailureClass.INVALID_INPUT,
                f"partial_milliseconds: {partial_milliseconds}; at least {_LEAST_PARTIAL_MILLISECONDS}",
            )
        if request.max_turn_milliseconds < 1:
            raise VoxFleetError(FailureClass.INVALID_INPUT, "max_turn_milliseconds: must be above 0")

    def _longest_turn_milliseconds(self, request: OpenHearing, contract: VoiceContractSpec) -> int:
        """Never longer than a piece of a batch, because longer audio would be cut into windows there."""
        limits = self._model.session_limits
        longest = min(request.max_turn_milliseconds, longest_piece_milliseconds(contract))
        return longest if limits is None else min(longest, limits.max_turn_milliseconds)

    def _turns(self, request: OpenHearing, longest_milliseconds: int, rate_hz: int) -> TurnClock:
        detection = request.turn_detection
        if detection is None:
            return CommittedTurns(longest_milliseconds * rate_hz // 1000)
        try:
            turns = DetectedTurns(_rules(detection, longest_milliseconds), self._backends.open_vad())
        except ValueError as error:
            raise VoxFleetError(FailureClass.INVALID_INPUT, f"turn_detection: {error}") from error
        if rate_hz == VAD_RATE_HZ:
            return turns
        return ResampledTurns(turns, partial(self._backends.open_resampler, rate_hz, VAD_RATE_HZ, "soxr_hq"), rate_hz)


def _first_chunk_milliseconds(request: OpenSpeaking, interval_milliseconds: int) -> int:
    """`interval_milliseconds`: of the model's chunks; 0: it makes the whole text at once."""
    text_milliseconds = len(request.text) * MILLISECONDS_PER_CHARACTER
    if not interval_milliseconds:
        return text_milliseconds
    asked = request.synthesis
    asked_milliseconds = 0 if asked is None else duration_milliseconds(asked.streaming_interval)
    return min(text_milliseconds, max(interval_milliseconds, asked_milliseconds))


def _speaks() -> VoxFleetError:
    return VoxFleetError(
        FailureClass.MODEL_UNAVAILABLE, "the lane's model speaks; open a session that listens elsewhere"
    )


def _rules(detection: TurnDetection, max_turn_milliseconds: int) -> TurnRules:
    """In frames of the detector of speech. Raises ValueError for times below 0."""
    if detection.prefix_padding_milliseconds < 0 or detection.silence_milliseconds < 0:
        raise ValueError("prefix_padding_milliseconds and silence_milliseconds must not be negative")
    return TurnRules(
        threshold=detection.threshold_percent / 100,
        prefix_padding_frames=detection.prefix_padding_milliseconds * VAD_RATE_HZ // 1000,
        silence_frames=detection.silence_milliseconds * VAD_RATE_HZ // 1000,
        max_turn_frames=max_turn_milliseconds * VAD_RATE_HZ // 1000,
    )

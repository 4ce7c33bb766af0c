"""How much of a lane's memory a contract needs, before a model has transcribed anything. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.audio.ring_buffer import BYTES_PER_FRAME, longest_piece_milliseconds, piece_frames, ring_frames
from voxfleet_agent.engine.mlx_limits import MlxLimits, mlx_limits
from voxfleet_agent.lane_protocol.messages import SessionLimits
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

_MIB = 2**20
TURN_RING_PERCENT = 120
"""The ring of a session, of its longest turn."""
LEAST_TURN_RING_MILLISECONDS = 2_000
"""A ring is for turns of this length at least: a fifth of it is how far audio may run ahead of the model."""
SAMPLE_BYTES = 2
_LEAST_BACKLOG_BYTES = 2**17
"""Two of the largest messages: one is taken while the next one is on its way."""
_MOST_BACKLOG_BYTES = 2**20
"""Half a minute of audio at 16 kHz. More would wait here rather than with its sender, for nothing."""
VAD_BYTES = 4 * _MIB
"""A detector of speech with its state, and the filter of a resample, rounded up: 3.2 and 0.2 MB were measured."""
_ROOM_PERCENT = 25
"""Waiting audio may take this share of the memory that ring, decoding and model leave below the cap, and its batch as
much again. The rest is for what longer audio takes, which only the ladder measures and the memory guard bounds."""
_UPLOADS_PERCENT = 50
"""Files that are uploaded to a lane for sessions may take this share of what the sessions leave below the cap."""


def turn_ring_frames(max_turn_milliseconds: int, rate_hz: int) -> int:
    """How much audio a session holds, in frames at the model's rate."""
    return -(-max(max_turn_milliseconds, LEAST_TURN_RING_MILLISECONDS) * rate_hz * TURN_RING_PERCENT // 100_000)


def backlog_bytes(max_turn_milliseconds: int, rate_hz: int) -> int:
    """How much audio may wait for room in that ring, as the client sent it."""
    ring_bytes = turn_ring_frames(max_turn_milliseconds, rate_hz) * SAMPLE_BYTES
    return min(max(ring_bytes, _LEAST_BACKLOG_BYTES), _MOST_BACKLOG_BYTES)


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """Memory for the ring, decoding, the model, waiting audio outside of the ring, and the padded batch made of it."""

    contract: VoiceContractSpec
    rate_hz: int
    decode_bytes: int
    """The most memory that decoding one clip or window takes."""
    model_bytes: int
    """The footprint of the process with its model."""
    work_bytes: int
    """What inference takes beyond that, at least: measured on the shortest audio. A model that pads takes it always."""

    @property
    def ring_bytes(self) -> int:
        return ring_frames(self.contract, self.rate_hz) * BYTES_PER_FRAME

    @property
    def piece_bytes(self) -> int:
        """The size of the longest piece."""
        return piece_frames(self.contract, self.rate_hz) * BYTES_PER_FRAME

    @property
    def least_bytes(self) -> int:
        """The least memory that a lane needs: for one piece that waits, and that the model infers alone."""
        return self.ring_bytes + self.decode_bytes + 2 * self.piece_bytes + self.model_bytes + self.work_bytes

    def limits(self, cap_bytes: int, interpreter_bytes: int) -> MlxLimits:
        """What MLX may take under the cap; its cache gets only what the lane does not need."""
        other_bytes = interpreter_bytes + self.ring_bytes + self.decode_bytes
        return mlx_limits(cap_bytes, other_bytes, cap_bytes - self.least_bytes)

    def room_bytes(self, cap_bytes: int, cache_bytes: int) -> int:
        """The most audio that may wait outside of the ring, padding included; at least the longest piece.

        `cache_bytes`: what MLX may keep for reuse.
        """
        taken_bytes = self.ring_bytes + self.decode_bytes + self.model_bytes + self.work_bytes
        remaining_bytes = cap_bytes - taken_bytes - cache_bytes
        return max(self.piece_bytes, remaining_bytes * _ROOM_PERCENT // 100)

    def refusal(self, cap_bytes: int) -> str | None:
        """Why the contract does not fit the lane's memory cap, with the arithmetic; None when it does."""
        if self.least_bytes <= cap_bytes:
            return None
        windows = self.contract.conversions.windows
        clause = "input.maxClip" if windows is None else "conversions.windows.length"
        seconds = longest_piece_milliseconds(self.contract) / 1000
        percent = 100 + self.contract.buffer.headroom_percent
        return (
            f"the contract needs {_mib(self.least_bytes)} of a lane's memory and the cap is {_mib(cap_bytes)}: ring"
            f" {_mib(self.ring_bytes)} ({clause} {seconds:g} s x {percent} % x {self.rate_hz} Hz x"
            f" {BYTES_PER_FRAME} B) + decoding {_mib(self.decode_bytes)} + one piece that waits"
            f" {_mib(self.piece_bytes)} + its batch {_mib(self.piece_bytes)} + model {_mib(self.model_bytes)}"
            f" + its work {_mib(self.work_bytes)};"
            f" shorten {clause}, declare conversions.windows, or raise batching.memoryCap and the pool's memoryCap"
        )


def upload_bytes(max_bytes: int, contract: VoiceContractSpec, rate_hz: int, decode_bytes: int) -> int:
    """What a file of at most `max_bytes` takes: its bytes, its decoding, and two pieces ahead of the model."""
    return max_bytes + decode_bytes + 2 * piece_frames(contract, rate_hz) * BYTES_PER_FRAME


@dataclass(frozen=True, slots=True)
class SessionNeeds:
    """Memory of a lane that is loaded for sessions and gets no batches: the model, one step of it, and each session."""

    limits: SessionLimits
    model_bytes: int
    """The footprint of the process with its model."""
    work_bytes: int
    """What inference takes beyond that, at least: one step runs at a time."""
    session_bytes: int
    """Of one session."""
    turn_bytes: int = 0
    """Of the longest turn, once more, as the model gets it."""

    @property
    def least_bytes(self) -> int:
        return self.model_bytes + self.work_bytes + self.turn_bytes + self.limits.most_sessions * self.session_bytes

    def mlx_limits(self, cap_bytes: int, interpreter_bytes: int, *, in_mlx: bool) -> MlxLimits:
        """What MLX may take under the cap. `in_mlx`: whether it is MLX that holds what sessions need."""
        outside_bytes = 0
        if not in_mlx:
            outside_bytes = self.limits.most_sessions * self.session_bytes + self.uploads_bytes(cap_bytes)
        cache_bytes = cap_bytes - self.least_bytes - (0 if in_mlx else self.uploads_bytes(cap_bytes))
        return mlx_limits(cap_bytes, interpreter_bytes + outside_bytes, cache_bytes)

    def uploads_bytes(self, cap_bytes: int) -> int:
        """What files that were uploaded may take together, with their decoding."""
        return max(0, cap_bytes - self.least_bytes) * _UPLOADS_PERCENT // 100

    def refusal(self, cap_bytes: int) -> str | None:
        """Why the sessions do not fit the lane's memory cap, with the arithmetic; None when they do."""
        if self.least_bytes <= cap_bytes:
            return None
        count, turn = self.limits.most_sessions, ""
        if self.turn_bytes:
            seconds = self.limits.max_turn_milliseconds / 1000
            turn = f" + a turn of {seconds:g} s {_mib(self.turn_bytes)}"
        return (
            f"the lane's sessions need {_mib(self.least_bytes)} of its memory and the cap is {_mib(cap_bytes)}: model"
            f" {_mib(self.model_bytes)} + its work {_mib(self.work_bytes)}{turn} + {count} sessions"
            f" {_mib(count * self.session_bytes)}; take fewer sessions or shorter turns, or raise memoryCap and the"
            " pool's memoryCap"
        )


def hearing_needs(
    limits: SessionLimits, contract: VoiceContractSpec, rate_hz: int, *, model_bytes: int, work_bytes: int
) -> SessionNeeds:
    """Each session has a full ring and a full backlog, and a detector of speech."""
    longest_milliseconds = min(limits.max_turn_milliseconds, longest_piece_milliseconds(contract))
    ring_bytes = turn_ring_frames(longest_milliseconds, rate_hz) * BYTES_PER_FRAME
    audio_bytes = ring_bytes + backlog_bytes(longest_milliseconds, rate_hz)
    turn_bytes = -(-longest_milliseconds * rate_hz // 1000) * BYTES_PER_FRAME
    return SessionNeeds(limits, model_bytes, work_bytes, audio_bytes + VAD_BYTES, turn_bytes)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:.1f} MiB"

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
"""Of the backlog, which holds audio as the client sent it."""
VAD_BYTES = 4 * _MIB
"""A detector of speech with its state, and the filter of a resample, rounded up: 3.2 and 0.2 MB were measured."""
_ROOM_PERCENT = 25
"""Waiting audio may take this share of the memory that ring, decoding and model leave below the cap, and its batch as
much again. The rest is for what longer audio takes, which only the ladder measures and the memory guard bounds."""


def turn_ring_frames(max_turn_milliseconds: int, rate_hz: int) -> int:
    """How much audio a session holds, in frames at the model's rate."""
    return -(-max(max_turn_milliseconds, LEAST_TURN_RING_MILLISECONDS) * rate_hz * TURN_RING_PERCENT // 100_000)


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
    sessions: SessionLimits | None = None
    """The sessions that the lane is loaded for."""

    @property
    def ring_bytes(self) -> int:
        return ring_frames(self.contract, self.rate_hz) * BYTES_PER_FRAME

    @property
    def piece_bytes(self) -> int:
        """The size of the longest piece."""
        return piece_frames(self.contract, self.rate_hz) * BYTES_PER_FRAME

    @property
    def session_bytes(self) -> int:
        """Of all sessions at once, each with a full ring and a full backlog, and a detector of speech."""
        if self.sessions is None:
            return 0
        frames = turn_ring_frames(self.sessions.max_turn_milliseconds, self.rate_hz)
        return self.sessions.most_sessions * (frames * (BYTES_PER_FRAME + SAMPLE_BYTES) + VAD_BYTES)

    @property
    def least_bytes(self) -> int:
        """The least memory that a lane needs: for one piece that waits, and that the model infers alone."""
        held_bytes = self.ring_bytes + self.session_bytes + self.decode_bytes
        return held_bytes + 2 * self.piece_bytes + self.model_bytes + self.work_bytes

    def limits(self, cap_bytes: int, interpreter_bytes: int) -> MlxLimits:
        """What MLX may take under the cap; its cache gets only what the lane does not need."""
        other_bytes = interpreter_bytes + self.ring_bytes + self.session_bytes + self.decode_bytes
        return mlx_limits(cap_bytes, other_bytes, cap_bytes - self.least_bytes)

    def room_bytes(self, cap_bytes: int, cache_bytes: int) -> int:
        """The most audio that may wait outside of the ring, padding included; at least the longest piece.

        `cache_bytes`: what MLX may keep for reuse.
        """
        taken_bytes = self.ring_bytes + self.session_bytes + self.decode_bytes + self.model_bytes + self.work_bytes
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
            f" + its work {_mib(self.work_bytes)}{self._session_term()};"
            f" shorten {clause}, declare conversions.windows, or raise batching.memoryCap and the pool's memoryCap"
        )

    def _session_term(self) -> str:
        if self.sessions is None:
            return ""
        seconds = self.sessions.max_turn_milliseconds / 1000
        turns = f"turns of {seconds:g} s x {TURN_RING_PERCENT} %"
        return f" + {self.sessions.most_sessions} sessions {_mib(self.session_bytes)} ({turns})"


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:.1f} MiB"

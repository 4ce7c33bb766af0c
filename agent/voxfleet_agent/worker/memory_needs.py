"""What a contract needs of a lane's memory before a model has heard anything. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.audio.ring_buffer import BYTES_PER_FRAME, longest_piece_milliseconds, piece_frames, ring_frames
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

_MIB = 2**20
_ROOM_PERCENT = 25
"""Of what is left of the cap: most audio that waits for the model. Its batch takes as much again, and the rest is for
the model's own work on it, which only the ladder measures and the guard bounds."""


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """The ring, decoding, the model, and audio outside of the ring: what waits and the padded batch made of it."""

    contract: VoiceContractSpec
    rate_hz: int
    decode_bytes: int
    """Worst memory of decoding one clip or window."""
    model_bytes: int
    """Footprint of the process with its model."""

    @property
    def ring_bytes(self) -> int:
        return ring_frames(self.contract, self.rate_hz) * BYTES_PER_FRAME

    @property
    def piece_bytes(self) -> int:
        """Of the longest."""
        return piece_frames(self.contract, self.rate_hz) * BYTES_PER_FRAME

    @property
    def least_bytes(self) -> int:
        """One piece waits, and goes through the model alone."""
        return self.ring_bytes + self.decode_bytes + 2 * self.piece_bytes + self.model_bytes

    def room_bytes(self, cap_bytes: int) -> int:
        """Most audio that may wait outside of the ring, counted with its padding; at least the longest piece."""
        left_bytes = cap_bytes - self.ring_bytes - self.decode_bytes - self.model_bytes
        return max(self.piece_bytes, left_bytes * _ROOM_PERCENT // 100)

    def refusal(self, cap_bytes: int) -> str | None:
        """Why all of it together does not fit the lane's memory cap, with the arithmetic; None: it does."""
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
            f" {_mib(self.piece_bytes)} + its batch {_mib(self.piece_bytes)} + model {_mib(self.model_bytes)};"
            f" shorten {clause}, declare conversions.windows, or raise batching.memoryCap and the pool's memoryCap"
        )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:.1f} MiB"

"""Which time of a clip counts as decoding."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from voxfleet_agent.audio.levels import QuietedStretch
from voxfleet_agent.audio.ring_buffer import RingBuffer, RingSlot
from voxfleet_agent.lane_protocol.messages import ClipMessage
from voxfleet_agent.worker import decode_thread
from voxfleet_agent.worker.decode_thread import ClipJob, Decoded, DecodeThread, DecodeThreadFailed, Mask, Piece, Samples
from voxfleet_api.clip_warnings import RowWarning
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import Attestation

SECOND_NS = 10**9
CONTRACT = VoiceContractSpec(input=ContractInput(containers=(Container.WAV,), sample_rates_hz=(16_000,), channels=(1,)))


class Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns


class OneSecond:
    """A clip that takes a second to decode."""

    audio_milliseconds = 1000
    attestation = Attestation(container="wav", encoding="pcm16", sample_rate_hz=16_000, channels=1, decoder="")
    warnings: tuple[RowWarning, ...] = ()

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.piece_starts_milliseconds = [0]
        self.warnings: tuple[RowWarning, ...] = ()

    def pieces(self, examine: Callable[[QuietedStretch], None]) -> Iterator[Samples]:
        self._clock.now_ns += SECOND_NS
        yield np.zeros(100, np.float32)


def test_decode_time_includes_speech_detection_and_not_the_wait_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, emitted = Clock(), queue.SimpleQueue[Piece | Decoded | DecodeThreadFailed]()
    monkeypatch.setattr(decode_thread, "time", clock)

    class Full(RingBuffer):
        def write(self, samples: Samples) -> RingSlot:
            clock.now_ns += 8 * SECOND_NS
            return super().write(samples)

    def audible_speech(samples: Samples, rate_hz: int) -> Mask:
        clock.now_ns += 2 * SECOND_NS
        return np.zeros(0, np.bool_)

    decoder = DecodeThread(lambda *_: OneSecond(clock), audible_speech, lambda message: None, emitted.put)
    decoder.put(CONTRACT, 16_000, Full(1000), [ClipJob(ClipMessage(index=0, path=Path("/clip")))])
    assert isinstance(emitted.get(timeout=60), Piece)
    decoded = emitted.get(timeout=60)
    assert isinstance(decoded, Decoded) and decoded.decode_milliseconds == 3000

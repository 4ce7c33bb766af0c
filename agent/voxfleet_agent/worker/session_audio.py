"""What a session's audio passes through on its way to the model: PCM, a declared resample, and the detector of speech.

The lane's batches decode files with `audio.decode`; a session's audio comes in frames, so its resampler and detector
keep state from one frame to the next.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from voxfleet_agent.audio.conversions import Resampler, plan_conversions
from voxfleet_agent.audio.header_facts import HeaderFacts, refused
from voxfleet_agent.audio.pcm import PcmDecoder
from voxfleet_api.kinds.contract_input import Container, Encoding, Resample
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

Samples = npt.NDArray[np.float32]
SAMPLE_BYTES = 2
VAD_RATE_HZ = 16_000


class StreamedResampler(Protocol):
    """The part of audio.stream_resampler.StreamResampler that is used here."""

    def process(self, samples: Samples) -> Samples: ...

    def finish(self) -> Samples: ...


class SpeechProbabilities(Protocol):
    """The part of engine.streaming_vad.StreamingVad that is used here."""

    def feed(self, samples_16k: Samples) -> list[float]: ...


OpenResampler = Callable[[int, int, str], StreamedResampler]
OpenVad = Callable[[], SpeechProbabilities]


def open_soxr(from_hz: int, to_hz: int, quality: str) -> StreamedResampler:
    from voxfleet_agent.audio.stream_resampler import StreamResampler  # it loads soxr, which few sessions need

    return StreamResampler(from_hz, to_hz, quality)


def open_silero() -> SpeechProbabilities:
    from voxfleet_agent.engine.streaming_vad import StreamingVad  # a lane that speaks does not need it

    return StreamingVad()


def session_resample(rate_hz: int, contract: VoiceContractSpec, model_rate_hz: int) -> Resample | None:
    """The resample that the contract declares for audio at this rate; None: the model hears the rate as it is.

    Raises VoxFleetError(CONTRACT_VIOLATION), which says what to declare. Container and encoding are the session's own.
    """
    accepted = contract.input.sample_rates_hz
    if rate_hz not in accepted:
        rates = ", ".join(map(str, accepted))
        raise refused(
            f"the session's audio is at {rate_hz} Hz; the contract accepts {rates} Hz; send one of these, or add"
            f" {rate_hz} to input.sampleRatesHz"
        )
    facts = HeaderFacts(Container.WAV, Encoding.PCM16, rate_hz, channels=1, audio_milliseconds=0, frames=None)
    # Frames are resampled by soxr itself, whatever mlx-audio-io was built with.
    return plan_conversions(facts, contract.conversions, model_rate_hz, Resampler(sys.platform, soxr=True)).resample


class SessionAudio:
    """Turns PCM at the client's rate into samples at the model's; one for each session."""

    def __init__(self, from_hz: int, to_hz: int, resample: Resample | None, open_resampler: OpenResampler) -> None:
        """Raises VoxFleetError(CONTRACT_VIOLATION) for a resample that does not work piece by piece."""
        self._decoder = PcmDecoder()
        self._open: Callable[[], StreamedResampler] | None = None
        if resample is not None:
            self._open = partial(open_resampler, from_hz, to_hz, resample.quality.value)
        self._resampler = None if self._open is None else self._open()

    def feed(self, pcm: bytes) -> Samples:
        """The samples that are there now; a resampler holds back a few milliseconds."""
        samples = self._decoder.feed(pcm)
        if self._open is None:
            return samples
        if self._resampler is None:
            self._resampler = self._open()
        return self._resampler.process(samples)

    def flush(self) -> Samples:
        """What is held back. Audio that follows begins anew, as if it were another recording."""
        if self._resampler is None:
            return np.zeros(0, np.float32)
        resampler, self._resampler = self._resampler, None
        return resampler.finish()

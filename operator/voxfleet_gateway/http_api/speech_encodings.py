"""How speech is written to a client. Pure."""

from __future__ import annotations

from typing import Protocol

from voxfleet_api.session_protocol import SAMPLE_BYTES
from voxfleet_gateway.http_api.flac_frames import FlacFrames, flac_header
from voxfleet_gateway.http_api.speech_options import SpeechFormat
from voxfleet_gateway.http_api.wav_header import wav_header


class SpeechEncoding(Protocol):
    """One header, then what `take` and `rest` return, in order."""

    content_type: str

    def header(self, pcm_bytes: int | None) -> bytes:
        """None: the length is not known yet."""
        ...

    def take(self, pcm: bytes) -> bytes:
        """`pcm`: whole samples of one channel. Returns what can be written of it, and of what came before."""
        ...

    def rest(self) -> bytes: ...


def speech_encoding(response_format: SpeechFormat, sample_rate_hz: int) -> SpeechEncoding:
    if response_format is SpeechFormat.FLAC:
        return _Flac(sample_rate_hz)
    return _Pcm(sample_rate_hz) if response_format is SpeechFormat.PCM else _Wav(sample_rate_hz)


class _Pcm:
    def __init__(self, sample_rate_hz: int) -> None:
        self.content_type = f"audio/pcm; rate={sample_rate_hz}"

    def header(self, pcm_bytes: int | None) -> bytes:
        return b""

    def take(self, pcm: bytes) -> bytes:
        return pcm

    def rest(self) -> bytes:
        return b""


class _Wav(_Pcm):
    def __init__(self, sample_rate_hz: int) -> None:
        self.content_type = "audio/wav"
        self._sample_rate_hz = sample_rate_hz

    def header(self, pcm_bytes: int | None) -> bytes:
        return wav_header(self._sample_rate_hz, pcm_bytes)


class _Flac:
    def __init__(self, sample_rate_hz: int) -> None:
        self.content_type = "audio/flac"
        self._sample_rate_hz = sample_rate_hz
        self._frames = FlacFrames()

    def header(self, pcm_bytes: int | None) -> bytes:
        return flac_header(self._sample_rate_hz, None if pcm_bytes is None else pcm_bytes // SAMPLE_BYTES)

    def take(self, pcm: bytes) -> bytes:
        return self._frames.take(pcm)

    def rest(self) -> bytes:
        return self._frames.rest()

"""Samples of 16 bits out of frames that may be cut anywhere. Pure."""

from __future__ import annotations

SAMPLE_BYTES = 2


class PcmSamples:
    def __init__(self) -> None:
        self._half = b""

    def feed(self, frame: bytes) -> bytes:
        """Whole samples; an odd byte waits for the next frame."""
        pcm = self._half + frame
        whole_bytes = len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES
        self._half = pcm[whole_bytes:]
        return pcm[:whole_bytes]

    def drop_half(self) -> bool:
        """Forgets a byte that waits for the rest of its sample; returns whether there was one."""
        dropped, self._half = bool(self._half), b""
        return dropped

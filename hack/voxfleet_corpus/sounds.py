"""The audio of the corpus: two example clips, and ffmpeg's encodings of them."""

from __future__ import annotations

import subprocess
import tempfile
import wave
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from make_clips import EXAMPLES, ClipToolError

SPEECH = EXAMPLES / "wav-16000-01.wav"
TEXT = "hello one two three"
"""The words of SPEECH, and the built-in model `commands`'s transcript of it."""
RATE_HZ = 16_000

_PROGRAM = ("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-y")
_SAME_BYTES = ("-fflags", "+bitexact", "-flags", "+bitexact", "-map_metadata", "-1", "-threads", "1")


class Sounds:
    @cached_property
    def samples(self) -> npt.NDArray[np.int16]:
        """Samples (N,) int16 at 16 kHz: "hello one two three"."""
        with wave.open(str(SPEECH), "rb") as file:
            return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")

    @cached_property
    def pcm(self) -> bytes:
        return self.samples.tobytes()

    @cached_property
    def floats(self) -> npt.NDArray[np.float32]:
        """Samples (N,) float32 in -1 .. 1."""
        return np.divide(self.samples, 32768, dtype=np.float32)

    @cached_property
    def mp3(self) -> bytes:
        """Layer III at a constant 64 kbit/s; its first frame holds the encoder's length."""
        return self.encode("mp3", "-c:a", "libmp3lame", "-b:a", "64k", "-id3v2_version", "0")

    @cached_property
    def bare_mp3(self) -> bytes:
        """The same frames without the length."""
        return self.encode("mp3", "-c:a", "libmp3lame", "-b:a", "64k", "-id3v2_version", "0", "-write_xing", "0")

    @cached_property
    def flac(self) -> bytes:
        return self.encode("flac", "-c:a", "flac", "-sample_fmt", "s16", "-frame_size", "1024")

    @cached_property
    def m4a(self) -> bytes:
        """AAC with its header (moov) behind the audio."""
        return self.encode("ipod", "-c:a", "aac", "-b:a", "64k")

    def encode(self, muxer: str, *options: str, inputs: tuple[str, ...] = ()) -> bytes:
        """Encodes the speech with ffmpeg; the same version writes the same bytes again. Raises ClipToolError."""
        with tempfile.TemporaryDirectory(prefix="make-corpus-") as folder:
            target = Path(folder) / "sound"
            command = [*_PROGRAM, *inputs, "-i", str(SPEECH), *options, *_SAME_BYTES, "-f", muxer, str(target)]
            try:
                subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            except FileNotFoundError as error:
                raise ClipToolError("ffmpeg is not on PATH: install it (`make setup` does, on Debian)") from error
            except subprocess.CalledProcessError as error:
                raise ClipToolError(f"{' '.join(command)} exited {error.returncode}: {error.stderr.strip()}") from error
            return target.read_bytes()

"""Decodes a clip on disk to samples for the model, through mlx-audio-io.

mlx-audio-io trusts the file's extension, silently returns too little audio for damaged files and passes NaN on. The
clip is therefore decoded under a name that fits its bytes, and the result is checked against the header. The clip is
read in blocks at its own rate: `load(duration=...)` decodes a whole flac or m4a whatever the header hides,
`load(sr=...)` chooses the resampler itself, and `stream(sr=...)` drops the last samples.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import numpy.typing as npt

from voxfleet_agent.audio import flac_verification, mp3
from voxfleet_agent.audio.conversions import ConversionPlan, Resampler, plan_conversions
from voxfleet_agent.audio.decode_memory import BLOCK_SAMPLES, SPARE_MILLISECONDS
from voxfleet_agent.audio.header_facts import SCRATCH_PREFIX, ClipReader, HeaderFacts, damaged
from voxfleet_agent.audio.headers import contract_violation, duration_violation, inspect
from voxfleet_agent.audio.levels import MixdownLevels, QuietedStretch, ResampledLevels
from voxfleet_agent.audio.windows import WindowRule
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container, Encoding, Windows
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.results import Attestation, RowWarning

DECODER = f"mlx-audio-io {version('mlx-audio-io')}"
MAX_PEAK = 4.0
"""Lossy codecs exceed 1.0 slightly; a bit-flipped mp3 reaches 18."""

Samples = npt.NDArray[np.float32]

# wav, flac, aiff and PCM in caf state the exact number of samples. An mp3 has up to three frames of encoder delay,
# decoder delay and padding; an AAC track has up to 2112 samples of delay and one frame of padding. Decoders differ in
# how much of it they cut off.
_MP3_TOLERANCE_FRAMES = 3 * 1152
_AAC_TOLERANCE_FRAMES = 4 * 1024


def open_clip(path: Path) -> BinaryIO:
    """Opens a clip. Raises VoxFleetError(DECODE_ERROR) unless it is a regular file: a FIFO would block forever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise damaged("is not a regular file")
    return os.fdopen(descriptor, "rb")


def open_decoder(path: Path, contract: VoiceContractSpec, model_rate_hz: int) -> AudioDecoder:
    """Inspects a clip and plans its conversions; no audio is read yet.

    Raises VoxFleetError(UNSUPPORTED_CONTAINER | DECODE_ERROR | CONTRACT_VIOLATION).
    """
    with open_clip(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        facts = inspect(file, size_bytes)
        if facts.container is Container.MP3:
            facts = _with_counted_frames(facts, ClipReader(file, size_bytes))
        checksum = None
        if facts.container is Container.FLAC:
            flac_verification.refuse_other_rate(ClipReader(file, size_bytes), facts.sample_rate_hz)
            checksum = flac_verification.sample_checksum(ClipReader(file, size_bytes))
    violation = contract_violation(facts, size_bytes, contract)
    if violation is not None:
        raise VoxFleetError(FailureClass.CONTRACT_VIOLATION, violation.reason)
    plan = plan_conversions(facts, contract.conversions, model_rate_hz, this_resampler())
    return AudioDecoder(path, facts, contract, plan, model_rate_hz, checksum)


def _with_counted_frames(facts: HeaderFacts, clip: ClipReader) -> HeaderFacts:
    """Compares an mp3's frames with the stated length, or fills it in if there is no Xing header.

    The decoder cannot tell: minimp3 skips damaged frames.
    """
    frames = mp3.count_frames(clip) * mp3.samples_in_frame(facts.sample_rate_hz)
    if facts.frames is None:
        return dataclasses.replace(facts, frames=frames, audio_milliseconds=frames * 1000 // facts.sample_rate_hz)
    # The first frame holds the stated length and no audio.
    if frames - mp3.samples_in_frame(facts.sample_rate_hz) > facts.frames + _MP3_TOLERANCE_FRAMES:
        raise damaged(
            f"holds {frames * 1000 // facts.sample_rate_hz} ms of frames,"
            f" but its header announces {facts.audio_milliseconds} ms"
        )
    return facts


def this_resampler() -> Resampler:
    return Resampler(sys.platform, bool(mlx_audio_io.supports_soxr()))


class AudioDecoder:
    """Decodes one clip for the model."""

    def __init__(
        self,
        path: Path,
        facts: HeaderFacts,
        contract: VoiceContractSpec,
        plan: ConversionPlan,
        model_rate_hz: int,
        checksum: flac_verification.SampleChecksum | None = None,
    ) -> None:
        self.facts = facts
        self.piece_starts_milliseconds: list[int] = []
        """The start in the clip of each piece so far."""
        self.warnings: tuple[RowWarning, ...] = ()
        """Final after the last piece."""
        self._path = path
        self._contract = contract
        self._plan = plan
        self._model_rate_hz = model_rate_hz
        self._checksum = checksum
        self._mixdown_levels: MixdownLevels | None = None
        self._resampled_levels = ResampledLevels()
        self._frames = 0
        self._limit_frames = (
            (duration_milliseconds(contract.input.max_clip) + SPARE_MILLISECONDS) * facts.sample_rate_hz // 1000
        )
        if facts.frames is not None:
            self._limit_frames = min(self._limit_frames, facts.frames + _tolerance_frames(facts) + 1)

    @property
    def audio_milliseconds(self) -> int:
        """The duration as stored in the file, before any conversion; final after the last piece."""
        return self._frames * 1000 // self.facts.sample_rate_hz

    @property
    def attestation(self) -> Attestation:
        """How the clip was decoded and converted; final after the last piece."""
        attested = self._plan.attested
        windows = self._contract.conversions.windows
        if windows is not None and len(self.piece_starts_milliseconds) > 1:
            count = len(self.piece_starts_milliseconds)
            attested += (f"windows:{windows.length}:quietest-within-{windows.seek}:{count}",)
        return Attestation(
            container=self.facts.container,
            encoding=self.facts.encoding,
            sample_rate_hz=self.facts.sample_rate_hz,
            channels=self.facts.channels,
            conversions=attested,
            decoder=DECODER,
        )

    def pieces(self, examine: Callable[[QuietedStretch], None] = lambda stretch: None) -> Iterator[Samples]:
        """Yields (N,) float32, one channel at the model's rate: the whole clip, or the declared windows in order.

        `examine` gets each stretch that the mix makes much quieter; what it raises ends the iteration. Call it once.
        Raises VoxFleetError(CONTRACT_VIOLATION | DECODE_ERROR), possibly after some pieces, because the clip's length
        is known only at its end, and so is whether a conversion has silenced it.
        """
        facts = self.facts
        if facts.channels > 1:
            self._mixdown_levels = MixdownLevels(facts.sample_rate_hz, facts.channels, examine)
        windows = self._contract.conversions.windows
        if windows is None or self._fits_in(windows):
            yield self._whole_clip()
        else:
            yield from self._windows(WindowRule.of(windows, facts.sample_rate_hz))
        if self._plan.resample is not None:
            lost = self._resampled_levels.finish(self._plan.attested[-1])
            self.warnings += () if lost is None else (lost,)

    def _fits_in(self, windows: Windows) -> bool:
        length_frames = duration_milliseconds(windows.length) * self.facts.sample_rate_hz // 1000
        return self.facts.frames is not None and self._limit_frames <= length_frames

    def _whole_clip(self) -> Samples:
        # Pages that no audio is written to take no memory.
        samples = np.empty(self._limit_frames, np.float32)
        for block in self._blocks():
            self._mix_down(block, samples[self._frames - len(block) : self._frames])
        self._check_decoded()
        return self._piece(0, samples[: self._frames])

    def _windows(self, rule: WindowRule) -> Iterator[Samples]:
        samples = np.empty(rule.ahead_frames + BLOCK_SAMPLES, np.float32)
        start, filled = 0, 0
        for block in self._blocks():
            self._mix_down(block, samples[filled : filled + len(block)])
            filled += len(block)
            while filled > rule.ahead_frames:
                end = rule.end(samples[: rule.ahead_frames])
                yield self._piece(start, samples[:end].copy())
                samples[: filled - end] = samples[end:filled].copy()
                start, filled = start + end, filled - end
        self._check_decoded()
        while filled > 0:
            end = rule.end(samples[:filled])
            yield self._piece(start, samples[:end].copy())
            samples[: filled - end] = samples[end:filled].copy()
            start, filled = start + end, filled - end

    def _blocks(self) -> Iterator[Samples]:
        """Yields blocks, (n, channels) float32, as stored, finite and within MAX_PEAK."""
        facts = self.facts
        reader = self._open_stream()
        if reader.sample_rate != facts.sample_rate_hz or reader.channels != facts.channels:
            raise damaged(
                f"decodes to {reader.channels} channels at {reader.sample_rate} Hz,"
                f" but its header says {facts.channels} at {facts.sample_rate_hz} Hz"
            )
        # Apple's decoder removes the delay itself.
        delay_frames = 0 if sys.platform == "darwin" else facts.priming_frames
        while not reader.at_eof():
            with self._decode_errors():
                chunk, _ = reader.read_chunk()
            block: Samples = np.asarray(chunk)
            if len(block) == 0:
                return
            skipped = min(delay_frames, len(block))
            delay_frames -= skipped
            block = block[skipped:]
            if len(block) == 0:
                continue
            self._frames += len(block)
            if self._frames > self._limit_frames:
                self._check_length()
                raise damaged("decodes to more audio than its header announces")
            _check_level(block)
            if self._checksum is not None:
                self._checksum.add(block)
            yield block

    def _open_stream(self) -> mlx_audio_io.AudioStreamReader:
        chunk_frames = min(self._limit_frames, max(1, BLOCK_SAMPLES // self.facts.channels))
        suffix = f".{self.facts.container}"
        if self._path.suffix.lower() == suffix:
            with self._decode_errors(self._path.absolute()):
                # libav mistakes a relative name with a colon for a URL.
                return mlx_audio_io.stream(self._path.absolute(), chunk_frames=chunk_frames)
        with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX) as folder:
            link = Path(folder) / f"clip{suffix}"
            link.symlink_to(self._path.absolute())
            with self._decode_errors(link):
                return mlx_audio_io.stream(link, chunk_frames=chunk_frames)

    @contextlib.contextmanager
    def _decode_errors(self, opened: Path | None = None) -> Iterator[None]:
        try:
            yield
        except (ValueError, RuntimeError, MemoryError) as error:
            detail = str(error)
            for path in (opened, self._path):
                if path is not None:
                    detail = detail.replace(str(path), "the clip").replace(path.name, "the clip")
            raise damaged(f"cannot be decoded: {detail[:180]}") from error

    def _mix_down(self, block: Samples, into: Samples) -> None:
        np.copyto(into, block[:, 0])
        for channel in range(1, block.shape[1]):
            into += block[:, channel]
        if block.shape[1] > 1:
            into /= np.float32(block.shape[1])
        if self._mixdown_levels is not None:
            self._mixdown_levels.add(block, into)

    def _piece(self, start_frame: int, samples: Samples) -> Samples:
        self.piece_starts_milliseconds.append(start_frame * 1000 // self.facts.sample_rate_hz)
        resample = self._plan.resample
        if resample is None:
            return samples
        with self._decode_errors():
            resampled = mlx_audio_io.resample(
                samples, self.facts.sample_rate_hz, self._model_rate_hz, quality=resample.quality.value
            )
        resampled = np.asarray(resampled).reshape(-1)
        self._resampled_levels.add(samples, self.facts.sample_rate_hz, resampled, self._model_rate_hz)
        return resampled

    def _check_decoded(self) -> None:
        self._check_length()
        if self._checksum is not None:
            self._checksum.verify()
        if self._mixdown_levels is not None:
            self._mixdown_levels.finish()

    def _check_length(self) -> None:
        facts = self.facts
        if self._frames == 0:
            raise damaged("holds no audio")
        if facts.frames is not None and abs(self._frames - facts.frames) > _tolerance_frames(facts):
            raise damaged(
                f"decodes to {self.audio_milliseconds} ms, but its header announces {facts.audio_milliseconds} ms"
            )
        # A length that the header states was checked before; AAC's padding does not violate the contract.
        violation = None if facts.frames is not None else duration_violation(self.audio_milliseconds, self._contract)
        if violation is not None:
            raise VoxFleetError(FailureClass.CONTRACT_VIOLATION, violation.reason)


def _tolerance_frames(facts: HeaderFacts) -> int:
    if facts.container is Container.MP3:
        return _MP3_TOLERANCE_FRAMES
    return _AAC_TOLERANCE_FRAMES if facts.encoding is Encoding.AAC else 0


def _check_level(block: Samples) -> None:
    """max and min propagate NaN and do not copy the block."""
    peak = max(abs(float(block.max())), abs(float(block.min())))
    if not np.isfinite(peak):
        raise damaged("holds samples that are not finite numbers")
    if peak > MAX_PEAK:
        raise damaged(f"holds samples beyond {MAX_PEAK:g} times full scale, which is damage")
